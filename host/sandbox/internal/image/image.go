// Package image provides memories of WebAssembly instances that start as copies of one
// captured image and can be restored to it. It owns address space, the file behind an image,
// and the search for changed pages; the caller decides when to capture, restore or free a
// memory.
//
// On Linux a memory maps the image copy-on-write: its cost, and that of restoring it, is
// proportional to the changed pages. From Linux 6.7 the kernel marks written pages. On older
// kernels, and where it does not permit that, the page map is searched for them. If the kernel
// supports neither, or Portable is requested, a memory is an ordinary copy with the same
// behaviour.
package image

import (
	"bytes"
	"errors"
)

const (
	wasmPage = 64 << 10 // the unit of a memory's size
	hostPage = 4 << 10  // the unit in which changes are detected and copied
)

// pieceSize is the most that is copied at once. A copy cannot be preempted, so a garbage
// collection waits for it, and one of 64 MiB that faults every page in takes a tenth of a second.
const pieceSize = 256 << 10

// Copy copies from one slice to another in pieces between which the goroutine can be preempted,
// as long as the shorter of them is.
func Copy(to, from []byte) {
	for len(to) > 0 && len(from) > 0 {
		n := copy(to[:min(len(to), pieceSize)], from)
		to, from = to[n:], from[n:]
	}
}

// clearAll is clear, in pieces as Copy.
func clearAll(b []byte) {
	for len(b) > 0 {
		n := min(len(b), pieceSize)
		clear(b[:n])
		b = b[n:]
	}
}

// Kind is the implementation of memories.
type Kind uint8

const (
	Native   Kind = iota // copy-on-write if the kernel supports it, otherwise as Portable
	Scanning             // Native as on older kernels, for tests
	Portable             // ordinary copies
)

var errSize = errors.New("image: size is not a multiple of 64 KiB")

// Image is a captured memory. It is safe for concurrent use until Close.
type Image struct {
	size   int
	data   []byte // up to the last byte that is not zero; not to be changed
	runs   []span // the parts of data that can be other than zero, in order
	mapped *mapping
}

// span is a run of whole host pages, as offsets in a memory.
type span struct{ from, to int }

// New captures a copy of data, whose length must be a multiple of 64 KiB (0 is allowed). Close
// the image after the last memory made from it was freed.
func New(kind Kind, data []byte) (*Image, error) {
	if len(data)%wasmPage != 0 {
		return nil, errSize
	}
	img := &Image{size: len(data)}
	data = trim(data)
	if kind != Portable && native() && len(data) > 0 {
		return img, img.mapFile(data)
	}
	if img.data = make([]byte, len(data)); len(data) > 0 {
		img.runs = []span{{0, len(data)}}
		Copy(img.data, data)
	}
	return img, nil
}

const (
	// leastHole is the least length of zeros that are not part of an image's file. A page of
	// such a hole that an instance writes exists once; one of the file exists twice.
	leastHole = 1 << 20
	// maxRuns bounds the mappings of an instance.
	maxRuns = 64
)

// runsOf returns the parts of data between holes of at least the given length, and of twice
// that until they are at most maxRuns.
func runsOf(data []byte, hole int) []span {
	var zero [hostPage]byte
	var runs []span
	for at := 0; at < len(data); at += hostPage {
		if bytes.Equal(data[at:at+hostPage], zero[:]) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && at-runs[last].to < hole {
			runs[last].to = at + hostPage
			continue
		}
		if len(runs) == maxRuns {
			return runsOf(data, 2*hole)
		}
		runs = append(runs, span{at, at + hostPage})
	}
	return runs
}

// show writes the image from an offset on to b, all of it.
func (i *Image) show(b []byte, from int) {
	at := from
	for _, r := range i.runs {
		if r.to <= at {
			continue
		}
		if r.from >= from+len(b) {
			break
		}
		if r.from > at {
			clearAll(b[at-from : r.from-from])
			at = r.from
		}
		end := min(r.to, from+len(b))
		Copy(b[at-from:end-from], i.data[at:end])
		at = end
	}
	clearAll(b[at-from:])
}

// trim removes the zero pages at the end. A guest's free memory is mostly there, and needs no
// file.
func trim(data []byte) []byte {
	var zero [hostPage]byte
	for len(data) > 0 && bytes.Equal(data[len(data)-hostPage:], zero[:]) {
		data = data[:len(data)-hostPage]
	}
	return data
}

// Size returns the image's length in bytes.
func (i *Image) Size() uint64 { return uint64(i.size) }

