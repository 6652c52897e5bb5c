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

// entry is the code of one module, which may not be there yet. Its methods
// need its lock.
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

// touch marks the entry as used. If it fails the entry goes earlier.
func (e entry) touch() { _ = os.Chtimes(e.manifest(), time.Time{}, time.Now()) }

// seal writes the manifest over what a child left in tmp and gives it its
// name. Nothing is synced: what a power cut leaves half written does not
// verify and is compiled again.
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

// lines is the text of a manifest. It is compared as a whole and never parsed.
func (e entry) lines(f file, hash string) []byte {
	return fmt.Appendf(nil, "%s\ndigest %s\nsha256 %s\nsize %d\nfile %s\n", format, e.digest, hash, f.size, filepath.ToSlash(f.path))
}

// verify holds the entry against its manifest. It fails with fs.ErrNotExist if
// there is no entry, and with another error if there is a damaged one.
func (e entry) verify() error {
	if _, err := os.Lstat(e.dir()); err != nil {
		return err
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
		return errors.New("manifest: not one of ours")
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

// within fails if the code has more than most bytes.
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

// unchanged fails if wazero added code. Code is named by everything that went
// into it, so what wazero did not find it writes under another name.
func (e entry) unchanged() error {
	_, err := onlyFile(e.code())
	return err
}
