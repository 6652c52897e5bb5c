package wattest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// node is an atom, a string or a list.
type node struct {
	atom string
	text []byte // of a string
	list []node
	kind byte // 'a', 's' or 'l'
}

// head returns the first atom of a list, or "".
func (n node) head() string {
	if n.kind == 'l' && len(n.list) > 0 {
		return n.list[0].atom
	}
	return ""
}

func (n node) rest() []node { return n.list[1:] }

// failure is the value of the assembler's panics; Assemble returns it.
type failure struct{ error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf("wattest: "+format, args...)}) }

// parse reads all expressions of src.
func parse(src string) []node {
	p := &parser{src: src}
	list := p.list()
	if p.at < len(p.src) {
		fail("line %d: unexpected )", p.line())
	}
	return list
}

type parser struct {
	src string
	at  int
}

func (p *parser) line() int { return 1 + strings.Count(p.src[:p.at], "\n") }

// list reads up to a closing parenthesis or the end.
func (p *parser) list() (out []node) {
	for p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case c == ' ' || c == '\n' || c == '\t':
			p.at++
		case strings.HasPrefix(p.src[p.at:], ";;"):
			end := strings.IndexByte(p.src[p.at:]+"\n", '\n')
			p.at += min(end, len(p.src)-p.at)
		case c == ')':
			return out
		case c == '(':
			line := p.line()
			p.at++
			n := node{kind: 'l', list: p.list()}
			if p.at == len(p.src) {
				fail("line %d: ( is not closed", line)
			}
			p.at++
			out = append(out, n)
		case c == '"':
			out = append(out, node{kind: 's', text: p.string()})
		default:
			end := strings.IndexAny(p.src[p.at:]+" ", " \n\t()\";")
			out = append(out, node{kind: 'a', atom: p.src[p.at : p.at+end]})
			p.at += end
		}
	}
	return out
}

// string reads a literal with the escapes \" \\ \n and two hexadecimal digits.
func (p *parser) string() (out []byte) {
	line := p.line()
	for p.at++; p.at < len(p.src) && p.src[p.at] != '"'; p.at++ {
		c := p.src[p.at]
		if c != '\\' {
			out = append(out, c)
			continue
		}
		p.at++
		switch next := p.src[p.at]; next {
		case '"', '\\':
			out = append(out, next)
		case 'n':
			out = append(out, '\n')
		default:
			v, err := strconv.ParseUint(p.src[p.at:p.at+2], 16, 8)
			if err != nil {
				fail("line %d: bad escape in a string", line)
			}
			out = append(out, byte(v))
			p.at++
		}
	}
	if p.at == len(p.src) {
		fail("line %d: a string is not closed", line)
	}
	p.at++
	return out
}

// expand expands repeat and nest. count replaces "%", unless it is negative.
func expand(list []node, count int) (out []node) {
	for _, n := range list {
		switch {
		case n.kind == 'a' && count >= 0 && strings.Contains(n.atom, "%"):
			n.atom = strings.ReplaceAll(n.atom, "%+", strconv.Itoa(count+1))
			n.atom = strings.ReplaceAll(n.atom, "%", strconv.Itoa(count))
		case n.kind == 's' && count >= 0:
			n.text = bytes.ReplaceAll(n.text, []byte("%"), []byte(strconv.Itoa(count)))
		case n.kind != 'l':
		case n.head() == "repeat":
			for i := range integer(n.list[1]) {
				if count >= 0 {
					i = uint64(count)
				}
				out = append(out, expand(n.list[2:], int(i))...)
			}
			continue
		case n.head() == "nest":
			inner := expand(n.list[3:], count)
			for range integer(n.list[1]) {
				around := expand(n.list[2].list, count)
				inner = []node{{kind: 'l', list: append(around, inner...)}}
			}
			out = append(out, inner...)
			continue
		default:
			n.list = expand(n.list, count)
		}
		out = append(out, n)
	}
	return out
}

// integer reads a decimal or hexadecimal number; negative numbers wrap around.
func integer(n node) uint64 {
	s := strings.ReplaceAll(n.atom, "_", "")
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		return -integer(node{atom: rest})
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		fail("%q is not a number", n.atom)
	}
	return v
}
