package dirwatch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadReturnsRegularFilesByName(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), "b")
	write(t, filepath.Join(dir, "a.yml"), "")
	write(t, filepath.Join(dir, "notes.txt"), "no")
	write(t, filepath.Join(dir, ".b.yaml.swp.yaml"), "no")
	if err := os.Mkdir(filepath.Join(dir, "below.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := Read(dir, ".yaml", ".yml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Name != "a.yml" || files[1].Name != "b.yaml" || string(files[1].Data) != "b" {
		t.Errorf("read %+v", files)
	}
}

func TestReadReportsUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "huge.yaml"), "")
	if err := os.Truncate(filepath.Join(dir, "huge.yaml"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "good.yaml"), "x")
	files, err := Read(dir, ".yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("read %d files, %v", len(files), err)
	}
	for _, f := range files {
		if good := f.Name == "good.yaml"; good != (f.Err == nil) {
			t.Errorf("%s: error %v", f.Name, f.Err)
		}
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for _, path := range []string{file, file + ".missing"} {
		if _, err := Open(path, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s can be watched", path)
		}
	}
}

func TestManyWritesAreFewChanges(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan struct{}, 1000), make(chan struct{})
	go func() { defer close(done); w.Run(ctx, func() { changes <- struct{}{} }) }()
	for range 200 {
		write(t, filepath.Join(dir, "a.yaml"), "x")
	}
	select {
	case <-changes:
	case <-time.After(10 * time.Second):
		t.Fatal("no change was reported")
	}
	cancel()
	<-done
	if n := len(changes); n > 20 {
		t.Errorf("200 writes were %d changes", n+1)
	}
}
