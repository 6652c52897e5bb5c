// Package packtest builds plugins for the tests of a host.
package packtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

type build struct {
	once sync.Once
	path string
	err  error
}

var builds sync.Map // absolute directory -> *build

// Build packs the plugin in dir and returns the path of its .wasm file, which does not
// change for the rest of the test run. A relative dir is below the module's root, such as
// "plugins/echo". Each test binary builds a plugin once; with the go command's cache that
// takes a second or two. Safe for concurrent use.
func Build(t testing.TB, dir string) string {
	t.Helper()
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(moduleRoot(t), dir)
	}
	v, _ := builds.LoadOrStore(dir, &build{})
	b := v.(*build)
	b.once.Do(func() { b.path, b.err = run(dir) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// run builds into the user's cache. The file's name is derived from the directory, so that
// runs do not accumulate files, and the file is replaced atomically, so that another test
// binary never reads part of it.
func run(dir string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "bulkhead", "packtest")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(dir))
	out := filepath.Join(cache, filepath.Base(dir)+"-"+hex.EncodeToString(sum[:8])+".wasm")
	// Not t.Context(): later tests use the result as well.
	return out, pack.Build(context.Background(), dir, out, pack.Options{})
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("packtest: no go.mod above the working directory")
		}
		dir = parent
	}
}
