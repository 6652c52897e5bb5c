package git

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// maxCache bounds the bytes of kept commits.
const maxCache = 1 << 30

// cache keeps packed commits as files: dir/KEY/COMMIT.pack. Files are only readable by
// the host's own user. Safe for concurrent use.
type cache struct {
	dir  string
	most int64

	mu sync.Mutex // held while files are removed
}

// pack opens the kept commit, or one that fetch writes, of at most the given bytes.
func (c *cache) pack(key, commit string, fetch func(*limited) error, most int64) (*os.File, error) {
	dir := filepath.Join(c.dir, key)
	path := filepath.Join(dir, commit+".pack")
	now := time.Now()
	if f, err := os.Open(path); err == nil {
		_ = os.Chtimes(path, now, now) // removal is by the last use; without it, by the first
		return f, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return nil, err
	}
	if err = fetch(&limited{f, most}); err == nil {
		err = complete(f)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = c.trim(path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// drop removes a commit that turned out to be unusable.
func (c *cache) drop(key, commit string) { _ = os.Remove(filepath.Join(c.dir, key, commit+".pack")) }

// complete checks that a pack was received to its end, by the checksum there
// (gitformat-pack(5)), and returns to its beginning.
func complete(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h, sum := sha1.New(), make([]byte, sha1.Size)
	if size < sha1.Size {
		return errTruncated
	}
	if _, err := io.CopyN(h, f, size-sha1.Size); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, sum); err != nil {
		return err
	}
	if !bytes.Equal(sum, h.Sum(nil)) {
		return errTruncated
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

var errTruncated = errors.New("the objects were not received completely")

// staleAfter is when a file that is being written is taken to be left by a host that
// ended.
const staleAfter = time.Hour

// trim removes the files that were not used for longest, until the rest is within the
// bound. It keeps the file at keep. A file that is open stays readable.
func (c *cache) trim(keep string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	type kept struct {
		path string
		size int64
		used time.Time
	}
	var all []kept
	var total int64
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if filepath.Ext(path) != ".pack" {
			if time.Since(info.ModTime()) > staleAfter {
				return ignoreMissing(os.Remove(path))
			}
			return nil
		}
		total += info.Size()
		all = append(all, kept{path, info.Size(), info.ModTime()})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, k := range all {
		if total <= c.most {
			break
		}
		if k.path == keep {
			continue
		}
		if err := ignoreMissing(os.Remove(k.path)); err != nil {
			return err
		}
		total -= k.size
	}
	return nil
}

// ignoreMissing returns nil for the error of a file that another call has removed.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
