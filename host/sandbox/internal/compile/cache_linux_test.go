package compile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinksInTheCacheAreNotFollowed: no part of an entry may come from a place that is
// not checked.
func TestLinksInTheCacheAreNotFollowed(t *testing.T) {
	for name, pick := range map[string]func(root string) string{
		"code": func(root string) string { return codeFile(t, root) },
		"manifest": func(root string) string {
			return filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(codeFile(t, root)))), manifestName)
		},
		"entry": func(root string) string { return filepath.Dir(filepath.Dir(filepath.Dir(codeFile(t, root)))) },
		"directory of code": func(root string) string {
			return filepath.Dir(filepath.Dir(codeFile(t, root)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			r.use(t, answer(4), 4)
			path, moved := pick(r.config.Dir), filepath.Join(t.TempDir(), "moved")
			if err := os.Rename(path, moved); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(moved, path); err != nil {
				t.Fatal(err)
			}
			r.use(t, answer(4), 4)
			if n := r.children.Load(); n != 2 {
				t.Errorf("%d children, want 2: the link was followed", n)
			}
		})
	}
}

// TestWhatAKilledProcessLeftIsRemoved, although the cache is within its bound.
func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, strings.Repeat("ab", 32)+".123"+tmpSuffix)
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	compiler(t, Config{Dir: dir})
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestWhatWasFinishedMeanwhileStays: another process may end its work after the
// directory was read.
func TestWhatWasFinishedMeanwhileStays(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	e := entry{r.config.Dir, strings.Repeat("cd", 32)}
	if err := os.Mkdir(e.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if r.drop(&stored{entry: e, names: []string{e.digest}}) {
		t.Error("it was dropped")
	}
	if _, err := os.Lstat(e.dir()); err != nil {
		t.Error(err)
	}
}

// TestALockIsHeldAgainstAllWhoTry: one who tried and left takes nothing along.
func TestALockIsHeldAgainstAllWhoTry(t *testing.T) {
	var k keyed
	unlock, ok := k.tryLock("a")
	if !ok {
		t.Fatal("it is not free")
	}
	for range 3 {
		if _, ok := k.tryLock("a"); ok {
			t.Fatal("it was locked twice")
		}
	}
	unlock()
	if unlock, ok = k.tryLock("a"); !ok {
		t.Fatal("it is not free again")
	}
	unlock()
	if len(k.held) != 0 {
		t.Errorf("%d locks are kept", len(k.held))
	}
}

// TestAHugeManifestIsNotRead: its size is looked at first.
func TestAHugeManifestIsNotRead(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	r.use(t, answer(4), 4)
	e := entry{r.config.Dir, r.print.digest(answer(4))}
	if err := os.Truncate(e.manifest(), 256<<20); err != nil { // a hole: it takes no disk
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := e.verify()
	runtime.ReadMemStats(&after)
	if err == nil || after.TotalAlloc-before.TotalAlloc > 16<<20 {
		t.Errorf("%v, after %d bytes were allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestAnEntryHasCodeAndManifestOnly: what the child compiled under the module's own name,
// and the stub's code, are gone.
func TestAnEntryHasCodeAndManifestOnly(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	r.use(t, answer(4), 4)
	e := entry{r.config.Dir, r.print.digest(answer(4))}
	var names []string
	err := filepath.WalkDir(e.dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() || filepath.Dir(path) == e.dir() {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil || len(names) != 3 { // the directory of code, its file, the manifest
		t.Errorf("the entry has %v (%v)", names, err)
	}
}

// TestALockFileThatWasRemovedLocksNothing: each holder removes the file, as trim does, while
// others have it open and wait for it. None of them may hold a lock beside another.
func TestALockFileThatWasRemovedLocksNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a"+lockSuffix)
	var inside, busy atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for done := 0; done < 300 && !t.Failed(); {
				unlock, err := lockFile(path)
				if errors.Is(err, errBusy) {
					busy.Add(1)
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				runtime.Gosched()
				inside.Add(-1)
				err = os.Remove(path) // from here on others may lock a new file
				unlock()
				if done++; err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if busy.Load() == 0 {
		t.Log("nobody had to wait")
	}
}

// TestAFullDiskIsNotTheModulesFault: a module that wazero accepts is not called invalid where
// its code could not be stored.
func TestAFullDiskIsNotTheModulesFault(t *testing.T) {
	for _, err := range []error{&fs.PathError{Op: "write", Path: "code", Err: unix.ENOSPC}, &os.LinkError{Op: "rename", Old: "a", New: "b", Err: unix.ENOSPC}} {
		if !isDisk(err) {
			t.Errorf("%T passes for an error of the module", err)
		}
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink("absent/module", "module"); err != nil { // where the directory of code should be
		t.Fatal(err)
	}
	o := strings.NewReader(string(answer(1)) + string(answer(1)))
	exit, err := obey([]byte(`{"Stub":`+strconv.Itoa(len(answer(1)))+`,"Size":`+strconv.Itoa(len(answer(1)))+`}`), o, nil)
	if exit != exitFailed || err == nil {
		t.Errorf("exit code %d, %v", exit, err)
	}
}
