package compile

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// lockFile locks path against all other openings, also in this process, and fails with errBusy
// if it is locked. Only the holder removes a lock file; a process that waited for a removed
// file finds another file under its name.
func lockFile(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if err == unix.EWOULDBLOCK {
				return nil, errBusy
			}
			return nil, fmt.Errorf("compilation cache: locking %s: %w", path, err)
		}
		mine, err1 := f.Stat()
		named, err2 := os.Lstat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
	}
}

// buildID returns the id that Go's linker has given this program: a hash of all that went into
// it. It is empty if the program was linked without.
func buildID() string {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return ""
	}
	defer f.Close()
	note := f.Section(".note.go.buildid")
	if note == nil || note.Size < noteHeader || note.Size > maxNote {
		return ""
	}
	text, err := note.Data()
	if err != nil {
		return ""
	}
	return string(text[noteHeader:])
}

const (
	noteHeader = 16 // lengths of name and id, type, and the name "Go" with padding
	maxNote    = 4 << 10
)
