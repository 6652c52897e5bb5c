package compile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// entry is the code of one module, which may not exist yet. Its methods need its lock.
type entry struct{ root, digest string }

const (
	codeName     = "code"
	manifestName = "manifest"
	lockSuffix   = ".lock"
	tmpSuffix    = ".tmp"
	maxManifest  = 4 << 10
)

func (e entry) dir() string      { return filepath.Join(e.root, e.digest) }
func (e entry) code() string     { return filepath.Join(e.dir(), codeName) }
func (e entry) manifest() string { return filepath.Join(e.dir(), manifestName) }
func (e entry) lockFile() string { return e.dir() + lockSuffix }
func (e entry) remove() error    { return os.RemoveAll(e.dir()) }

// touch marks the entry as used. If that fails, the entry is removed earlier.
func (e entry) touch() { _ = os.Chtimes(e.manifest(), time.Time{}, time.Now()) }

// seal writes the manifest of a child's result in tmp, and renames the directory. Nothing is
// synced: an entry that a power failure leaves incomplete does not verify and is compiled
// again.
func (e entry) seal(tmp, subdir string) error {
	code := filepath.Join(tmp, codeName)
	f, err := onlyFile(code)
	if err != nil {
		return err
	}
	if filepath.Dir(f.path) != subdir {
		return fmt.Errorf("the compiler wrote %s, which is not in %s", f.path, subdir)
	}
	hash, err := hashFile(filepath.Join(code, f.path))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, manifestName), e.lines(f, hash), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, e.dir())
}

// lines returns the text of a manifest, which is compared as a whole and never parsed.
func (e entry) lines(f file, hash string) []byte {
	return fmt.Appendf(nil, "%s\ndigest %s\nsha256 %s\nsize %d\nfile %s\n", format, e.digest, hash, f.size, filepath.ToSlash(f.path))
}

// verify compares the entry with its manifest. The error is fs.ErrNotExist if the entry does
// not exist, and another one if it is damaged.
func (e entry) verify() error {
	info, err := os.Lstat(e.dir())
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("the entry is not a directory")
	}
	return e.intact()
}

// intact never fails with fs.ErrNotExist: an entry without its files is damaged.
func (e entry) intact() error {
	f, err := onlyFile(e.code())
	if err != nil {
		return fmt.Errorf("code: %v", err)
	}
	hash, err := hashFile(filepath.Join(e.code(), f.path))
	if err != nil {
		return fmt.Errorf("code: %v", err)
	}
	info, err := os.Lstat(e.manifest())
	if err != nil {
		return fmt.Errorf("manifest: %v", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return errors.New("manifest: not a regular file of the expected size")
	}
	have, err := os.ReadFile(e.manifest())
	if err != nil {
		return fmt.Errorf("manifest: %v", err)
	}
	if !bytes.Equal(have, e.lines(f, hash)) {
		return errors.New("code and manifest differ")
	}
	return nil
}

// within returns an error if the code has more than most bytes.
func (e entry) within(most int) error {
	f, err := onlyFile(e.code())
	if err != nil {
		return err
	}
	if f.size > int64(most) {
		return &wasm.Error{
			Function: -1, Kind: wasm.ErrLimit, Limit: "codeBytes",
			Reason: fmt.Sprintf("%d bytes of machine code, at most %d are allowed", f.size, most),
		}
	}
	return nil
}

// unchanged returns an error if wazero added code. The name of code depends on everything that
// the code depends on, so wazero stores code that it did not find under another name.
func (e entry) unchanged() error {
	_, err := onlyFile(e.code())
	return err
}
