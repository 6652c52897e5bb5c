// Package image gives WebAssembly instances memories that start as copies of
// one captured image and can be put back to it. It owns address space, the
// file behind an image and the search for what a guest has changed; when to
// capture, restore or give up a memory is its caller's decision.
//
// On Linux a memory maps the image copy-on-write: it costs what it changed, and
// restoring costs as much. From Linux 6.7 the kernel marks what is written;
// before, and where it does not permit that, the page map is searched for it.
// Where the kernel lacks that, too, and where Portable is asked for, a memory is
// an ordinary copy with the same behaviour.
package image

import (
	"bytes"
	"errors"
)

const (
	wasmPage = 64 << 10 // the unit of a memory's size
	hostPage = 4 << 10  // the unit in which changes are looked for and copied
)

// Kind is how memories are made.
type Kind uint8

const (
	Native   Kind = iota // copy-on-write where the kernel can, else as Portable
	Scanning             // Native as older kernels do it, for tests
	Portable             // ordinary copies
)

var errSize = errors.New("image: size is not a multiple of 64 KiB")

// Image is a captured memory. It is safe for concurrent use until Close.
type Image struct {
	size   int
	data   []byte // up to the last byte that is not zero; not to be changed
	mapped *mapping
}

// New captures a copy of data, whose length is a multiple of 64 KiB (0 is
// allowed). Close the image after the last memory made from it was freed.
func New(kind Kind, data []byte) (*Image, error) {
	if len(data)%wasmPage != 0 {
		return nil, errSize
	}
	img := &Image{size: len(data)}
	data = trim(data)
	if kind != Portable && native() && len(data) > 0 {
		return img, img.mapFile(data)
	}
	img.data = append([]byte(nil), data...)
	return img, nil
}

// trim cuts off the pages at the end that are zero. A guest's free memory is
// mostly there, and needs no file.
func trim(data []byte) []byte {
	var zero [hostPage]byte
	for len(data) > 0 && bytes.Equal(data[len(data)-hostPage:], zero[:]) {
		data = data[:len(data)-hostPage]
	}
	return data
}

// Size is the image's length in bytes.
func (i *Image) Size() uint64 { return uint64(i.size) }

// Close frees the image.
func (i *Image) Close() error {
	i.data = nil
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

// NewMemory returns a memory that can reach max bytes. It starts as img, which
// was made with the same kind, or empty if img is nil. Every change of its size is first put to grow, in bytes
// and the initial size included; false refuses it. What was granted is taken
// back by Unmap.
func NewMemory(kind Kind, img *Image, max uint64, grow func(delta int64) bool) (*Memory, error) {
	m := &Memory{image: img, grow: grow, max: max}
	var start uint64
	if img != nil {
		start = img.Size()
	}
	if start > max {
		return nil, errors.New("image: is larger than the memory may be")
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

// ErrBudget says that the grow function refused a memory's initial size.
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
		copy(m.buf, m.image.data)
	}
	return nil
}

// Reallocate makes the memory size bytes long, or returns nil and changes
// nothing if that is beyond its maximum or its budget. It never shrinks: a
// memory made from an image has at least the image's length.
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

// Bytes is the memory's content, until the next Reallocate, Restore or Unmap.
func (m *Memory) Bytes() []byte { return m.buf }

// Free does nothing: wazero calls it when a module is closed, whether or not
// its guest still runs. Unmap is what frees.
func (m *Memory) Free() {}

// Unmap frees the memory. Nothing may use it any more, the guest included.
func (m *Memory) Unmap() error {
	m.grow(-int64(len(m.buf)))
	m.buf = nil
	if m.space == nil {
		return nil
	}
	return m.space.close()
}

// Grown reports whether the memory is longer than its image, so that Restore
// cannot help any more.
func (m *Memory) Grown() bool { return m.image == nil || uint64(len(m.buf)) != m.image.Size() }

// Restore puts the memory back to its image and reports how many host pages
// that took. The memory must not have Grown. After an error its contents are
// undefined and it must not be used again.
func (m *Memory) Restore() (pages int, err error) {
	if m.Grown() {
		return 0, errors.New("image: a grown memory cannot be restored")
	}
	if m.space == nil {
		clear(m.buf[copy(m.buf, m.image.data):])
		return len(m.buf) / hostPage, nil
	}
	return m.space.restore(m.buf, m.image)
}
