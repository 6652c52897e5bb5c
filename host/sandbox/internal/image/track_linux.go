package image

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tracker makes the kernel mark written pages: the kernel write-protects them and removes the
// protection at the first write (asynchronous write protection of userfaultfd, Linux 6.7). A
// page without protection was written, so a search for changes only reads page table entries.
// Otherwise it has to inspect each present page, and the kernel makes many pages present that
// were never accessed.
type tracker struct{ fd uintptr }

// Of include/uapi/linux/userfaultfd.h.
const (
	uffdUserModeOnly = 1 // what an ordinary user may ask for

	uffdAPI            = 0xaa
	uffdWriteProtected = 1 << 12 // of memory files, too
	uffdUnpopulated    = 1 << 13 // of pages that are not there yet
	uffdAsync          = 1 << 15

	uffdRegister     = 3<<30 | 32<<16 | uffdAPI<<8 | 0x00
	uffdWriteProtect = 3<<30 | 24<<16 | uffdAPI<<8 | 0x06
	uffdHandshake    = 3<<30 | 24<<16 | uffdAPI<<8 | 0x3f

	uffdModeRegister = 1 << 1
	uffdModeProtect  = 1 << 0
)

// theTracker is the tracker of the process, nil if the kernel does not support it or refuses
// it, as in many containers.
var theTracker = sync.OnceValue(func() *tracker {
	if !hasIoctl() {
		return nil
	}
	fd, _, errno := syscall.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return nil
	}
	t := &tracker{fd}
	err := t.ioctl(uffdHandshake, uffdAPI, uffdWriteProtected|uffdUnpopulated|uffdAsync)
	if err == nil {
		err = try(t)
	}
	if err != nil {
		_ = unix.Close(int(fd))
		return nil
	}
	return t
})

// track begins to mark writes to the n bytes at base, as long as they are
// mapped.
func (t *tracker) track(base unsafe.Pointer, n uintptr) error {
	if err := t.ioctl(uffdRegister, uint64(uintptr(base)), uint64(n), uffdModeRegister); err != nil {
		return err
	}
	return t.protect(base, n)
}

// protect removes all marks.
func (t *tracker) protect(base unsafe.Pointer, n uintptr) error {
	return t.ioctl(uffdWriteProtect, uint64(uintptr(base)), uint64(n), uffdModeProtect)
}

func (t *tracker) ioctl(request uintptr, words ...uint64) error {
	var arg [4]uint64
	copy(arg[:], words)
	if _, _, errno := syscall.Syscall(unix.SYS_IOCTL, t.fd, request, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return fmt.Errorf("image: userfaultfd: %w", errno)
	}
	return nil
}
