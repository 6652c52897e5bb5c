package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinksInTheCacheAreNotFollowed: neither code nor manifest may come from a
// place that is not checked.
func TestLinksInTheCacheAreNotFollowed(t *testing.T) {
	for name, pick := range map[string]func(root string) string{
		"code": func(root string) string { return codeFile(t, root) },
		"manifest": func(root string) string {
			return filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(codeFile(t, root)))), manifestName)
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
