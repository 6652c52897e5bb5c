package wasm

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// reader reads bytes. It keeps the first error, and later reads return zero, so that a caller
// checks once per item.
type reader struct {
	b        []byte // from the start of the module
	at, end  int
	section  string
	function int
	err      *Error
}

func (r *reader) refuse(kind error, reason string) { r.refuseAt(r.at, kind, reason) }

func (r *reader) refuseAt(at int, kind error, reason string) {
	if r.err == nil {
		r.err = &Error{Section: r.section, Function: r.function, Offset: at, Reason: reason, Kind: kind}
	}
}

func (r *reader) malformed(format string, args ...any) {
	r.refuse(ErrMalformed, fmt.Sprintf(format, args...))
}

func (r *reader) left() int { return r.end - r.at }

func (r *reader) byte() byte {
	if r.err != nil {
		return 0
	}
	if r.at >= r.end {
		r.malformed("unexpected end")
		return 0
	}
	b := r.b[r.at]
	r.at++
	return b
}

// bytes returns a view of the next n bytes.
func (r *reader) bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(r.left()) {
		r.malformed("length %d, but only %d bytes are left", n, r.left())
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

// u32 reads an unsigned LEB128 number (spec 5.2.2): at most 5 bytes, unused bits zero.
func (r *reader) u32() uint32 {
	if r.err == nil && r.at < r.end && r.b[r.at] < 0x80 {
		r.at++
		return uint32(r.b[r.at-1])
	}
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v>>32 != 0 {
				r.malformed("number too large for 32 bits")
			}
			return uint32(v)
		}
	}
	r.malformed("number longer than 5 bytes")
	return 0
}

// signed reads a signed LEB128 number of the given width. It must have no more bytes than the width
// needs, and the unused bits of the last byte must repeat the sign.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if rest := bits - shift; rest <= 7 {
			// The bits above the sign must all equal it.
			if top := int8(b<<1) >> rest; b >= 0x80 || top != 0 && top != -1 {
				r.malformed("number too large for %d bits", bits)
			}
		}
		if b < 0x80 || r.err != nil {
			if shift += 7; shift < 64 {
				v = v << (64 - shift) >> (64 - shift)
			}
			return v
		}
	}
}

// count reads the length of a vector whose items take at least one byte each.
func (r *reader) count(what string, max int) int {
	n := uint64(r.u32())
	if r.err != nil || !r.within(what, n, max) {
		return 0
	}
	if n > uint64(r.left()) {
		r.malformed("%d %s in %d bytes", n, what, r.left())
		return 0
	}
	return int(n)
}

// name reads a UTF-8 name of at most max bytes.
func (r *reader) name(max int) string {
	n := uint64(r.u32())
	if r.err != nil || !r.within("bytes of a name", n, max) {
		return ""
	}
	b := r.bytes(n)
	if !utf8.Valid(b) {
		r.malformed("name is not UTF-8")
	}
	return string(b)
}

func (r *reader) index(what string, n int) uint32 {
	at, i := r.at, r.u32()
	if r.err == nil && uint64(i) >= uint64(n) {
		r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown %s %d", what, i))
	}
	return i
}

func (r *reader) zero(feature string) {
	if b := r.byte(); b != 0 {
		r.at--
		r.refuse(ErrUnsupported, feature)
	}
}

func appendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(appendU32(b, uint32(len(v))), v...)
}
