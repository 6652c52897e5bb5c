package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() { sdk.Handle("detect-drift", detectDrift) }

// How an object was compared.
const (
	methodServer = "server" // with what a sync would make of it, as the API server computes it
	methodFields = "fields" // the fields in git with those in the cluster
)

const (
	maxDifferences = 1000
	maxValue       = 512 // bytes of a value that is shown
)

// difference is one field of an object in which git and the cluster differ. Field is empty
// for an object that the cluster does not have. An absent value is "".
type difference struct {
	identity
	File         string `json:"file"`
	Line         int    `json:"line,omitempty"`
	Field        string `json:"field"`
	GitValue     string `json:"gitValue"`
	ClusterValue string `json:"clusterValue"`
	Method       string `json:"method"`
}

type driftAnswer struct {
	Drifted   bool         `json:"drifted"`
	Source    git.Where    `json:"source"`
	Compared  int          `json:"compared"` // objects
	Resources []difference `json:"resources"`
	Truncated bool         `json:"truncated,omitempty"` // there are more differences
	Errors    []failure    `json:"errors"`
}

// detectDrift compares what a path in git declares with the cluster and changes nothing.
func detectDrift(r *sdk.Request) (*sdk.Response, error) {
	var d declaration
	if err := r.JSON(&d); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	m, items, problems, err := d.read()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return invalidManifest(r, problems)
	}
	out, err := compareAll(r, kube.Cluster(d.Cluster), m.Where, items)
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, out)
}

// compareAll compares objects of git with a cluster, as far as the time suffices.
func compareAll(r *sdk.Request, cluster kube.Cluster, source git.Where, items []*item) (*driftAnswer, error) {
	out := &driftAnswer{Source: source, Resources: []difference{}, Errors: []failure{}}
	for _, i := range items {
		if short(r, reserve) {
			out.Errors = append(out.Errors, failure{i.identity, i.at.File, i.at.Line, 504, "plugin", "there was no time left", ""})
			continue
		}
		found, err := i.drift(cluster)
		if err != nil {
			f, err := failureOf(i.identity, i.at, err)
			if err != nil {
				return nil, err
			}
			out.Errors = append(out.Errors, f)
			continue
		}
		out.Compared++
		for _, f := range found {
			out.Drifted = true
			if out.Truncated = len(out.Resources) >= maxDifferences; out.Truncated {
				break
			}
			out.Resources = append(out.Resources, f)
		}
	}
	return out, nil
}

// drift returns the differences of one object. The API server computes what a sync would
// make of it, so that its defaults are no differences. If policy or the cluster does not
// let the user do that, the fields in git are compared; an equal value in another
// notation, such as 1000m for 1, then counts as a difference.
func (i *item) drift(cluster kube.Cluster) ([]difference, error) {
	var live json.RawMessage
	err := cluster.Get(i.path(), &live)
	if absent(err) {
		return []difference{i.difference("", "(declared)", "(absent)", methodServer)}, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := decoded(live)
	if err != nil {
		return nil, err
	}
	made, _, err := i.put(cluster, true)
	if sdk.StatusOf(err) == 403 {
		declared, err := decoded(i.body)
		if err != nil {
			return nil, err
		}
		c := &comparison{item: i, method: methodFields, gitOnly: true}
		c.compare("", declared, before)
		return c.found, nil
	}
	if err != nil {
		return nil, err
	}
	after, err := decoded(made)
	if err != nil {
		return nil, err
	}
	c := &comparison{item: i, method: methodServer}
	c.compare("", after, before)
	return c.found, nil
}

// decoded decodes an object without changing numbers.
func decoded(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, sdk.Errorf(502, "the cluster's answer is not an object")
	}
	// What the API server writes itself.
	delete(o, "status")
	if metadata, ok := o["metadata"].(map[string]any); ok {
		for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
			delete(metadata, field)
		}
	}
	return o, nil
}

// comparison collects the differences of one object.
type comparison struct {
	item    *item
	method  string
	gitOnly bool // fields that only the cluster has are no differences
	found   []difference
}

// compare compares the values of a field; nil is an absent one.
func (c *comparison) compare(field string, inGit, live any) {
	switch g := inGit.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			c.mappings(field, g, l)
			return
		}
	case []any:
		if l, ok := live.([]any); ok {
			c.lists(field, g, l)
			return
		}
	}
	if inGit == nil && (live == nil || c.gitOnly) || same(inGit, live) {
		return
	}
	c.found = append(c.found, c.item.difference(field, c.shown(field, inGit), c.shown(field, live), c.method))
}

// same compares values of which at least one is neither a mapping nor a list in both.
func same(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func (c *comparison) mappings(field string, inGit, live map[string]any) {
	keys := map[string]bool{}
	for k := range inGit {
		keys[k] = true
	}
	if !c.gitOnly {
		for k := range live {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := field + "." + k
		if strings.ContainsAny(k, ".[]/") {
			at = field + "[" + k + "]"
		}
		c.compare(strings.TrimPrefix(at, "."), inGit[k], live[k])
	}
}

// lists compares elements with the same name, if all have one, and others by their place.
func (c *comparison) lists(field string, inGit, live []any) {
	a, namedA := byName(inGit)
	b, namedB := byName(live)
	if namedA && namedB {
		for _, name := range slices.Sorted(maps.Keys(a)) {
			c.compare(field+"["+name+"]", a[name], b[name])
		}
		for _, name := range slices.Sorted(maps.Keys(b)) {
			if _, ok := a[name]; !ok {
				c.compare(field+"["+name+"]", nil, b[name])
			}
		}
		return
	}
	for n := range max(len(inGit), len(live)) {
		var g, l any
		if n < len(inGit) {
			g = inGit[n]
		}
		if n < len(live) {
			l = live[n]
		}
		c.compare(fmt.Sprintf("%s[%d]", field, n), g, l)
	}
}

func byName(list []any) (map[string]any, bool) {
	by := map[string]any{}
	for _, e := range list {
		o, _ := e.(map[string]any)
		name, _ := o["name"].(string)
		if _, twice := by[name]; name == "" || twice {
			return nil, false
		}
		by[name] = e
	}
	return by, true
}

// shown returns a value as a text of bounded length. Values of Secrets are not shown.
func (c *comparison) shown(field string, v any) string {
	if v == nil {
		return ""
	}
	if i := c.item; i.Resource == "secrets" && groupOf(i.APIVersion) == "" && !strings.HasPrefix(field, "metadata.name") && field != "type" {
		return "(redacted)"
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(data)
	}
	if len(text) > maxValue {
		text = strings.ToValidUTF8(text[:maxValue], "") + "…"
	}
	return text
}

func (i *item) difference(field, inGit, live, method string) difference {
	return difference{i.identity, i.at.File, i.at.Line, field, inGit, live, method}
}
