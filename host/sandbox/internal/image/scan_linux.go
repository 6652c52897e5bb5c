package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// span is a run of changed bytes, whole host pages, as offsets in a memory.
type span struct{ from, to int }

// scanner finds changed pages. Its buffers are reused.
type scanner struct {
	ranges  []span
	pages   int
	regions []region
	arg     scanArg
	entries []byte
}

var scanners = sync.Pool{New: func() any { return &scanner{regions: make([]region, 128)} }}

// pagemap stays open: opening it for every restore would cost as much as the
// restore. The kernel checks the address space of whoever opened it.
var pagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

// scan fills ranges and pages for the n bytes mapped at base.
func (c *scanner) scan(base unsafe.Pointer, n int) error {
	file, err := pagemap()
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	c.ranges, c.pages = c.ranges[:0], 0
	if !hasIoctl() {
		return c.read(file, uintptr(base), n)
	}
	return c.ioctl(file, uintptr(base), n)
}

func (c *scanner) add(from, to int) {
	c.pages += (to - from) / hostPage
	if last := len(c.ranges) - 1; last >= 0 && c.ranges[last].to == from {
		c.ranges[last].to = to
		return
	}
	c.ranges = append(c.ranges, span{from, to})
}

// The PAGEMAP_SCAN request of Linux 6.7 (include/uapi/linux/fs.h).
const (
	pagemapScan = 3<<30 | unsafe.Sizeof(scanArg{})<<16 | 'f'<<8 | 16

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5 // the kernel's page of zeros: read, never written
)

type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyOf, returned                         uint64
}

type region struct{ start, end, categories uint64 }

// hasIoctl asks for nothing, which a kernel that knows the request grants.
var hasIoctl = sync.OnceValue(func() bool {
	file, err := pagemap()
	if err != nil {
		return false
	}
	var c scanner
	c.regions = make([]region, 1)
	return c.ioctl(file, 0, 0) == nil
})

func (c *scanner) ioctl(file *os.File, base uintptr, n int) error {
	at, end := uint64(base), uint64(base)+uint64(n)
	for {
		c.arg = scanArg{
			size: uint64(unsafe.Sizeof(c.arg)), start: at, end: end,
			vec: uint64(uintptr(unsafe.Pointer(&c.regions[0]))), vecLen: uint64(len(c.regions)),
			inverted: pageIsFile | pageIsZero, mask: pageIsFile | pageIsZero, anyOf: pageIsPresent | pageIsSwapped,
		}
		found, _, errno := syscall.Syscall(unix.SYS_IOCTL, file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&c.arg)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("image: scanning the page map: %w", errno)
		}
		for _, r := range c.regions[:found] {
			c.add(int(r.start-uint64(base)), int(r.end-uint64(base)))
		}
		if at = c.arg.walkEnd; at >= end {
			return nil
		}
	}
}

// Bits of a page map entry (Documentation/admin-guide/mm/pagemap.rst).
const (
	entryFile    = 1 << 61
	entrySwapped = 1 << 62
	entryPresent = 1 << 63
)

// read is ioctl for older kernels: one entry of 8 bytes for each page. It also
// finds pages of zeros that were only read, which costs no more than a copy.
func (c *scanner) read(file *os.File, base uintptr, n int) error {
	size := n / hostPage * 8
	if cap(c.entries) < size {
		c.entries = make([]byte, size)
	}
	entries := c.entries[:size]
	if _, err := file.ReadAt(entries, int64(base/hostPage*8)); err != nil {
		return errors.Join(errors.New("image: reading the page map"), err)
	}
	for at := 0; at < n; at += hostPage {
		e := binary.NativeEndian.Uint64(entries[at/hostPage*8:])
		if e&(entryPresent|entrySwapped) != 0 && e&entryFile == 0 {
			c.add(at, at+hostPage)
		}
	}
	return nil
}
