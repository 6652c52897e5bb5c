package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keep has modules by digest, and the history of each name, below a directory.
type keep struct{ dir string }

// version is one that served a name.
type version struct {
	Config  Config    `json:"config"` // with its digest
	Origin  Origin    `json:"origin"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

const maxHistory = 4 // versions of a name that can be rolled back to

func openKeep(dir string) (*keep, error) {
	k := &keep{dir}
	if dir == "" {
		return k, nil
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("plugin: modules cannot be kept: %w", err)
	}
	return k, nil
}

func digestOf(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (k *keep) path(digest string) string {
	return filepath.Join(k.dir, strings.TrimPrefix(digest, "sha256:")+".wasm")
}

// get returns the module of that digest, nil if it is not kept whole.
func (k *keep) get(digest string, most int) []byte {
	if k.dir == "" || !digestRE.MatchString(digest) {
		return nil
	}
	wasm, err := read(k.path(digest), most)
	if err != nil || digestOf(wasm) != digest {
		return nil
	}
	return wasm
}

// put keeps a module.
func (k *keep) put(digest string, wasm []byte) error {
	if k.dir == "" {
		return nil
	}
	if _, err := os.Stat(k.path(digest)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(k.dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(wasm)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), k.path(digest))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// history is what served the name before, the last one first.
func (k *keep) history(string) []version { return nil }
