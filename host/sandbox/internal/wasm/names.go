package wasm

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// debugNames reads the name section. Custom sections cannot make a module invalid, so a malformed
// name section is ignored completely.
func (d *decoder) debugNames(r reader) {
	name, functions, ok := "", []FuncName(nil), true
	last := -1
	for ok && r.err == nil && r.left() > 0 {
		id := int(r.byte())
		size := uint64(r.u32())
		at := r.at
		r.bytes(size)
		if r.err != nil || id <= last {
			ok = false
			break
		}
		last = id
		sub := reader{b: r.b, at: at, end: r.at, function: -1}
		switch id {
		case 0:
			name = d.debugName(&sub)
			ok = sub.err == nil && sub.left() == 0
		case 1:
			functions, ok = d.functionNames(&sub)
		}
	}
	if ok && r.err == nil {
		d.m.Name, d.m.FuncNames = name, functions
	}
}

// functionNames reads names until their total reaches the limit, or until the index of a name
// exceeds the limit on functions. Indices ascend, so that bounds the number of names.
func (d *decoder) functionNames(r *reader) (names []FuncName, ok bool) {
	n, last, total := r.u32(), -1, 0
	most := maxZero(d.limits.Functions) + maxZero(d.limits.Imports)
	for range n {
		i := r.u32()
		name := d.debugName(r)
		if r.err != nil || int(i) <= last {
			return nil, false
		}
		last = int(i)
		if total += len(name); total > d.limits.AllNameBytes || last >= most {
			return names, true
		}
		names = append(names, FuncName{Function: i, Name: name})
	}
	return names, r.left() == 0
}

// debugName reads a name and truncates it at the limit. Control characters become question marks,
// so that a name cannot look like several lines of a stack trace.
func (d *decoder) debugName(r *reader) string {
	b := r.bytes(uint64(r.u32()))
	if r.err == nil && !utf8.Valid(b) {
		r.malformed("name is not UTF-8")
	}
	cut := strings.ToValidUTF8(string(b[:min(len(b), maxZero(d.limits.NameBytes))]), "")
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return '?'
		}
		return c
	}, cut)
}

// appendNames writes the name section with module and function names.
func (m *Module) appendNames(b []byte) []byte {
	if m.Name == "" && len(m.FuncNames) == 0 {
		return b
	}
	body := appendBytes(nil, "name")
	if m.Name != "" {
		body = appendSection(body, 0, appendBytes(nil, m.Name))
	}
	total := m.Imported(KindFunction) + len(m.Functions)
	var list []byte
	count := uint32(0)
	for _, f := range m.FuncNames {
		if int(f.Function) < total {
			list = appendBytes(appendU32(list, f.Function), f.Name)
			count++
		}
	}
	if count > 0 {
		body = appendSection(body, 1, append(appendU32(nil, count), list...))
	}
	return appendSection(b, 0, body)
}
