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
// problems of the smallest thing that they spoil. Aliases are refused: expanding
// them lets a small file become a large one.
var limits = strictyaml.Limits{Bytes: strictyaml.Large.Bytes, Nodes: strictyaml.Large.Nodes, Depth: strictyaml.Large.Depth, NoAliases: true, RepeatedKeys: true}

// reader decodes nodes and collects what is wrong with them. Decoding by hand
// keeps every problem to the smallest thing it spoils and gives each its line.
type reader struct {
	file string
	// Of the document, as far as they are known; name is metadata.name.
	kind, id, name string
	problems       []Problem
}

func (r *reader) bad(line int, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: line, Kind: r.kind, ID: r.id, Text: fmt.Sprintf(format, args...),
	})
}

// fields returns the values of a mapping by key. It is not ok, and says why,
// if n is no mapping or has a key twice or one that is not known.
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
			r.bad(key.Line, "%s has an unknown key %q; it may have %s", at, key.Value, strings.Join(known, ", "))
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

// text returns a string; nil gives the empty one.
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

// word returns a string that is not empty.
func (r *reader) word(n *yaml.Node, at string) (string, bool) {
	s, ok := r.text(n, at)
	if ok && s == "" {
		r.bad(n.Line, "%s is empty", at)
		ok = false
	}
	return s, ok
}

// items returns the items of a sequence; nil gives none.
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

// texts returns the strings of a list, without those that are not strings or
// are empty; it is ok if there were none of these.
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
		r.bad(n.Line, "%s is neither true nor false", at)
		return false, false
	}
	return value, true
}

// time returns a time with its zone, in UTC. YAML has a type of its own for what
// is not in quotes.
func (r *reader) time(n *yaml.Node, at string) (time.Time, bool) {
	tag := n.ShortTag()
	t, err := time.Parse(time.RFC3339, n.Value)
	if n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" || err != nil || t.IsZero() {
		r.bad(n.Line, "%s %q is no time such as 2026-12-01T18:00:00Z", at, n.Value)
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
