package helm

import (
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// maxObjects bounds the documents of a manifest that are parsed.
const maxObjects = 5000

// object is one document of a manifest.
type object struct {
	text                              string
	content                           map[string]any // nil if the document cannot be read
	apiVersion, kind, namespace, name string
	matched                           bool // see diff
}

// objectsOf splits a manifest into its documents. Empty documents are left out.
func objectsOf(manifest string) []object {
	var list []object
	for _, d := range strictyaml.Split([]byte(manifest)) {
		text := strings.TrimSpace(strings.TrimPrefix(string(d.Text), "---"))
		if text == "" {
			continue
		}
		o := object{text: text}
		if len(list) < maxObjects {
			o.read()
		}
		if o.content != nil || !onlyComments(text) {
			list = append(list, o)
		}
	}
	return list
}

func (o *object) read() {
	limits := strictyaml.Small
	limits.RepeatedKeys = true
	v, err := strictyaml.Value([]byte(o.text), limits)
	if err != nil {
		return
	}
	content, ok := v.(map[string]any)
	if !ok {
		return
	}
	o.content = content
	o.apiVersion, _ = content["apiVersion"].(string)
	o.kind, _ = content["kind"].(string)
	metadata, _ := content["metadata"].(map[string]any)
	o.name, _ = metadata["name"].(string)
	o.namespace, _ = metadata["namespace"].(string)
}

func onlyComments(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// secrets returns the Secrets in the document: itself, or the items of a list.
func (o *object) secrets() (list []map[string]any) {
	items := []any{o.content}
	if o.kind == "List" || o.kind == "SecretList" {
		items, _ = o.content["items"].([]any)
	}
	for _, item := range items {
		if m, ok := item.(map[string]any); ok && (m["kind"] == "Secret" || o.kind == "SecretList") {
			list = append(list, m)
		}
	}
	return list
}

// identity is equal for two documents that declare one object; its API version may
// differ. A document without a name is identified by its text.
func (o *object) identity() string {
	if o.name == "" {
		return "\x00" + o.text
	}
	return strings.Join([]string{group(o.apiVersion), o.kind, o.namespace, o.name}, "\x00")
}

// group returns the API group of an apiVersion.
func group(apiVersion string) string {
	g, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return g
}
