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

// scanner finds changed pages. Its buffers are reused.
type scanner struct {
	base    uintptr
	ranges  []span
	pages   int
	regions []region
	arg     scanArg
	entries []byte
}

var scanners = sync.Pool{New: func() any { return &scanner{regions: make([]region, 128)} }}

// pagemap stays open, because opening it for every restore would cost as much as the restore.
// The file shows the address space of the process that opened it.
var pagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

// scan finds the changed ranges and pages in the n bytes mapped at base. In the first tracked
// bytes the kernel marks written pages. In the others, a written page is private to the
// mapping, also if it was swapped out, and an unwritten page belongs to the file.
func (c *scanner) scan(base unsafe.Pointer, tracked, n int) error {
	file, err := pagemap()
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	c.ranges, c.pages, c.base = c.ranges[:0], 0, uintptr(base)
	if !hasIoctl() {
		return c.read(file, 0, n)
	}
	if err := c.ioctl(file, written, 0, tracked); err != nil {
		return err
	}
	return c.ioctl(file, private, tracked, n)
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

	pageIsWritten = 1 << 1
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5 // the kernel's page of zeros: read, never written

	scanCheckTracked = 1 << 1 // fail where writes are not marked
)

type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyOf, returned                         uint64
}

// The arguments of scans.
var (
	// With exactly these flags the kernel reads only the page table entry.
	written = scanArg{flags: scanCheckTracked, mask: pageIsWritten, returned: pageIsWritten}
	private = scanArg{inverted: pageIsFile | pageIsZero, mask: pageIsFile | pageIsZero, anyOf: pageIsPresent | pageIsSwapped}
)

type region struct{ start, end, categories uint64 }

// hasIoctl asks about a page that is not mapped.
var hasIoctl = sync.OnceValue(func() bool {
	file, err := pagemap()
	if err != nil {
		return false
	}
	var c scanner
	c.regions = make([]region, 1)
	return c.ioctl(file, private, 0, hostPage) == nil
})

// ioctl adds the pages of a kind between two offsets.
func (c *scanner) ioctl(file *os.File, kind scanArg, from, to int) error {
	for from < to {
		c.arg = kind
		c.arg.size, c.arg.start, c.arg.end = uint64(unsafe.Sizeof(c.arg)), uint64(c.base)+uint64(from), uint64(c.base)+uint64(to)
		c.arg.vec, c.arg.vecLen = uint64(uintptr(unsafe.Pointer(&c.regions[0]))), uint64(len(c.regions))
		found, _, errno := syscall.Syscall(unix.SYS_IOCTL, file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&c.arg)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("image: scanning the page map: %w", errno)
		}
		for _, r := range c.regions[:found] {
			c.add(int(r.start-uint64(c.base)), int(r.end-uint64(c.base)))
		}
		from = int(c.arg.walkEnd - uint64(c.base))
	}
	return nil
}

// Bits of a page map entry (Documentation/admin-guide/mm/pagemap.rst).
const (
	entryFile    = 1 << 61
	entrySwapped = 1 << 62
	entryPresent = 1 << 63
)

// read is ioctl for older kernels, with one entry of 8 bytes for each page. It also finds zero
// pages that were only read, which only costs a copy.
func (c *scanner) read(file *os.File, from, to int) error {
	size := (to - from) / hostPage * 8
	if cap(c.entries) < size {
		c.entries = make([]byte, size)
	}
	entries := c.entries[:size]
	if _, err := file.ReadAt(entries, int64((c.base+uintptr(from))/hostPage*8)); err != nil {
		return errors.Join(errors.New("image: reading the page map"), err)
	}
	for at := from; at < to; at += hostPage {
		e := binary.NativeEndian.Uint64(entries[(at-from)/hostPage*8:])
		if e&(entryPresent|entrySwapped) != 0 && e&entryFile == 0 {
			c.add(at, at+hostPage)
		}
	}
	return nil
}
