package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

// TestSchemaIsThatOfTheTypes generates the schema and the reference from the
// types of the configuration and their comments.
func TestSchemaIsThatOfTheTypes(t *testing.T) {
	text := generateSchema(t)
	golden(t, "config.schema.json", text)
	var reference bytes.Buffer
	if err := config.Reference(&reference, text); err != nil {
		t.Fatal(err)
	}
	golden(t, "CONFIGURATION.md", append([]byte(referenceHead), reference.Bytes()...))
}

const referenceHead = `# Configuration

Every key of ` + "`bulkhead.yaml`" + `, generated from the types that the file is read into. ` + "`bulkhead config schema`" + ` prints the same as JSON
Schema, for editors. Unknown keys are errors. Relative paths are relative to the file. A key that is not in a list can also be set
by an environment variable: ` + "`BULKHEAD_`" + ` and the key's path in capitals, such as ` + "`BULKHEAD_DIRECTORY_FILES`" + `; its value is YAML.

## What is followed

Files are replaced by tools that never restart a host: cert-manager, a Secret volume, a vault's agent. So what a key names as a file is
looked at again, at most once a second and only when it is used; what runs goes on. A file that cannot be used (half written, a
certificate whose key has not arrived, no PEM) changes nothing: what it held before stays in use, the log says why, and for the
listener's certificate ` + "`/readyz`" + ` shows ` + "`tls: degraded`" + `.

| | a change counts |
|---|---|
| ` + "`tls.cert`, `tls.key`" + ` | from the next connection |
| ` + "`auth.….clientSecretFile`, `auth.….caFile`" + ` | from the next sign-in |
| ` + "`auth.signing.secretFile`" + ` | at once: what the old secret signed is no longer good, so people sign in again |
| ` + "`state.tls`" + ` | from the next connection to etcd |
| ` + "`clusters[].kubeconfig`" + ` and the certificates that it names | within 5 s; terminals go on over their old connection. A token file is read by client-go, each minute |
| ` + "`azure[].…File`" + ` | from the next token, within the hour; ` + "`cloud.caFile`" + ` from the next request |
| ` + "`policy.bundle.…File`, `keys`" + `, decision log's ` + "`tokenFile`, `caFile`" + ` | from the next download, the next upload |
| ` + "`helm.repositories[].path`" + ` | for the next chart; ` + "`tokenFile`, `caFile`" + ` from the next download |
| ` + "`policy.dir`, `directory.files`" + ` | within a second, or 5 s where the file system does not tell |

` + "`state.keyFile`" + `, which seals what is stored, and ` + "`state.passwordFile`" + ` are read at the start alone, so prefer certificates.

## What needs a restart

` + "`listen`, `metrics`, `data` and `state`" + `. Every other key counts as soon as the file is read again: when it changes, on SIGHUP, and by
` + "`POST /api/admin/config/reload`" + `, which also reads ` + "`plugins[].source`" + ` again. What is configured as before goes on undisturbed: terminals,
streams, calls, connections. A file that cannot be used as a whole changes nothing, the log names each problem with its line, and
` + "`/readyz`" + ` shows ` + "`configuration: degraded`" + `. The environment is that of the start.

`

// Each key has a sentence: what an operator cannot look up does not exist.
func TestEachKeyIsDescribed(t *testing.T) {
	var root struct {
		Defs map[string]struct {
			Description string                    `json:"description"`
			Properties  map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema, &root); err != nil {
		t.Fatal(err)
	}
	for name, def := range root.Defs {
		for key, property := range def.Properties {
			ref, _ := property["$ref"].(string)
			if property["description"] == nil && root.Defs[strings.TrimPrefix(ref, "#/$defs/")].Description == "" {
				t.Errorf("%s.%s has no comment", name, key)
			}
		}
	}
}

func generateSchema(t *testing.T) []byte {
	t.Helper()
	type cloud azure.Cloud
	keys := &jsonschema.Reflector{RequiredFromJSONSchemaTags: true, Anonymous: true, DoNotReference: true}
	r := &jsonschema.Reflector{
		RequiredFromJSONSchemaTags: true,
		Namer: func(t reflect.Type) string {
			if t.Name() == "" {
				return "" // a slice, map or pointer: in place
			}
			return strings.ReplaceAll(strings.TrimPrefix(t.PkgPath(), module+"host/"), "/", ".") + "." + t.Name()
		},
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			switch of {
			case reflect.TypeFor[host.Duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
			case reflect.TypeFor[json.RawMessage]():
				return &jsonschema.Schema{}
			case reflect.TypeFor[azure.Cloud](): // reads itself: a name, or the keys
				return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, keys.Reflect(cloud{})}}
			}
			return nil
		},
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../..") // comments are found by the path from the module's root
	if err := r.AddGoComments(strings.TrimSuffix(module, "/"), "host", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	t.Chdir(wd)
	for name, comment := range r.CommentMap {
		r.CommentMap[name] = withoutSubject(comment, name[strings.LastIndex(name, ".")+1:])
	}
	keys.LookupComment = func(_ reflect.Type, key string) string {
		return r.CommentMap[module+"host/capability/azure.Cloud."+key]
	}
	schema := r.Reflect(&Config{})
	text, err := json.MarshalIndent(schema, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// withoutSubject turns the comment of a Go name into one of a key: "Dir holds
// rules" says "Holds rules" where "dir" stands beside it.
func withoutSubject(comment, name string) string {
	rest, ok := strings.CutPrefix(comment, name+" ")
	if !ok {
		return comment
	}
	for _, verb := range []string{"is ", "are "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// golden compares text with the file of this name, or writes it with -update.
func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(have, text) {
		t.Errorf("%s does not fit the types (%v): go test ./host/server -run TestSchemaIsThatOfTheTypes -update", filepath.Base(name), err)
	}
}
