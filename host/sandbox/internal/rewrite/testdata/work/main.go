// Command work is the guest of the rewriter's benchmarks: a request decoded
// from JSON and answered, one sorted, and loops of arithmetic.
package main

import (
	"encoding/json"
	"slices"
	"strings"
)

func main() {}

type request struct {
	Method, Path string
	Header       map[string]string
	Items        []int
}

var text = []byte(`{"Method":"POST","Path":"/a/b/c","Header":{"a":"1","b":"2","content-type":"text/plain"},"Items":[5,3,9,1,7]}`)

//go:wasmexport decode
func decode() uint32 {
	var r request
	if err := json.Unmarshal(text, &r); err != nil {
		panic(err)
	}
	slices.Sort(r.Items)
	out, err := json.Marshal(&r)
	if err != nil {
		panic(err)
	}
	return uint32(len(out))
}

//go:wasmexport split
func split(n uint32) uint32 {
	line := strings.Repeat("key=value;", 20)
	total := 0
	for range n {
		for part := range strings.SplitSeq(line, ";") {
			k, v, _ := strings.Cut(part, "=")
			total += len(k) + len(v)
		}
	}
	return uint32(total)
}

//go:wasmexport hash
func hash(n uint32) uint32 {
	h := uint32(2166136261)
	for i := range n {
		h = (h ^ i&0xff) * 16777619
	}
	return h
}

//go:wasmexport fib
func fib(n uint32) uint32 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) count() uint32 {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

//go:wasmexport trees
func trees(depth uint32) uint32 { return grow(int(depth)).count() }

//go:wasmexport deep
func deep(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	return 1 + deep(n-1)
}

type walker interface{ walk(n uint32) uint32 }

type step struct{ next walker }

func (s step) walk(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	return 1 + s.next.walk(n-1)
}

type loop struct{ self *loop }

func (l *loop) walk(n uint32) uint32 { return step{l.self}.walk(n) }

//go:wasmexport walk
func walk(n uint32) uint32 {
	l := &loop{}
	l.self = l
	return l.walk(n)
}

//go:wasmexport nest
func nest(n uint32) uint32 {
	var v any
	err := json.Unmarshal([]byte(strings.Repeat("[", int(n))+strings.Repeat("]", int(n))), &v)
	if err != nil {
		return 0
	}
	return 1
}
