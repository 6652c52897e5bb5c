// Package follow keeps values from files up to date when the files change:
// certificates, keys, authorities, secrets. Files may be replaced in place, by
// renaming, or by switching a symbolic link above them, as a Kubernetes volume does;
// content is compared, so that all of these are detected.
//
// There is no goroutine. Reading a value checks its files first, at most once a
// second. While the files are invalid, such as a certificate whose key has not
// arrived yet, the last valid value stays in use, and the log says why.
package follow

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const (
	every   = time.Second // the least time between checks of a value's files
	maxFile = 1 << 20     // bytes
)

// A Value is the parsed content of files. It is safe for concurrent use.
type Value[T any] struct {
	files []string
	parse func(contents [][]byte) (T, error)
	log   *slog.Logger

	current atomic.Pointer[T]
	looked  atomic.Int64 // the last check, in nanoseconds since start
	start   time.Time

	mu       sync.Mutex // held while checking
	contents [][]byte   // of current
	problem  error
}

// Open reads the files, of at most 1 MiB each, and parses them together. An error of
// reading names the file; other errors are those of parse. Each change and each
// problem is logged once; log may be nil.
func Open[T any](log *slog.Logger, parse func(contents [][]byte) (T, error), files ...string) (*Value[T], error) {
	v := &Value[T]{files: files, parse: parse, log: cmp.Or(log, slog.New(slog.DiscardHandler)), start: time.Now()}
	if err := v.load(); err != nil {
		return nil, err
	}
	return v, nil
}

// Get returns the value of the files, or the last valid one.
func (v *Value[T]) Get() T {
	now := int64(time.Since(v.start))
	if now-v.looked.Load() >= int64(every) && v.mu.TryLock() {
		v.look(now)
		v.mu.Unlock()
	}
	return *v.current.Load()
}

// Problem returns why the files are invalid, or nil. It checks them like Get.
func (v *Value[T]) Problem() error {
	_ = v.Get()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.problem
}

// look needs v.mu.
func (v *Value[T]) look(now int64) {
	before, old := v.problem, v.contents
	v.problem = v.load()
	v.looked.Store(now)
	switch {
	case v.problem != nil && (before == nil || before.Error() != v.problem.Error()):
		v.log.Error("files changed and are invalid; the last valid content stays in use", "files", v.files, "error", v.problem)
	case v.problem == nil && (before != nil || !same(old, v.contents)):
		v.log.Info("files changed and are in use", "files", v.files)
	}
}

// load needs v.mu, once v is in use.
func (v *Value[T]) load() error {
	contents := make([][]byte, len(v.files))
	for i, name := range v.files {
		var err error
		if contents[i], err = read(name); err != nil {
			return err
		}
	}
	if v.current.Load() != nil && same(contents, v.contents) {
		return nil
	}
	parsed, err := v.parse(contents)
	if err != nil {
		return err
	}
	v.contents = contents
	v.current.Store(&parsed)
	return nil
}

func same(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func read(name string) ([]byte, error) {
	// Opening a named pipe would wait for a writer otherwise.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s: is not a regular file", name))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: is over %d bytes", name, maxFile)
	}
	return strictyaml.TrimBOM(text), nil
}
