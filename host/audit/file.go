package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// file appends lines. A regular file at the path belongs to the host: it is renamed when
// it is full, and no other process may write it. A device, a pipe or a link such as
// /dev/stdout belongs to another owner; the host only appends to it.
//
// Destinations at one path in this process share a file, which is closed with the last of
// them: a new configuration begins to write before the earlier one has ended.
type file struct {
	path  string
	users int // guarded by shared

	mu   sync.Mutex // guards what follows
	max  int64
	keep int
	f    *os.File // nil: must be opened
	info os.FileInfo
	own  bool // f is a regular file at path itself
	size int64
}

// rotates reports whether path is absent or a regular file, and not a link to one.
func rotates(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// checkRotation refuses limits that would have no effect.
func (c *File) checkRotation() error {
	if c.MaxMiB == 0 && c.Keep == 0 {
		return nil
	}
	if ok, err := rotates(c.Path); ok || err != nil {
		return nil // opening it reports the error
	}
	return fmt.Errorf("%s is not a regular file and is never rotated; remove maxMiB and keep, or name a file", c.Path)
}

func openFile(c *File) (*file, error) {
	if err := c.checkRotation(); err != nil {
		return nil, err
	}
	shared.Lock()
	defer shared.Unlock()
	s := shared.files[c.Path]
	if s == nil {
		s = &file{path: c.Path}
		if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			return nil, err
		}
		if err := s.open(); err != nil {
			return nil, err
		}
		shared.files[c.Path] = s
	}
	s.users++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max, s.keep = int64(cmp.Or(c.MaxMiB, defaultMaxMiB))<<20, cmp.Or(c.Keep, defaultKeep)
	return s, nil
}

// shared is the open files of this process, by path.
var shared = struct {
	sync.Mutex
	files map[string]*file
}{files: map[string]*file{}}

func (s *file) open() error {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	// Lstat comes last: if the opened file is still at the path, the path is no link.
	at, err := os.Lstat(s.path)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.info, s.size, s.own = info, info.Size(), at.Mode().IsRegular() && os.SameFile(at, info)
	if s.own {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.Join(fmt.Errorf("%s is written by another process", s.path), f.Close())
		}
		if s.size, err = mend(f, s.size); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	s.f = f
	return nil
}

// follow closes a regular file that is no longer at the path, because it was renamed or
// removed or a link was switched.
func (s *file) follow() error {
	if s.f == nil || !s.info.Mode().IsRegular() {
		return nil
	}
	stat := os.Stat
	if s.own {
		stat = os.Lstat
	}
	if info, err := stat(s.path); err == nil && os.SameFile(info, s.info) {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// maxTorn bounds the search for the beginning of an incomplete record, in bytes.
const maxTorn = 4 << 20

// mend removes an incomplete record, which a crash leaves at the end of f and no reader
// can parse, and returns the new size.
func mend(f *os.File, size int64) (int64, error) {
	tail := make([]byte, min(size, maxTorn))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0, err
	}
	torn := tail[bytes.LastIndexByte(tail, '\n')+1:]
	if !bytes.HasPrefix(torn, []byte("{")) || json.Valid(torn) {
		return size, nil // not written by this host
	}
	size -= int64(len(torn))
	return size, f.Truncate(size)
}

func (s *file) Write(_ context.Context, records []map[string]any) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return &refused{records: len(records), whole: true, err: err}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.follow(); err != nil {
		return err
	}
	if s.f != nil && s.own && s.size > 0 && s.size+int64(lines.Len()) > s.max {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	n, err := s.f.Write(lines.Bytes())
	s.size += int64(n)
	if err != nil && n > 0 && s.own {
		// An incomplete line is not a record; the whole batch is written again.
		s.size -= int64(n)
		err = errors.Join(err, s.f.Truncate(s.size))
	}
	return err
}

// rotate renames the file to PATH.1, and PATH.n to PATH.n+1. It replaces regular files
// only.
func (s *file) rotate() error {
	for n := 1; n <= s.keep; n++ {
		name := s.numbered(n)
		if ok, err := rotates(name); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%s is not a regular file, so %s cannot be rotated; move it away", name, s.path)
		}
	}
	err := s.f.Close()
	s.f = nil
	for n := s.keep; n > 0; n-- {
		from, to := s.numbered(n-1), s.numbered(n)
		if e := os.Rename(from, to); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *file) numbered(n int) string {
	if n == 0 {
		return s.path
	}
	return fmt.Sprintf("%s.%d", s.path, n)
}

func (s *file) Close() error {
	shared.Lock()
	defer shared.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	delete(shared.files, s.path)
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
