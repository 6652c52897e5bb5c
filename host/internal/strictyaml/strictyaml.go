// Package strictyaml reads YAML from outside: configuration, directories, policy
// data, kubeconfigs, values and manifests of helm. A text is limited before and after
// its aliases are expanded, so that a short text cannot stand for a long one. It is
// one document where one is expected, keys of a mapping are unique, and numbers keep
// their value. A byte order mark is ignored.
//
// Plain scalars have the meaning that helm and Kubernetes give them: YAML 1.1 for
// booleans (yes, no, on, off) and 1.2 for the rest.
package strictyaml

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of one document. All numbers count expanded aliases and must be positive.
type Limits struct {
	Bytes int // of the document's text, and of its scalars
	Nodes int // scalars, sequences and mappings
	Depth int // of nodes within nodes
	// NoAliases refuses aliases instead of counting them.
	NoAliases bool
	// RepeatedKeys accepts repeated keys, of which the last counts, as for helm and
	// Kubernetes. Without it a repeated key is an error.
	RepeatedKeys bool
}

// Limits of the host's documents. Small is for those written by hand.
var (
	Small = Limits{Bytes: 1 << 20, Nodes: 100_000, Depth: 100}
	Large = Limits{Bytes: 16 << 20, Nodes: 4_000_000, Depth: 100}
)

// Error is an error in a text, with its line.
type Error struct {
	Line int // of the text, from 1; 0 for the whole text
	Text string
}

// Error begins with the line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

// Document is one YAML document of a text, not parsed yet.
type Document struct {
	Text []byte
	Line int // the number of lines before it
}

// TrimBOM returns text without a leading UTF-8 byte order mark.
func TrimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) }

// Split splits text at its "---" lines, so that an invalid document does not affect
// the others. YAML does not allow such a line inside a document.
func Split(text []byte) []Document {
	text = TrimBOM(text)
	var docs []Document
	start, startLine, line := 0, 0, 0
	for at := 0; at < len(text); line++ {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if at > start && isMarker(text[at:end]) {
			docs = append(docs, Document{text[start:at], startLine})
			start, startLine = at, line
		}
		at = end
	}
	return append(docs, Document{text[start:], startLine})
}

func isMarker(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// Parse returns the root of the one document in text, or nil if there is none or it
// is null. Lines of nodes and errors are those of text.
func Parse(text []byte, l Limits) (*yaml.Node, error) {
	if len(text) > l.Bytes {
		return nil, tooLong(l)
	}
	var found *yaml.Node
	for _, d := range Split(text) {
		root, err := d.Parse(l)
		switch {
		case err != nil:
			return nil, err
		case root == nil:
		case found != nil:
			return nil, &Error{root.Line, "a second document begins; the text must be one document"}
		default:
			found = root
		}
	}
	return found, nil
}

// large is the size from which texts are parsed one at a time: while parsing, nodes
// can take 160 times the size of their text.
const large = 64 << 10

var parsing sync.Mutex

// Parse returns the document's root, or nil if it is empty or null. Lines of nodes
// and errors are those of the whole text.
func (d Document) Parse(l Limits) (*yaml.Node, error) {
	if len(d.Text) > l.Bytes {
		return nil, tooLong(l)
	}
	if !utf8.Valid(d.Text) {
		return nil, &Error{d.Line + 1, "is not UTF-8"}
	}
	if len(d.Text) > large {
		parsing.Lock()
		defer parsing.Unlock()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(d.Text))
	var doc, more yaml.Node
	switch err := decoder.Decode(&doc); {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, d.relocate(err)
	}
	if err := decoder.Decode(&more); err != io.EOF {
		return nil, &Error{d.Line + 1, "is followed by something that is not a document"}
	}
	root := doc.Content[0]
	d.move(root)
	if err := (&measure{limits: l}).node(root, 1); err != nil {
		return nil, err
	}
	if !l.RepeatedKeys {
		if err := unique(root); err != nil {
			return nil, err
		}
	}
	if root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

// move converts the lines of n to those of the whole text.
func (d Document) move(n *yaml.Node) {
	n.Line += d.Line
	for _, c := range n.Content {
		d.move(c)
	}
}

var lineRE = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s+)?line (\d+): `)

// relocate converts an error of the YAML library to an Error with its line.
func (d Document) relocate(err error) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := lineRE.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(err.Error(), m[0])
	}
	return &Error{d.Line + line, "is not YAML: " + text}
}

func tooLong(l Limits) error { return &Error{0, fmt.Sprintf("is over %d bytes", l.Bytes)} }

// measure counts a document with its aliases expanded.
type measure struct {
	limits       Limits
	nodes, bytes int
}

func (m *measure) node(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode {
		if m.limits.NoAliases {
			return &Error{n.Line, "uses an alias; write its value instead"}
		}
		n = n.Alias
	}
	m.nodes++
	m.bytes += len(n.Value)
	switch {
	case m.nodes > m.limits.Nodes:
		return &Error{n.Line, fmt.Sprintf("holds over %d values with all aliases replaced", m.limits.Nodes)}
	case m.bytes > m.limits.Bytes:
		return &Error{n.Line, fmt.Sprintf("is over %d bytes with all aliases replaced", m.limits.Bytes)}
	case depth > m.limits.Depth:
		return &Error{n.Line, fmt.Sprintf("is nested deeper than %d levels, or contains itself", m.limits.Depth)}
	}
	for _, c := range n.Content {
		if err := m.node(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Value returns the one document of text as JSON values: map[string]any, []any,
// string, bool, nil; a whole number is an int64, or a uint64 if it is larger, any
// other a float64. A value that JSON cannot represent is an error, and so is a whole
// number of more than 64 bits, which would lose precision.
func Value(text []byte, l Limits) (any, error) {
	root, err := Parse(text, l)
	if err != nil || root == nil {
		return nil, err
	}
	return value(root)
}

// Value returns the document as JSON values, like the function Value; nil if it is
// empty.
func (d Document) Value(l Limits) (any, error) {
	root, err := d.Parse(l)
	if err != nil || root == nil {
		return nil, err
	}
	return value(root)
}
