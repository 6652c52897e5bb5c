package wasm

// Encode writes the module with every section in order. It drops custom sections and builds the
// name section from Name and FuncNames, without names of functions that do not exist. Equal
// modules give equal bytes.
func (m *Module) Encode() []byte {
	b := append(make([]byte, 0, m.estimate()), "\x00asm\x01\x00\x00\x00"...)
	b = appendVector(b, 1, m.Types, func(b []byte, t *FuncType) []byte {
		return appendTypes(appendTypes(append(b, 0x60), t.Params), t.Results)
	})
	b = appendVector(b, 2, m.Imports, appendImport)
	b = appendVector(b, 3, m.Functions, func(b []byte, t *uint32) []byte { return appendU32(b, *t) })
	b = appendVector(b, 4, m.Tables, func(b []byte, t *TableType) []byte { return t.append(b) })
	b = appendVector(b, 5, m.Memories, func(b []byte, r *Range) []byte { return r.append(b) })
	b = appendVector(b, 6, m.Globals, func(b []byte, g *Global) []byte {
		return appendConstant(g.GlobalType.append(b), &g.Init)
	})
	b = appendVector(b, 7, m.Exports, func(b []byte, e *Export) []byte {
		return appendU32(append(appendBytes(b, e.Name), byte(e.Kind)), e.Index)
	})
	if m.Start != nil {
		b = appendSection(b, 8, appendU32(nil, *m.Start))
	}
	b = appendVector(b, 9, m.Elements, appendElement)
	if m.DataCount {
		b = appendSection(b, 12, appendU32(nil, uint32(len(m.Data))))
	}
	b = appendVector(b, 10, m.Code, appendBody)
	b = appendVector(b, 11, m.Data, appendData)
	return m.appendNames(b)
}

// estimate returns an initial size, so that the buffer of a large module is not copied as it
// grows.
func (m *Module) estimate() int {
	n := 4096
	for i := range m.Code {
		n += len(m.Code[i].Code) + 16
	}
	for i := range m.Data {
		n += len(m.Data[i].Bytes) + 16
	}
	for i := range m.FuncNames {
		n += len(m.FuncNames[i].Name) + 8
	}
	return n
}

// EncodeStub writes a module with the same interface and state, whose functions trap at once. It
// is for an engine that already has the module's machine code and would only keep the bodies in
// memory. The tag should identify the code, so that stubs of different code differ.
func (m *Module) EncodeStub(tag []byte) []byte {
	stub := *m
	stub.Code = make([]Body, len(m.Code))
	for i := range stub.Code {
		stub.Code[i].Code = []byte{byte(OpUnreachable), byte(OpEnd)}
	}
	return appendSection(stub.Encode(), 0, append(appendBytes(nil, stubTag), tag...))
}

// stubTag is the name of the custom section with a stub's tag.
const stubTag = "bulkhead:sandbox/stub"

func appendSection(b []byte, id byte, body []byte) []byte {
	return appendBytes(append(b, id), body)
}

// appendVector writes a section that is a vector, unless it is empty.
func appendVector[T any](b []byte, id byte, list []T, item func([]byte, *T) []byte) []byte {
	if len(list) == 0 {
		return b
	}
	body := appendU32(nil, uint32(len(list)))
	for i := range list {
		body = item(body, &list[i])
	}
	return appendSection(b, id, body)
}

func appendTypes(b []byte, types []ValueType) []byte {
	b = appendU32(b, uint32(len(types)))
	for _, t := range types {
		b = append(b, byte(t))
	}
	return b
}

func (r Range) append(b []byte) []byte {
	if r.HasMax {
		return appendU32(appendU32(append(b, 1), r.Min), r.Max)
	}
	return appendU32(append(b, 0), r.Min)
}

func (t TableType) append(b []byte) []byte { return t.Range.append(append(b, byte(t.Type))) }

func (g GlobalType) append(b []byte) []byte {
	if g.Mutable {
		return append(b, byte(g.Type), 1)
	}
	return append(b, byte(g.Type), 0)
}

func appendImport(b []byte, i *Import) []byte {
	b = append(appendBytes(appendBytes(b, i.Module), i.Name), byte(i.Kind))
	switch i.Kind {
	case KindTable:
		return i.Table.append(b)
	case KindMemory:
		return i.Memory.append(b)
	case KindGlobal:
		return i.Global.append(b)
	}
	return appendU32(b, i.Function)
}

func appendConstant(b []byte, i *Instr) []byte { return append(i.Append(b), byte(OpEnd)) }

func appendElement(b []byte, e *Element) []byte {
	flag := byte(0)
	if e.Exprs != nil {
		flag |= 4
	}
	switch {
	case e.Mode == Passive:
		flag |= 1
	case e.Mode == Declarative:
		flag |= 3
	case e.Table != 0 || e.Type != FuncRef:
		flag |= 2
	}
	b = append(b, flag)
	if e.Mode == Active {
		if flag&2 != 0 {
			b = appendU32(b, e.Table)
		}
		b = appendConstant(b, &e.Offset)
	}
	if e.Exprs != nil {
		if flag&3 != 0 {
			b = append(b, byte(e.Type))
		}
		b = appendU32(b, uint32(len(e.Exprs)))
		for i := range e.Exprs {
			b = appendConstant(b, &e.Exprs[i])
		}
		return b
	}
	if flag&3 != 0 {
		b = append(b, 0)
	}
	b = appendU32(b, uint32(len(e.Functions)))
	for _, f := range e.Functions {
		b = appendU32(b, f)
	}
	return b
}

func appendBody(b []byte, body *Body) []byte {
	locals := appendU32(nil, uint32(len(body.Locals)))
	for _, l := range body.Locals {
		locals = append(appendU32(locals, l.Count), byte(l.Type))
	}
	code := make([]byte, 0, len(body.Code))
	for i := range body.Instrs() {
		code = i.Append(code)
	}
	b = appendU32(b, uint32(len(locals)+len(code)))
	return append(append(b, locals...), code...)
}

func appendData(b []byte, d *Data) []byte {
	if d.Mode == Passive {
		b = append(b, 1)
	} else {
		b = appendConstant(append(b, 0), &d.Offset)
	}
	return appendBytes(b, d.Bytes)
}
