package directory

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// limits of one document of a file. The reader reports repeated keys itself, as
// problems of the smallest part concerned. Aliases are refused: expanding them can
// make a small file large.
var limits = strictyaml.Limits{Bytes: strictyaml.Large.Bytes, Nodes: strictyaml.Large.Nodes, Depth: strictyaml.Large.Depth, NoAliases: true, RepeatedKeys: true}

// reader decodes nodes and collects problems. Decoding by hand limits each problem
// to the smallest part concerned and gives it a line.
type reader struct {
	file string
	// Of the document, if known; name is metadata.name.
	kind, id, name string
	problems       []Problem
}

func (r *reader) bad(line int, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: line, Kind: r.kind, ID: r.id, Text: fmt.Sprintf(format, args...),
	})
}

// fields returns the values of a mapping by key. It reports a problem and returns
// false if n is not a mapping or has a repeated or unknown key.
func (r *reader) fields(n *yaml.Node, at string, known ...string) (map[string]*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		r.bad(n.Line, "%s is not a mapping", at)
		return nil, false
	}
	m, ok := map[string]*yaml.Node{}, true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !slices.Contains(known, key.Value):
			r.bad(key.Line, "%s has an unknown key %q; the keys are %s", at, key.Value, strings.Join(known, ", "))
			ok = false
		case m[key.Value] != nil:
			r.bad(key.Line, "%s has the key %q twice", at, key.Value)
			ok = false
		default:
			m[key.Value] = n.Content[i+1]
		}
	}
	return m, ok
}

// text returns a string; "" if n is nil.
func (r *reader) text(n *yaml.Node, at string) (string, bool) {
	if n == nil {
		return "", true
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.bad(n.Line, "%s is not a string; put it in quotes", at)
		return "", false
	}
	return n.Value, true
}

// word returns a non-empty string.
func (r *reader) word(n *yaml.Node, at string) (string, bool) {
	s, ok := r.text(n, at)
	if ok && s == "" {
		r.bad(n.Line, "%s is empty", at)
		ok = false
	}
	return s, ok
}

// items returns the items of a sequence; none if n is nil.
func (r *reader) items(n *yaml.Node, at string) ([]*yaml.Node, bool) {
	if n == nil {
		return nil, true
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n.Line, "%s is not a list", at)
		return nil, false
	}
	return n.Content, true
}

// texts returns the non-empty strings of a list. It returns false if the list has
// other items.
func (r *reader) texts(n *yaml.Node, at string) ([]string, bool) {
	items, ok := r.items(n, at)
	var out []string
	for i, item := range items {
		s, good := r.word(item, fmt.Sprintf("%s[%d]", at, i))
		if good {
			out = append(out, s)
		}
		ok = ok && good
	}
	return out, ok
}

func (r *reader) boolean(n *yaml.Node, at string) (value, ok bool) {
	if n == nil {
		return false, true
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&value) != nil {
		r.bad(n.Line, "%s must be true or false", at)
		return false, false
	}
	return value, true
}

// time returns a time with a zone, in UTC. YAML's tag for a time without quotes is
// !!timestamp.
func (r *reader) time(n *yaml.Node, at string) (time.Time, bool) {
	tag := n.ShortTag()
	t, err := time.Parse(time.RFC3339, n.Value)
	if n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" || err != nil || t.IsZero() {
		r.bad(n.Line, "%s %q must be a time with a zone, such as 2026-12-01T18:00:00Z", at, n.Value)
		return time.Time{}, false
	}
	return t.UTC(), true
}

// json returns any value as JSON.
func (r *reader) json(n *yaml.Node, at string) (json.RawMessage, bool) {
	var v any
	err := n.Decode(&v)
	var data []byte
	if err == nil {
		data, err = json.Marshal(v)
	}
	if err != nil {
		r.bad(n.Line, "%s cannot be written as JSON", at)
		return nil, false
	}
	return data, true
}
