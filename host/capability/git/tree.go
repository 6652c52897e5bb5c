package git

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Bounds of a commit.
const (
	maxObjects  = 500_000
	maxUnpacked = 256 << 20 // bytes of all objects
	maxFile     = 1 << 20   // bytes of a file that is read
	maxFiles    = 2000      // below the path
	maxContent  = 4 << 20   // bytes of these files
)

// tree is a directory of a commit.
type tree struct {
	storage *memory.Storage
	*object.Tree
}

// unpack returns the root directory of a commit in packed objects.
func unpack(pack []byte, commit string) (*tree, error) {
	if err := measure(pack); err != nil {
		return nil, err
	}
	s := memory.NewStorage()
	if err := packfile.UpdateObjectStorage(s, bytes.NewReader(pack)); err != nil {
		return nil, damaged(err)
	}
	c, err := object.GetCommit(s, plumbing.NewHash(commit))
	if err != nil {
		return nil, damaged(err)
	}
	root, err := c.Tree()
	if err != nil {
		return nil, damaged(err)
	}
	return &tree{s, root}, nil
}

func damaged(err error) error {
	return &host.Error{Kind: host.Upstream, Op: name, Message: "the repository's server sent objects that cannot be used",
		Detail: text.Clip(text.Printable(err.Error()), 200), Err: errDamaged}
}

// measure refuses packed objects that would take too much memory when unpacked. The
// sizes that the pack states are binding: the parser refuses an object of another size.
func measure(pack []byte) error {
	s := packfile.NewScanner(bytes.NewReader(pack))
	_, n, err := s.Header()
	if err != nil {
		return damaged(err)
	}
	if n > maxObjects {
		return host.E(host.Unprocessable, name, "the commit has over %d objects", maxObjects)
	}
	var total int64
	for range n {
		h, err := s.NextObjectHeader()
		if err != nil {
			return damaged(err)
		}
		// The bound is checked before the object is inflated.
		if total += h.Length; h.Length < 0 || total > maxUnpacked {
			return tooLarge()
		}
		begin := &first{}
		if _, _, err := s.NextObject(begin); err != nil {
			return damaged(err)
		}
		if h.Type.IsDelta() {
			size, ok := begin.target()
			if !ok {
				return damaged(fmt.Errorf("a delta without sizes"))
			}
			if size > maxUnpacked {
				return tooLarge()
			}
			total += int64(size)
		}
		if total > maxUnpacked {
			return tooLarge()
		}
	}
	return nil
}

func tooLarge() error {
	return host.E(host.Unprocessable, name, "the commit's files are over %d MiB", maxUnpacked>>20)
}

// first keeps the first bytes of what is written to it.
type first struct {
	buf [2 * binary.MaxVarintLen64]byte
	n   int
}

func (f *first) Write(p []byte) (int, error) {
	f.n += copy(f.buf[f.n:], p)
	return len(p), nil
}

// target returns the size of the object that a delta makes. A delta begins with two
// sizes; see gitformat-pack(5).
func (f *first) target() (uint64, bool) {
	_, n := binary.Uvarint(f.buf[:f.n])
	if n <= 0 {
		return 0, false
	}
	size, m := binary.Uvarint(f.buf[n:f.n])
	return size, m > 0
}

// at returns the entry at path, whose tree is nil if it is a file. path is not empty.
func (t *tree) at(path string) (*tree, *object.TreeEntry, error) {
	here := t
	parts := strings.Split(path, "/")
	for i, part := range parts {
		entry := here.entry(part)
		at := strings.Join(parts[:i+1], "/")
		if entry == nil {
			return nil, nil, host.E(host.NotFound, name, "the commit has no path %q", text.Short(at))
		}
		if err := plain(entry.Mode, at); err != nil {
			return nil, nil, err
		}
		last := i == len(parts)-1
		if entry.Mode != filemode.Dir {
			if !last {
				return nil, nil, host.E(host.NotFound, name, "%q is a file in the commit", text.Short(at))
			}
			return nil, entry, nil
		}
		next, err := here.child(entry)
		if err != nil {
			return nil, nil, err
		}
		if here = next; last {
			return here, entry, nil
		}
	}
	return here, nil, nil
}

func (t *tree) entry(part string) *object.TreeEntry {
	for i := range t.Entries {
		if t.Entries[i].Name == part {
			return &t.Entries[i]
		}
	}
	return nil
}

