// Package dirwatch reads the files of one directory and says when they may
// have changed. It owns what is awkward about that: editors that save by
// renaming, Kubernetes volumes that swap a symbolic link, directories that are
// removed and come back, events that were lost. What the files mean is the
// caller's business.
package dirwatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must happen before a change is reported, so
	// that one save or one volume update is one change.
	quiet = 50 * time.Millisecond
	// patience bounds the wait for quiet in a directory that never rests.
	patience = time.Second
	// poll is how often the watch is renewed and a change reported even if no
	// event arrived: network file systems send none.
	poll = 5 * time.Second
)

// Limits on what Read takes into memory, in bytes.
const (
	maxFile = 16 << 20
	maxAll  = 64 << 20
)

// A Watcher watches one directory, not the directories below it.
type Watcher struct {
	dir string
	log *slog.Logger
	fs  *fsnotify.Watcher
}

// Open begins to watch dir, so that nothing that happens after it is missed.
// It fails if dir is not a directory that can be watched. The caller ends the
// watch by running Run to its end.
func Open(dir string, log *slog.Logger) (*Watcher, error) {
	switch info, err := os.Stat(dir); {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := fs.Add(dir); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	return &Watcher{dir: dir, log: log, fs: fs}, nil
}

// Close ends a watch that Run was never called for.
func (w *Watcher) Close() error { return w.fs.Close() }

// Run calls changed, on its own goroutine, each time the directory may have
// changed and has come to rest, and at intervals in any case. It returns when
// ctx is done; the watch is then over.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	defer w.fs.Close()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// Adding a directory that is watched already does nothing; one that
			// was removed and made again is a new one.
			if err := w.fs.Add(w.dir); err != nil {
				w.log.Warn("directory cannot be watched", "dir", w.dir, "error", err)
			}
		case err := <-w.fs.Errors:
			w.log.Warn("watching directory", "dir", w.dir, "error", err)
		case <-w.fs.Events:
			w.settle(ctx)
		}
		if ctx.Err() == nil {
			changed()
		}
	}
}

// settle returns when no event has arrived for a while.
func (w *Watcher) settle(ctx context.Context) {
	end := time.NewTimer(patience)
	defer end.Stop()
	rest := time.NewTimer(quiet)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-rest.C:
			return
		case <-w.fs.Events:
			rest.Reset(quiet)
		}
	}
}

// A File is one file of the directory: its content, or why there is none.
type File struct {
	Name string // base name
	Data []byte
	Err  error
}

// Read returns the files of dir whose names end in one of the suffixes, sorted
// by name. Names that begin with "." are passed over, among them the ones by
// which Kubernetes keeps a volume's versions. The error says that dir itself
// cannot be listed.
func Read(dir string, suffixes ...string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []File
	left := int64(maxAll)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !hasSuffix(e.Name(), suffixes) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			continue
		}
		f := File{Name: e.Name(), Err: err}
		if err == nil {
			f.Data, f.Err = readBounded(path, info, min(maxFile, left))
		}
		left -= int64(len(f.Data))
		files = append(files, f)
	}
	return files, nil
}

func hasSuffix(name string, suffixes []string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

func readBounded(path string, info os.FileInfo, limit int64) ([]byte, error) {
	// Opening a named pipe would wait for a writer.
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes, or the directory than %d", int64(maxFile), int64(maxAll))
	}
	return data, nil
}
