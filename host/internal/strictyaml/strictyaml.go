// Package strictyaml reads YAML that the host did not write: configuration,
// directories, policy data, kubeconfigs, values and manifests of helm. A text is
// bounded before and after its aliases are replaced, so that what a short text
// stands for cannot be long; it is one document where one is meant; a key is in
// a mapping once; numbers keep their value. A byte order mark is passed over.
//
// Plain scalars mean what they mean to helm and Kubernetes, which is YAML 1.1
// for booleans (yes, no, on, off) and 1.2 for the rest.
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

// Limits bound one document. All of the numbers count an alias as what it stands
// for, and all must be positive.
type Limits struct {
	Bytes int // of the document's text, and of its scalars
	Nodes int // scalars, sequences and mappings
	Depth int // of nodes within nodes
	// NoAliases refuses aliases instead of counting them.
	NoAliases bool
	// RepeatedKeys lets the last of a repeated key count, as it does for helm
	// and Kubernetes. Without it the second one is an error.
	RepeatedKeys bool
}

// Limits of what is read. Everything that people write by hand is Small.
var (
	Small = Limits{Bytes: 1 << 20, Nodes: 100_000, Depth: 100}
	Large = Limits{Bytes: 16 << 20, Nodes: 4_000_000, Depth: 100}
)

// Error is what is wrong with a text, and where.
type Error struct {
	Line int // of the text, from 1; 0 if it is the whole text
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
	Line int // how many lines of the text come before it
}

// TrimBOM returns text without a leading UTF-8 byte order mark.
func TrimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) }

// Split cuts text at its "---" lines, so that a document that does not parse
// costs only itself. YAML allows no such line inside a document.
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

// Parse returns the root of the one document that text holds, nil if there is
// none or it is null. Lines of nodes and errors are those of text.
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
			return nil, &Error{root.Line, "a second document begins; only one is read here"}
		default:
			found = root
		}
	}
	return found, nil
}

// large is the size from which texts are parsed one at a time: for a moment
// nodes can take 160 times the bytes of their text.
const large = 64 << 10

var parsing sync.Mutex

// Parse returns the document's root, nil if it holds nothing or null. Lines of
// nodes and errors are those of the text that was split.
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

// move makes the lines of n those of the whole text.
func (d Document) move(n *yaml.Node) {
	n.Line += d.Line
	for _, c := range n.Content {
		d.move(c)
	}
}

var lineRE = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s+)?line (\d+): `)

// relocate takes the line out of an error of the YAML library.
func (d Document) relocate(err error) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := lineRE.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(err.Error(), m[0])
	}
	return &Error{d.Line + line, "is not YAML: " + text}
}

func tooLong(l Limits) error { return &Error{0, fmt.Sprintf("is over %d bytes", l.Bytes)} }

// measure counts what a document stands for.
type measure struct {
	limits       Limits
	nodes, bytes int
}

func (m *measure) node(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode {
		if m.limits.NoAliases {
			return &Error{n.Line, "uses an alias; write out what it stands for"}
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
// string, bool, nil; a whole number is an int64, or a uint64 if it is larger,
// any other a float64. What JSON cannot hold is an error, and so is a whole
// number of more than 64 bits, which would silently become another.
func Value(text []byte, l Limits) (any, error) {
	root, err := Parse(text, l)
	if err != nil || root == nil {
		return nil, err
	}
	return value(root)
}

// Value returns the document as Value does; nil if it holds nothing.
func (d Document) Value(l Limits) (any, error) {
	root, err := d.Parse(l)
	if err != nil || root == nil {
		return nil, err
	}
	return value(root)
}
