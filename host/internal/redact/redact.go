// Package redact removes parts of JSON texts. JSON Pointers (RFC 6901) name the parts;
// the token "*" matches every member of an object or element of an array. The rest
// keeps its notation and order.
package redact

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of a list of pointers.
const (
	MaxPointers = 100
	maxTokens   = 32
)

// ErrNotJSON says that a text cannot be redacted and must not be shown.
var ErrNotJSON = errors.New("not one JSON text")

// Check validates a list of pointers.
func Check(pointers []string) error {
	if len(pointers) > MaxPointers {
		return fmt.Errorf("%d pointers are more than %d", len(pointers), MaxPointers)
	}
	for _, p := range pointers {
		if _, err := tokens(p); err != nil {
			return err
		}
	}
	return nil
}

func tokens(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		return nil, fmt.Errorf("%q does not begin with /", pointer)
	}
	list := strings.Split(rest, "/")
	if len(list) > maxTokens {
		return nil, fmt.Errorf("%.40q… has over %d parts", pointer, maxTokens)
	}
	for i, t := range list {
		plain := strings.NewReplacer("~0", "", "~1", "").Replace(t)
		if strings.Contains(plain, "~") {
			return nil, fmt.Errorf("%q has a ~ that is neither ~0 nor ~1", pointer)
		}
		list[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return list, nil
}

// JSON returns text without the parts that the pointers name. A pointer without a
// match has no effect. An empty text stays empty; any other text that is not one
// JSON value is ErrNotJSON.
func JSON(text []byte, pointers []string) ([]byte, error) {
	if len(pointers) == 0 || len(text) == 0 {
		return text, nil
	}
	root := &node{}
	for _, p := range pointers {
		list, err := tokens(p)
		if err != nil {
			return nil, err
		}
		root.add(list)
	}
	if !json.Valid(text) {
		return nil, ErrNotJSON
	}
	s := scanner{in: text, out: make([]byte, 0, len(text))}
	s.space()
	s.value([]*node{root})
	return s.out, nil
}

// node is a node in the tree of pointers.
type node struct {
	next map[string]*node
	end  bool // a pointer ends here
}

func (n *node) add(list []string) {
	for _, t := range list {
		if n.next[t] == nil {
			if n.next == nil {
				n.next = map[string]*node{}
			}
			n.next[t] = &node{}
		}
		n = n.next[t]
	}
	n.end = true
}

// step follows a key. A removed value has no further nodes.
func step(at []*node, key string) (next []*node, removed bool) {
	for _, n := range at {
		for _, t := range []string{key, "*"} {
			if to := n.next[t]; to != nil {
				removed = removed || to.end
				next = append(next, to)
			}
			if key == "*" {
				break
			}
		}
	}
	return next, removed
}

// scanner copies a valid JSON text. Its recursion is no deeper than the pointers.
type scanner struct {
	in  []byte
	i   int
	out []byte
}

func (s *scanner) space() {
	for s.i < len(s.in) && strings.IndexByte(" \t\r\n", s.in[s.i]) >= 0 {
		s.i++
	}
}

// value copies the value that begins here, without the removed parts.
func (s *scanner) value(at []*node) {
	switch c := s.in[s.i]; {
	case len(at) > 0 && c == '{':
		s.members(at, '}', func(int) string {
			var key string
			start := s.i
			s.skip()
			_ = json.Unmarshal(s.in[start:s.i], &key) // the text is valid
			return key
		})
	case len(at) > 0 && c == '[':
		s.members(at, ']', strconv.Itoa)
	default:
		start := s.i
		s.skip()
		s.out = append(s.out, s.in[start:s.i]...)
	}
}

// members copies the members of an object or array. Key reads the n-th key.
func (s *scanner) members(at []*node, closing byte, key func(n int) string) {
	s.out = append(s.out, s.in[s.i])
	s.i++
	kept := 0
	for n := 0; ; n++ {
		s.space()
		if s.in[s.i] == ',' {
			s.i++
			s.space()
		}
		if s.in[s.i] == closing {
			s.i++
			s.out = append(s.out, closing)
			return
		}
		start := s.i
		next, removed := step(at, key(n))
		name := s.in[start:s.i] // empty in an array
		if s.space(); len(name) > 0 {
			s.i++ // the colon
			s.space()
		}
		if removed {
			s.skip()
			continue
		}
		if kept++; kept > 1 {
			s.out = append(s.out, ',')
		}
		if len(name) > 0 {
			s.out = append(append(s.out, name...), ':')
		}
		s.value(next)
	}
}

// skip moves behind the value that begins here.
func (s *scanner) skip() {
	depth := 0
	for {
		switch s.in[s.i] {
		case '"':
			for s.i++; s.in[s.i] != '"'; s.i++ {
				if s.in[s.i] == '\\' {
					s.i++
				}
			}
			s.i++
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			depth--
			s.i++
		case ',', ':', ' ', '\t', '\r', '\n':
			s.i++ // only inside of something
		default: // a number or a word
			for s.i < len(s.in) && strings.IndexByte(",]} \t\r\n", s.in[s.i]) < 0 {
				s.i++
			}
		}
		if depth == 0 {
			return
		}
	}
}
