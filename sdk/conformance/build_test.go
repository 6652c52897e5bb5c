package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

var module = flag.String("module", "", "a conformance plugin of another SDK, compiled, to be checked as well")

// language is an SDK and its plugins, each made once in a test run.
type language struct {
	name string
	// script compiles the plugin in a directory to a module; "" is Go.
	script string
	// plugins are directories, by what is in them.
	conformance, hello, pods string
}

var languages = []language{
	{"go", "", "sdk/conformance/plugin", "sdk/pack/testdata/hello", ""},
	{"rust", "sdk/rust/build.sh", "sdk/rust/conformance", "sdk/rust/hello", "sdk/rust/pods"},
	{"c", "sdk/c/build.sh", "sdk/c/conformance", "sdk/c/hello", "sdk/c/pods"},
	{"assemblyscript", "sdk/assemblyscript/build.sh", "sdk/assemblyscript/conformance", "sdk/assemblyscript/hello", "sdk/assemblyscript/pods"},
}

// plugin packs the plugin in a directory below the repository. It skips the test if the
// toolchain is missing, except in CI, where that is a failure unless it is too old: which
// Node.js a CI machine has is not for the tests to choose.
func (l language) plugin(t testing.TB, dir string) string {
	t.Helper()
	if l.script == "" {
		return packtest.Build(t, dir)
	}
	v, _ := made.LoadOrStore(dir, &build{})
	b := v.(*build)
	b.once.Do(func() { b.run(l.script, dir) })
	if b.missing != "" {
		const hint = "; `make sdks` installs what the SDKs need"
		if !b.old && (os.Getenv("CI") != "" || os.Getenv("BULKHEAD_SDKS") == "required") {
			t.Fatal(b.missing + hint)
		}
		t.Skip("left out: " + b.missing + hint)
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

var made sync.Map // directory -> *build

type build struct {
	once    sync.Once
	path    string
	missing string // the toolchain, in words
	old     bool   // it is there, but too old
	err     error
}

const root = "../.."

// run compiles and packs a plugin into the user's cache, under a name that follows from
// the sources, so that what has not changed is not compiled again.
func (b *build) run(script, dir string) {
	sources, err := sum(script, dir)
	if err == nil {
		b.path, err = place(dir, sources)
	}
	if b.err = err; err != nil {
		return
	}
	if _, err := os.Stat(b.path); err == nil {
		return
	}
	wasm := b.path + ".module"
	cmd := exec.Command(filepath.Join(root, script), filepath.Join(root, dir), wasm)
	text, err := cmd.CombinedOutput()
	if x, ok := errors.AsType[*exec.ExitError](err); ok && (x.ExitCode() == 3 || x.ExitCode() == 4) {
		b.missing, b.old = string(bytes.TrimSpace(text)), x.ExitCode() == 4
		return
	}
	if err != nil {
		b.err = errors.New(script + " " + dir + ": " + err.Error() + "\n" + string(text))
		return
	}
	manifest := filepath.Join(root, dir, pack.ManifestFile)
	if strings.HasSuffix(dir, "/conformance") {
		manifest = filepath.Join("plugin", pack.ManifestFile)
	}
	_, b.err = pack.Pack(context.Background(), wasm, manifest, b.path, pack.Options{})
}

// sum is the digest of everything that a plugin is made from, but for the compiler.
func sum(script, dir string) (string, error) {
	h := sha256.New()
	for _, at := range []string{filepath.Dir(script), dir, "sdk/conformance/plugin"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(root, at)), ".", func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "target"):
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			text, err := os.ReadFile(filepath.Join(root, at, path))
			h.Write([]byte(path))
			h.Write(text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// place is the file of a plugin; those of other sources are removed.
func place(dir, sources string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parts := strings.Split(dir, "/")
	at := filepath.Join(cache, "bulkhead", "conformance", strings.Join(parts[1:], "-"))
	path := filepath.Join(at, sources+".wasm")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.RemoveAll(at); err != nil {
		return "", err
	}
	return path, os.MkdirAll(at, 0o755)
}

// packModule packs a conformance plugin that was compiled elsewhere.
func packModule(wasm, out string) error {
	_, err := pack.Pack(context.Background(), wasm, filepath.Join("plugin", pack.ManifestFile), out, pack.Options{})
	return err
}