// Held returns the bytes of the host's memory that the image can take.
func (i *Image) Held() (bytes int64) {
	for _, r := range i.runs {
		bytes += int64(r.to - r.from)
	}
	return bytes
}

// Close frees the image.
func (i *Image) Close() error {
	i.data, i.runs = nil, nil
	if i.mapped == nil {
		return nil
	}
	return i.mapped.close()
}

// Memory is one instance's linear memory (it is wazero's LinearMemory). It is
// for one goroutine at a time.
type Memory struct {
	image *Image // of the same kind; nil: starts empty and cannot be restored
	grow  func(delta int64) bool
	space *space // nil: buf is on Go's heap
	buf   []byte
	max   uint64
}

// NewMemory returns a memory of at most max bytes. It starts as img, which must have the same
// kind, or empty if img is nil. Before every change of its size, including the initial size,
// it calls grow with the difference in bytes; false refuses the change. Unmap returns the
// granted bytes.
func NewMemory(kind Kind, img *Image, max uint64, grow func(delta int64) bool) (*Memory, error) {
	m := &Memory{image: img, grow: grow, max: max}
	var start uint64
	if img != nil {
		start = img.Size()
	}
	if start > max {
		return nil, errors.New("image: larger than the limit of the memory")
	}
	if !grow(int64(start)) {
		return nil, ErrBudget
	}
	if err := m.reserve(kind, start); err != nil {
		grow(-int64(start))
		return nil, err
	}
	return m, nil
}

// ErrBudget means that the grow function refused a memory's initial size.
var ErrBudget = errors.New("the memory budget is spent")

func (m *Memory) reserve(kind Kind, start uint64) (err error) {
	if kind != Portable && native() {
		m.space, err = newSpace(kind, m.image, m.max)
		if err == nil {
			m.buf = m.space.bytes(start)
		}
		return err
	}
	if m.image != nil {
		m.buf = make([]byte, start)
		Copy(m.buf, m.image.data)
	}
	return nil
}

// Reallocate makes the memory size bytes long. If that exceeds its maximum or its budget, it
// returns nil and changes nothing. It never shrinks: a memory made from an image has at least
// the image's length.
func (m *Memory) Reallocate(size uint64) []byte {
	have := uint64(len(m.buf))
	if size <= have {
		return m.buf
	}
	if size > m.max || !m.grow(int64(size-have)) {
		return nil
	}
	if m.space == nil {
		m.buf = append(m.buf, make([]byte, size-have)...)
		return m.buf
	}
	if err := m.space.open(have, size); err != nil {
		m.grow(-int64(size - have))
		return nil
	}
	m.buf = m.space.bytes(size)
	return m.buf
}

// Bytes returns the memory's content, valid until the next Reallocate, Restore or Unmap.
func (m *Memory) Bytes() []byte { return m.buf }

// Free has no effect: wazero calls it when a module is closed, even if its guest still runs.
// Unmap frees the memory.
func (m *Memory) Free() {}

// Unmap frees the memory. It must no longer be used, also not by the guest.
func (m *Memory) Unmap() error {
	m.grow(-int64(len(m.buf)))
	m.buf = nil
	if m.space == nil {
		return nil
	}
	return m.space.close()
}

// Grown reports whether the memory is longer than its image, so that it cannot be restored.
func (m *Memory) Grown() bool { return m.image == nil || uint64(len(m.buf)) != m.image.Size() }

// Changed returns the size of the host pages whose content differs from the image, in bytes,
// or -1 for a memory without an image. It reads the whole memory.
func (m *Memory) Changed() (n int) {
	if m.image == nil {
		return -1
	}
	for at := 0; at < len(m.buf); at += hostPage {
		page := m.buf[at : at+hostPage]
		same := m.image.data[min(at, len(m.image.data)):min(at+hostPage, len(m.image.data))]
		if !bytes.Equal(page[:len(same)], same) || !zeros(page[len(same):]) {
			n += hostPage
		}
	}
	return n
}

var zeroPage [hostPage]byte

func zeros(b []byte) bool { return bytes.Equal(b, zeroPage[:len(b)]) }

// Restore restores the memory to its image and returns the number of restored host pages. The
// memory must not have Grown. After an error its content is undefined and it must not be used
// again.
func (m *Memory) Restore() (pages int, err error) {
	if m.Grown() {
		return 0, errors.New("image: a grown memory cannot be restored")
	}
	if m.space == nil {
		m.image.show(m.buf, 0)
		return len(m.buf) / hostPage, nil
	}
	return m.space.restore(m.buf, m.image)
}
