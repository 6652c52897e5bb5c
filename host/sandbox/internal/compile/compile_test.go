package compile

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/tetratelabs/wazero"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Child()
	helper()
	goleak.VerifyTestMain(m)
}

// rig is a Compiler that counts its children and keeps its log.
type rig struct {
	*Compiler
	children atomic.Int32
	log      *bytes.Buffer
}

func compiler(t testing.TB, c Config) *rig {
	t.Helper()
	r := &rig{log: new(bytes.Buffer)}
	c.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	var err error
	if r.Compiler, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.start = func(int) { r.children.Add(1) }
	r.patience = time.Hour // which a busy machine would try
	return r
}

// Load compiles wasm as it is.
func (r *rig) Load(ctx context.Context, wasm []byte, load func(dir string) error) error {
	a, err := asItIs(wasm)
	if err != nil {
		return err
	}
	defer a.Close()
	return r.Compiler.Load(ctx, a, load)
}

// run loads wasm through wazero from dir and returns what its f returns, or 0
// if it has none.
func run(dir string, wasm []byte, config wazero.RuntimeConfig) (uint64, error) {
	ctx := context.Background()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return 0, err
	}
	defer cache.Close(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(cache))
	defer r.Close(ctx)
	code, err := r.CompileModule(ctx, wasm)
	if err != nil || code.ExportedFunctions()["f"] == nil {
		return 0, err
	}
	mod, err := r.InstantiateModule(ctx, code, wazero.NewModuleConfig())
	if err != nil {
		return 0, err
	}
	out, err := mod.ExportedFunction("f").Call(ctx)
	if err != nil {
		return 0, err
	}
	return out[0], nil
}

// use loads wasm and checks its answer.
func (r *rig) use(t testing.TB, wasm []byte, want uint64) {
	t.Helper()
	err := r.Load(t.Context(), wasm, func(dir string) error {
		got, err := run(dir, wasm, wazero.NewRuntimeConfigCompiler())
		if err == nil && got != want {
			t.Errorf("f returned %d, want %d", got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// codeFile is the one file of code in the cache.
func codeFile(t testing.TB, root string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "*", codeName, "wazero-*", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files of code in the cache: %v, %v", len(found), found, err)
	}
	return found[0]
}

func TestCompiledOnceAndLoadedWithoutCompiling(t *testing.T) {
	for name, test := range map[string]struct {
		wasm []byte
		want uint64
	}{"small": {answer(42), 42}, "go": {guest(t), 0}} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			r.use(t, test.wasm, test.want)
			path := codeFile(t, r.config.Dir)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			r.use(t, test.wasm, test.want)
			after, err := os.Stat(codeFile(t, r.config.Dir))
			if err != nil {
				t.Fatal(err)
			}
			// wazero writes code under another name and renames it.
			if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
				t.Error("the file of code was written again")
			}
			if n := r.children.Load(); n != 1 {
				t.Errorf("%d children, want 1", n)
			}
			// A new Compiler finds what the old one left.
			next := compiler(t, Config{Dir: r.config.Dir})
			next.use(t, test.wasm, test.want)
			if n := next.children.Load(); n != 0 {
				t.Errorf("%d children after a restart, want none", n)
			}
			if r.log.Len() > 0 {
				t.Errorf("log: %s", r.log)
			}
		})
	}
}

