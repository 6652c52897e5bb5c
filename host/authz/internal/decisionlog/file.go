package decisionlog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// file appends lines. It renames the file when it is full, and no other process
// may write it.
type file struct {
	path string
	max  int64
	keep int
	f    *os.File // nil: to be opened
	info os.FileInfo
	size int64
}

func openFile(c *File) (*file, error) {
	s := &file{path: c.Path, max: int64(cmp.Or(c.MaxMiB, defaultMaxMiB)) << 20, keep: cmp.Or(c.Keep, defaultKeep)}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, err
	}
	return s, s.open()
}

func (s *file) open() error {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if s.info, s.size = info, info.Size(); !info.Mode().IsRegular() {
		s.max = math.MaxInt64 // /dev/stdout is not renamed
	} else if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.Join(fmt.Errorf("%s is written by another process", s.path), f.Close())
	} else if s.size, err = mend(f, s.size); err != nil {
		return errors.Join(err, f.Close())
	}
	s.f = f
	return nil
}

// follow gives up a file that somebody else has renamed or removed.
func (s *file) follow() error {
	if s.f == nil || !s.info.Mode().IsRegular() {
		return nil
	}
	if info, err := os.Stat(s.path); err == nil && os.SameFile(info, s.info) {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// maxTorn bounds what is looked through for the beginning of a torn record, in
// bytes.
const maxTorn = 4 << 20

// mend takes off the half of a record that a crash leaves at the end of f, which
// every reader would stumble over, and returns the size then.
func mend(f *os.File, size int64) (int64, error) {
	tail := make([]byte, min(size, maxTorn))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0, err
	}
	torn := tail[bytes.LastIndexByte(tail, '\n')+1:]
	if !bytes.HasPrefix(torn, []byte("{")) || json.Valid(torn) {
		return size, nil // nothing of ours
	}
	size -= int64(len(torn))
	return size, f.Truncate(size)
}

func (s *file) Write(_ context.Context, records []map[string]any) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return &Refused{Records: len(records), Whole: true, Err: err}
		}
	}
	if err := s.follow(); err != nil {
		return err
	}
	if s.f != nil && s.size > 0 && s.size+int64(lines.Len()) > s.max {
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
	if err != nil && n > 0 {
		// Half a line is no record; the whole batch comes again.
		s.size -= int64(n)
		err = errors.Join(err, s.f.Truncate(s.size))
	}
	return err
}

// rotate makes the file PATH.1, and PATH.n PATH.n+1.
func (s *file) rotate() error {
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
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
