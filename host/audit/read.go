package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// Read returns all kept records: the rotated files, oldest first, and then the present
// content of the current file.
func (c *File) Read() (io.ReadCloser, error) {
	var opened []*os.File // newest first, so that a file that is renamed meanwhile is read twice rather than missed
	var seen []os.FileInfo
	out := &parts{}
	s := file{path: c.Path, keep: cmp.Or(c.Keep, defaultKeep)}
	for n := 0; n <= s.keep; n++ {
		name := s.numbered(n)
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !info.Mode().IsRegular() { // opening a pipe or a terminal would wait
			err = fmt.Errorf("%s is not a regular file, so its records cannot be read", name)
		}
		var f *os.File
		if err == nil {
			f, err = os.Open(name)
		}
		if err != nil {
			return nil, errors.Join(err, out.Close())
		}
		out.files = append(out.files, f)
		if info, err = f.Stat(); err != nil {
			return nil, errors.Join(err, out.Close())
		}
		if !slices.ContainsFunc(seen, func(i os.FileInfo) bool { return os.SameFile(i, info) }) {
			opened, seen = append(opened, f), append(seen, info)
		}
	}
	slices.Reverse(opened)
	readers := make([]io.Reader, len(opened))
	for i, f := range opened {
		readers[i] = f
	}
	out.Reader = io.MultiReader(readers...)
	return out, nil
}

// parts reads several files in sequence.
type parts struct {
	io.Reader
	files []*os.File
}

func (p *parts) Close() error {
	var errs []error
	for _, f := range p.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
