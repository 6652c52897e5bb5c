// Package dirwatch reads the files of one directory and reports when they may have
// changed. It handles editors that save by renaming, Kubernetes volumes that swap a
// symbolic link, directories that are removed and created again, and lost events.
// The caller interprets the files.
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
	// quiet is how long no event must arrive before a change is reported, so that
	// one save or one volume update is one change.
	quiet = 50 * time.Millisecond
	// patience limits the wait for quiet in a directory that keeps changing.
	patience = time.Second
	// poll is how often the watch is renewed and a change reported even if no
	// event arrived: network file systems send none.
	poll = 5 * time.Second
)

// Limits of what Read reads, in bytes.
const (
	maxFile = 16 << 20
	maxAll  = 64 << 20
)

// A Watcher watches one directory, without its subdirectories.
type Watcher struct {
	dir string
	log *slog.Logger
	fs  *fsnotify.Watcher
}

// Open starts to watch dir; no later change is missed. It fails if dir cannot be
// watched or is not a directory. Run ends the watch when it returns.
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

// Close ends a watch without Run.
func (w *Watcher) Close() error { return w.fs.Close() }

// Run calls changed, on its own goroutine, each time the directory may have changed
// and is at rest, and at intervals in any case. It returns when ctx is done and ends
// the watch.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	defer w.fs.Close()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// Adding a watched directory has no effect; one that was removed and
			// created again is a new one.
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

// settle returns when no event has arrived for quiet, or after patience.
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

// A File is one file of the directory: its content, or why it cannot be read.
type File struct {
	Name string // base name
	Data []byte
	Err  error
}

// Read returns the files of dir whose names end in one of the suffixes, sorted
// by name. It skips names that begin with ".", among them those of a Kubernetes
// volume's versions. The error says that dir cannot be listed.
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