func TestWithoutCache(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := compiler(t, Config{})
	r.use(t, answer(7), 7)
	r.use(t, answer(7), 7)
	if n := r.children.Load(); n != 2 {
		t.Errorf("%d children, want 2", n)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCompilingInTheHostIsNoticed loads what the entry is not for, in the ways
// in which that can happen.
func TestCompilingInTheHostIsNoticed(t *testing.T) {
	wasm := answer(1)
	for name, load := range map[string]func(dir string) error{
		"another module": func(dir string) error {
			_, err := run(dir, answer(2), wazero.NewRuntimeConfigCompiler())
			return err
		},
		"another configuration": func(dir string) error {
			_, err := run(dir, wasm, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			err := r.Load(t.Context(), wasm, load)
			if err == nil || !strings.Contains(err.Error(), "compiled in this process") {
				t.Errorf("error is %v", err)
			}
			r.use(t, wasm, 1)
			if n := r.children.Load(); n != 2 {
				t.Errorf("%d children, want 2: the entry was not dropped", n)
			}
		})
	}
}

// TestConfigurationIsPartOfTheDigest: close-on-done is other code.
func TestConfigurationIsPartOfTheDigest(t *testing.T) {
	dir, wasm := t.TempDir(), answer(1)
	compiler(t, Config{Dir: dir}).use(t, wasm, 1)
	r := compiler(t, Config{Dir: dir, CloseOnContextDone: true})
	err := r.Load(t.Context(), wasm, func(dir string) error {
		_, err := run(dir, wasm, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true))
		return err
	})
	if err != nil || r.children.Load() != 1 {
		t.Errorf("%d children, %v", r.children.Load(), err)
	}
}

func TestLoadsErrorIsReturned(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	want := errors.New("not linked")
	if err := r.Load(t.Context(), answer(1), func(string) error { return want }); !errors.Is(err, want) {
		t.Errorf("error is %v", err)
	}
}

func TestDamageIsNoticedAndRepaired(t *testing.T) {
	write := func(t *testing.T, path string, change func([]byte) []byte) {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	cut := func(data []byte) []byte { return data[:len(data)-1] }
	empty := func([]byte) []byte { return nil }
	manifest := func(code string) string {
		return filepath.Join(filepath.Dir(code), "..", "..", manifestName)
	}
	must := func(t *testing.T, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(t *testing.T, code string){
		"bit flipped":     func(t *testing.T, code string) { write(t, code, flip) },
		"truncated":       func(t *testing.T, code string) { write(t, code, cut) },
		"emptied":         func(t *testing.T, code string) { write(t, code, empty) },
		"missing":         func(t *testing.T, code string) { must(t, os.Remove(code)) },
		"additional file": func(t *testing.T, code string) { must(t, os.WriteFile(code+"0", nil, 0o600)) },
		"renamed":         func(t *testing.T, code string) { must(t, os.Rename(code, code+"0")) },
		"a link": func(t *testing.T, code string) {
			must(t, os.Rename(code, manifest(code)+"0"))
			must(t, os.Symlink("../../manifest0", code))
		},
		"manifest flipped":   func(t *testing.T, code string) { write(t, manifest(code), flip) },
		"manifest truncated": func(t *testing.T, code string) { write(t, manifest(code), cut) },
		"manifest missing":   func(t *testing.T, code string) { must(t, os.Remove(manifest(code))) },
		"manifest huge": func(t *testing.T, code string) {
			write(t, manifest(code), func([]byte) []byte { return make([]byte, maxManifest+1) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			r.use(t, answer(5), 5)
			damage(t, codeFile(t, r.config.Dir))
			r.use(t, answer(5), 5)
			if n := r.children.Load(); n != 2 {
				t.Errorf("%d children, want 2", n)
			}
			if !strings.Contains(r.log.String(), "compiling again") {
				t.Errorf("not logged: %q", r.log)
			}
			r.use(t, answer(5), 5)
			if n := r.children.Load(); n != 2 {
				t.Errorf("%d children once repaired, want 2", n)
			}
		})
	}
}

// TestEntryOfAnotherModuleIsRefused: an entry that verifies, under the name of
// another, would make wazero compile.
func TestEntryOfAnotherModuleIsRefused(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	r.use(t, answer(1), 1)
	one := entry{r.config.Dir, r.print.digest(answer(1))}
	two := entry{r.config.Dir, r.print.digest(answer(2))}
	if err := os.Rename(one.dir(), two.dir()); err != nil {
		t.Fatal(err)
	}
	r.use(t, answer(2), 2)
	if n := r.children.Load(); n != 2 {
		t.Errorf("%d children, want 2", n)
	}
}

func TestGoroutinesCompileOnce(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	wasm := bomb(20_000) // some tenths of a second
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() { r.use(t, wasm, 1) })
	}
	wait.Wait()
	if n := r.children.Load(); n != 1 {
		t.Errorf("%d children, want 1", n)
	}
}

func TestTrimKeepsWhatWasUsedLast(t *testing.T) {
	dir := t.TempDir()
	r := compiler(t, Config{Dir: dir})
	for n := range byte(4) {
		r.use(t, answer(n), uint64(n))
		e := entry{dir, r.print.digest(answer(n))}
		at := time.Unix(1000+int64(n), 0)
		if err := os.Chtimes(e.manifest(), at, at); err != nil {
			t.Fatal(err)
		}
	}
	r.use(t, answer(0), 0) // the oldest becomes the newest
	all, err := scan(dir)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	tmp := filepath.Join(dir, r.print.digest(nil)+".1"+tmpSuffix)
	foreign := filepath.Join(dir, "keep.me")
	for _, d := range []string{tmp, foreign} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var size int64 // of the largest; they differ by some bytes
	for _, s := range all {
		size = max(size, s.size)
	}
	next := compiler(t, Config{Dir: dir, Bytes: 2 * size})
	for n, there := range []bool{true, false, false, true} {
		e := entry{dir, r.print.digest(answer(byte(n)))}
		if err := e.verify(); (err == nil) != there {
			t.Errorf("entry %d: %v, want there: %v", n, err, there)
		}
		if _, err := os.Stat(e.lockFile()); (err == nil) != there {
			t.Errorf("lock of %d: %v, want there: %v", n, err, there)
		}
	}
	if _, err := os.Stat(tmp); err == nil {
		t.Error("what a killed process left is still there")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
	// An entry in use stays, and the new one is not the next to go.
	err = next.Load(t.Context(), answer(3), func(string) error {
		next.use(t, answer(9), 9)
		return entry{dir, next.print.digest(answer(3))}.verify()
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: file}); err == nil {
		t.Error("a file was taken for a cache")
	}
	without := func(what string) {
		if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Child") {
			t.Errorf("%s: %v", what, err)
		}
	}
	ready := compiling
	compiling = &child.Role{Name: ready.Name}
	without("without Child")
	compiling = ready
	defer func(name string) { os.Args[0] = name }(os.Args[0])
	os.Args[0] = compiling.Name
	without("in a child")
}

func TestCacheIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := compiler(t, Config{Dir: dir})
	r.use(t, answer(1), 1)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkLoad: the child against compiling here, and what a start costs when
// the cache is warm.
func BenchmarkLoad(b *testing.B) {
	wasm := guest(b)
	nothing := func(string) error { return nil }
	load := func(b *testing.B, r *rig) {
		if err := r.Load(b.Context(), wasm, nothing); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		r := compiler(b, Config{})
		for b.Loop() {
			load(b, r)
		}
	})
	b.Run("cold_in_process", func(b *testing.B) {
		for b.Loop() {
			if err := compileInto(b.Context(), b.TempDir(), wasm, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		r := compiler(b, Config{Dir: b.TempDir()})
		load(b, r)
		for b.Loop() {
			load(b, r)
		}
	})
	b.Run("cached_and_loaded", func(b *testing.B) {
		r := compiler(b, Config{Dir: b.TempDir()})
		load(b, r)
		for b.Loop() {
			r.use(b, wasm, 0)
		}
	})
}