func (t *tree) child(entry *object.TreeEntry) (*tree, error) {
	next, err := object.GetTree(t.storage, entry.Hash)
	if err != nil {
		return nil, damaged(err)
	}
	return &tree{t.storage, next}, nil
}

// plain refuses what is neither a file nor a directory.
func plain(mode filemode.FileMode, path string) error {
	switch mode {
	case filemode.Dir, filemode.Regular, filemode.Executable, filemode.Deprecated:
		return nil
	case filemode.Symlink:
		return host.E(host.Unprocessable, name, "%q is a symbolic link; replace it by what it points to", text.Short(path))
	case filemode.Submodule:
		return host.E(host.Unprocessable, name, "%q is a submodule, which is not read", text.Short(path))
	}
	return host.E(host.Unprocessable, name, "%q is neither a file nor a directory", text.Short(path))
}

// walk calls visit for each file below t, in order of their paths. special is called for
// each entry that is neither a file nor a directory; its error ends the walk.
func (t *tree) walk(at string, depth int, visit func(path string, entry *object.TreeEntry) error, special func(error) error) error {
	if depth > maxDepth {
		return host.E(host.Unprocessable, name, "%q is nested deeper than %d directories", text.Short(at), maxDepth)
	}
	for i := range t.Entries {
		entry := &t.Entries[i]
		path := join(at, entry.Name)
		if !validPath(path) {
			return host.E(host.Unprocessable, name, "the commit has a file with an invalid name: %s", text.Short(text.Printable(path)))
		}
		if err := plain(entry.Mode, path); err != nil {
			if err := special(err); err != nil {
				return err
			}
			continue
		}
		if entry.Mode != filemode.Dir {
			if err := visit(path, entry); err != nil {
				return err
			}
			continue
		}
		next, err := t.child(entry)
		if err != nil {
			return err
		}
		if err := next.walk(path, depth+1, visit, special); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, file string) string {
	if dir == "" {
		return file
	}
	return dir + "/" + file
}

// size returns the size of a file.
func (t *tree) size(entry *object.TreeEntry) (int64, error) {
	o, err := t.storage.EncodedObject(plumbing.BlobObject, entry.Hash)
	if err != nil {
		return 0, damaged(err)
	}
	return o.Size(), nil
}

// content returns the content of a file that is at most maxFile bytes.
func (t *tree) content(path string, entry *object.TreeEntry) ([]byte, error) {
	n, err := t.size(entry)
	if err != nil {
		return nil, err
	}
	if n > maxFile {
		return nil, host.E(host.Unprocessable, name, "%q is over %d bytes", text.Short(path), maxFile)
	}
	o, err := t.storage.EncodedObject(plumbing.BlobObject, entry.Hash)
	if err != nil {
		return nil, damaged(err)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, damaged(err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil || len(data) > maxFile {
		return nil, damaged(fmt.Errorf("file %s: %v", path, err))
	}
	return data, nil
}

// file is one file of an answer.
type file struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
	LFS     bool   `json:"lfs,omitempty"` // the content is a pointer to a file in Git LFS
}

// files is the answer of asFiles, without where.
type files struct {
	Files []file `json:"files"`
}

// lfsPrefix begins the pointers of Git LFS.
var lfsPrefix = []byte("version https://git-lfs.github.com/spec/v1\n")

// filesOf reads the files at and below path.
func filesOf(root *tree, path string) (*files, error) {
	out := &files{Files: []file{}}
	total := 0
	add := func(path string, entry *object.TreeEntry) error {
		data, err := root.content(path, entry)
		if err != nil {
			return err
		}
		if total += len(data); len(out.Files) >= maxFiles || total > maxContent {
			return host.E(host.Unprocessable, name, "there are over %d files or %d bytes; name a deeper path", maxFiles, maxContent)
		}
		out.Files = append(out.Files, file{path, data, bytes.HasPrefix(data, lfsPrefix)})
		return nil
	}
	return out, root.each(path, add)
}

// each calls visit for the file at path, or for each file below it.
func (t *tree) each(path string, visit func(string, *object.TreeEntry) error) error {
	dir := t
	if path != "" {
		below, entry, err := t.at(path)
		if err != nil {
			return err
		}
		if below == nil {
			return visit(path, entry)
		}
		dir = below
	}
	return dir.walk(path, strings.Count(path, "/"), visit, func(err error) error { return err })
}
