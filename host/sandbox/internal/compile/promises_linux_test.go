package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestACacheOfAnotherUserIsRefused: its machine code would be loaded as it is.
func TestACacheOfAnotherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chown(dir, os.Geteuid()+1, -1); err != nil {
		t.Skip("only root can give a directory away")
	}
	if _, err := New(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("error is %v", err)
	}
}

// TestCodeThatWasCompiledHereIsDropped: what wazero adds to an entry while it
// loads is what it did not find there, so the entry is not what it seemed.
func TestCodeThatWasCompiledHereIsDropped(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	err := r.Load(t.Context(), answer(3), func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "added"), []byte("code"), 0o600)
	})
	if err == nil || !strings.Contains(err.Error(), "compiled in this process") {
		t.Errorf("error is %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(r.config.Dir, "*", codeName)); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
	r.use(t, answer(3), 3)
	if n := r.children.Load(); n != 2 {
		t.Errorf("%d children, want 2", n)
	}
}

// TestCodeElsewhereIsNotSealed: it would never be found, and each load would
// compile in this process.
func TestCodeElsewhereIsNotSealed(t *testing.T) {
	root := t.TempDir()
	tmp := filepath.Join(root, "tmp")
	if err := os.MkdirAll(filepath.Join(tmp, codeName, "other-version"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, codeName, "other-version", "key"), []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := entry{root, "digest"}
	if err := e.seal(tmp, "this-version"); err == nil {
		t.Error("it was sealed")
	}
	if err := e.seal(tmp, "other-version"); err != nil {
		t.Error(err)
	}
	if err := e.within(3); err == nil {
		t.Error("four bytes are within three")
	}
	if err := e.within(4); err != nil {
		t.Error(err)
	}
}
