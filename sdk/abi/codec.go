package abi

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

const headerSize = 8

// Kind is the second byte of a frame.
type Kind uint8

const (
	KindRequest  Kind = 1
	KindResponse Kind = 2
	KindError    Kind = 3
	KindStart    Kind = 4
	KindMessage  Kind = 5
)

// FrameError is the problem of a frame and the field that has it.
type FrameError struct {
	Field string
	What  string
}

func (e *FrameError) Error() string { return fmt.Sprintf("abi frame: %s: %s", e.Field, e.What) }

// KindOf checks the header and returns the frame's kind; it does not check the fields.
func KindOf(frame []byte) (Kind, error) {
	switch {
	case len(frame) < headerSize:
		return 0, &FrameError{"header", "shorter than 8 bytes"}
	case len(frame) > MaxFrame:
		return 0, &FrameError{"header", fmt.Sprintf("longer than %d bytes", MaxFrame)}
	case frame[0] != Version:
		return 0, &FrameError{"version", fmt.Sprintf("is %d, want %d", frame[0], Version)}
	case frame[2] != 0 || frame[3] != 0:
		return 0, &FrameError{"reserved", "is not zero"}
	case binary.LittleEndian.Uint32(frame[4:]) != uint32(len(frame)):
		return 0, &FrameError{"length", "differs from the frame's own"}
	}
	return Kind(frame[1]), nil
}

// encoder appends fields; finish writes the length.
type encoder struct{ b []byte }

func begin(b []byte, kind Kind) encoder {
	return encoder{append(b, Version, byte(kind), 0, 0, 0, 0, 0, 0)}
}

func (e *encoder) finish(start int) []byte {
	binary.LittleEndian.PutUint32(e.b[start+4:], uint32(len(e.b)-start))
	return e.b
}

// finishHead ends a frame whose last field is tail, without the bytes of tail.
func (e *encoder) finishHead(start int, tail []byte) []byte {
	e.u32(uint32(len(tail)))
	binary.LittleEndian.PutUint32(e.b[start+4:], uint32(len(e.b)-start+len(tail)))
	return e.b
}

func (e *encoder) u8(v uint8) { e.b = append(e.b, v) }
func (e *encoder) bool(v bool) {
	if v {
		e.u8(1)
		return
	}
	e.u8(0)
}
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) i64(v int64)  { e.b = binary.LittleEndian.AppendUint64(e.b, uint64(v)) }
func (e *encoder) str(s string) { e.u32(uint32(len(s))); e.b = append(e.b, s...) }
func (e *encoder) raw(p []byte) { e.u32(uint32(len(p))); e.b = append(e.b, p...) }

func (e *encoder) strs(list []string) {
	e.u32(uint32(len(list)))
	for _, s := range list {
		e.str(s)
	}
}

func (e *encoder) pairs(list []Pair) {
	e.u32(uint32(len(list)))
	for _, p := range list {
		e.str(p.Name)
		e.str(p.Value)
	}
}

// decoder reads fields from a private copy of the frame. It keeps the first error; reads
// after it return zero values.
type decoder struct {
	b   []byte
	s   string // the same bytes, so that strings are slices of the one copy
	off int
	err error
}

func open(frame []byte, want Kind) decoder {
	kind, err := KindOf(frame)
	if err == nil && kind != want {
		err = &FrameError{"kind", fmt.Sprintf("is %d, want %d", kind, want)}
	}
	if err != nil {
		return decoder{err: err}
	}
	d := copied(frame)
	d.off = headerSize
	return d
}

// copied reads a private copy of data.
func copied(data []byte) decoder {
	b := append([]byte(nil), data...)
	return decoder{b: b, s: unsafe.String(unsafe.SliceData(b), len(b))}
}

func (d *decoder) fail(field, what string) {
	if d.err == nil {
		d.err = &FrameError{field, what}
	}
}

// take returns the next n bytes as a range of the copy.
func (d *decoder) take(field string, n int) (from, to int) {
	if n > len(d.b)-d.off {
		d.fail(field, "runs past the end of the frame")
	}
	if d.err != nil {
		return 0, 0
	}
	from = d.off
	d.off += n
	return from, d.off
}

func (d *decoder) u8(field string) uint8 {
	if from, to := d.take(field, 1); to > from {
		return d.b[from]
	}
	return 0
}

func (d *decoder) bool(field string) bool {
	v := d.u8(field)
	if v > 1 {
		d.fail(field, "is neither 0 nor 1")
	}
	return v == 1
}

// u32 reads the most frequent type. It makes no calls, which are expensive in a guest.
func (d *decoder) u32(field string) uint32 {
	b := d.b[d.off:]
	if len(b) < 4 || d.err != nil {
		d.take(field, 4)
		return 0
	}
	d.off += 4
	return binary.LittleEndian.Uint32(b)
}

func (d *decoder) i64(field string) int64 {
	if from, to := d.take(field, 8); to > from {
		return int64(binary.LittleEndian.Uint64(d.b[from:]))
	}
	return 0
}

func (d *decoder) size(field string, limit int) int {
	n := d.u32(field)
	if n > uint32(limit) {
		d.fail(field, fmt.Sprintf("is %d, the limit is %d", n, limit))
		return 0
	}
	return int(n)
}

func (d *decoder) str(field string) string {
	from, to := d.take(field, d.size(field, MaxString))
	return d.s[from:to]
}

func (d *decoder) raw(field string, limit int) []byte {
	from, to := d.take(field, d.size(field, limit))
	if from == to {
		return nil
	}
	return d.b[from:to:to]
}

// count reads a list's length and checks that the rest of the frame can contain as many
// elements of at least elem bytes, so that the frame's length bounds the slice made for
// them.
func (d *decoder) count(field string, limit, elem int) int {
	n := d.size(field, limit)
	if n*elem > len(d.b)-d.off {
		d.fail(field, "counts more elements than the frame holds")
		return 0
	}
	return n
}

// room is preallocated memory for a request's lists, so that the lists of a usual request
// need no further allocations.
type room struct {
	text  [8]string
	pair  [6]Pair
	texts int // used
	pairs int
}

func (d *decoder) strs(field string, r *room) []string {
	n := d.count(field, MaxList, 4)
	if n == 0 {
		return nil
	}
	var list []string
	if n <= len(r.text)-r.texts {
		list = r.text[r.texts : r.texts+n : r.texts+n]
		r.texts += n
	} else {
		list = make([]string, n)
	}
	for i := range list {
		list[i] = d.str(field)
	}
	return list
}

func (d *decoder) pairs(field string, limit int, r *room) []Pair {
	n := d.count(field, limit, 8)
	if n == 0 {
		return nil
	}
	var list []Pair
	if n <= len(r.pair)-r.pairs {
		list = r.pair[r.pairs : r.pairs+n : r.pairs+n]
		r.pairs += n
	} else {
		list = make([]Pair, n)
	}
	for i := range list {
		list[i] = Pair{d.str(field), d.str(field)}
	}
	return list
}

func (d *decoder) done() error {
	if d.err == nil && d.off != len(d.b) {
		d.fail("length", fmt.Sprintf("%d bytes follow the last field", len(d.b)-d.off))
	}
	return d.err
}
