package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A restored memory keeps its written pages: copying a page costs a tenth of a microsecond,
// while faulting it in again costs some five in a virtual machine. But every kept page is
// copied again after each call, whether it was written or not. So pages above keepPages are
// counted, and after excessPages of them, when the copies have cost about as much as the
// faults will, the memory frees all its pages. That also bounds the size of an idle memory.
const (
	keepPages   = 64
	excessPages = 4096
)

// mapping is the file behind an image, and the host's mapping of it.
type mapping struct {
	file *os.File
	base unsafe.Pointer
	size uintptr
}

func (i *Image) mapFile(data []byte) error {
	fd, err := unix.MemfdCreate("bulkhead-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("image: memfd_create: %w", err)
	}
	m := &mapping{file: os.NewFile(uintptr(fd), "bulkhead-image"), size: uintptr(len(data))}
	if err := m.fill(data); err != nil {
		return errors.Join(fmt.Errorf("image: %w", err), m.file.Close())
	}
	m.base, err = unix.MmapPtr(fd, 0, nil, m.size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return errors.Join(fmt.Errorf("image: mmap: %w", err), m.file.Close())
	}
	i.data, i.mapped, i.runs = unsafe.Slice((*byte)(m.base), len(data)), m, runsOf(data, leastHole)
	return nil
}

// fill writes data, leaves holes where it is zero, and seals the file.
func (m *mapping) fill(data []byte) error {
	if err := m.file.Truncate(int64(len(data))); err != nil {
		return err
	}
	var zero [hostPage]byte
	for at := 0; at < len(data); at += hostPage {
		page := data[at : at+hostPage]
		if bytes.Equal(page, zero[:]) {
			continue
		}
		if _, err := m.file.WriteAt(page, int64(at)); err != nil {
			return err
		}
	}
	_, err := unix.FcntlInt(m.file.Fd(), unix.F_ADD_SEALS,
		unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	return err
}

func (m *mapping) close() error {
	return errors.Join(unix.MunmapPtr(m.base, m.size), m.file.Close())
}

// space is reserved address space: readable and writable up to a memory's
// length, inaccessible beyond.
type space struct {
	base    unsafe.Pointer
	size    uintptr
	tracker *tracker
	tracked uintptr // bytes from base in which the tracker marks writes
	excess  int     // pages copied back beyond keepPages since all were freed
}

func newSpace(kind Kind, img *Image, max uint64) (*space, error) {
	if kind == Native {
		return reserve(theTracker(), img, max)
	}
	return reserve(nil, img, max)
}

// reserve makes a space of max bytes. The tracker may be nil.
func reserve(t *tracker, img *Image, max uint64) (*space, error) {
	s := &space{size: uintptr(max), tracker: t}
	if max == 0 {
		return s, nil
	}
	var err error
	s.base, err = unix.MmapPtr(-1, 0, nil, s.size, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("image: reserving %d bytes: %w", max, err)
	}
	if err := s.mapImage(img); err != nil {
		return nil, errors.Join(fmt.Errorf("image: mapping it: %w", err), s.close())
	}
	return s, nil
}

// A guest that fills untouched memory page by page occupies its thread for long: 64 MiB took
// 0.1 s. So memory beyond an image is faulted in by large pages if possible, which takes a
// tenth of the time. This does not apply to a shorter run of zeros at an image's end, where a
// guest that writes a few bytes would cause 2 MiB to be cleared after every call.
const smallTail = 8 << 20

// mapImage maps the image, which may be nil, at the start of the space. Only its file's runs are
// mapped from the file: a hole that is read there would become a page of the file.
func (s *space) mapImage(img *Image) error {
	var file, size uint64
	var runs []span
	if img != nil {
		file, size, runs = uint64(len(img.data)), img.Size(), img.runs
	}
	if size > 0 {
		if err := s.open(0, size); err != nil {
			return err
		}
	}
	for _, r := range runs {
		_, err := unix.MmapPtr(int(img.mapped.file.Fd()), int64(r.from), unsafe.Add(s.base, r.from), uintptr(r.to-r.from),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
		if err != nil {
			return err
		}
	}
	small := size
	if size-file > smallTail {
		small = file
	}
	if large := s.bytes(uint64(s.size))[small:]; len(large) > 0 {
		// A kernel without large pages refuses; that only costs time.
		_ = unix.Madvise(large, unix.MADV_HUGEPAGE)
	}
	if s.tracker == nil || small == 0 {
		return nil
	}
	s.tracked = uintptr(small)
	return s.tracker.track(s.base, s.tracked)
}

// bytes returns the space's first n bytes; their capacity is limited, so that appending cannot
// reach more.
func (s *space) bytes(n uint64) []byte { return unsafe.Slice((*byte)(s.base), s.size)[:n:n] }

// open makes the bytes between from and to accessible; they are zero.
func (s *space) open(from, to uint64) error {
	return unix.Mprotect(s.bytes(to)[from:], unix.PROT_READ|unix.PROT_WRITE)
}

func (s *space) close() error {
	if s.base == nil {
		return nil
	}
	return unix.MunmapPtr(s.base, s.size)
}

// restore copies changed pages back from the image.
func (s *space) restore(buf []byte, img *Image) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	c := scanners.Get().(*scanner)
	defer scanners.Put(c)
	if err := c.scan(s.base, int(s.tracked), len(buf)); err != nil {
		return 0, err
	}
	if s.excess += max(0, c.pages-keepPages); s.excess > excessPages {
		s.excess = 0
		return c.pages, s.giveUp(buf)
	}
	for _, r := range c.ranges {
		img.show(buf[r.from:r.to], r.from)
	}
	return c.pages, nil
}

// giveUp frees the written pages, so that the image is visible again.
func (s *space) giveUp(buf []byte) error {
	if err := unix.Madvise(buf, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("image: madvise: %w", err)
	}
	if s.tracked == 0 {
		return nil
	}
	return s.tracker.protect(s.base, s.tracked)
}

// native reports whether this kernel supports all of it. It tries once, because containers may
// lack /proc, and some kernels report success without effect.
var native = sync.OnceValue(func() bool { return try(nil) == nil })

// try makes a memory, reads and writes it, and checks that reads and writes are detected
// correctly, also after its pages were freed.
func try(t *tracker) error {
	if os.Getpagesize() != hostPage {
		return errors.New("image: pages are not 4 KiB")
	}
	data := bytes.Repeat([]byte{1}, wasmPage)
	img := &Image{size: len(data)}
	if err := img.mapFile(data); err != nil {
		return err
	}
	defer img.Close()
	s, err := reserve(t, img, wasmPage)
	if err != nil {
		return err
	}
	defer s.close()
	buf := s.bytes(wasmPage)
	for round := range 3 {
		if buf[0] != 1 { // a page that is only read must not count as changed
			return errors.New("image: the mapping does not show the file")
		}
		buf[3*hostPage] = 2
		pages, err := s.restore(buf, img)
		if err != nil {
			return err
		}
		if pages != 1 || !bytes.Equal(buf, data) {
			return errors.New("image: the kernel does not show what was written")
		}
		if round == 1 {
			if err := s.giveUp(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// Kernel reports whether memory can be mapped copy-on-write, and whether the kernel marks
// written pages.
func Kernel() (copyOnWrite, marks bool) { return native(), theTracker() != nil }
