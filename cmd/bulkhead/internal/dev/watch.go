package dev

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long no event must arrive before a change is reported, so that one
	// save is one build.
	quiet = 50 * time.Millisecond
	// patience limits the wait for quiet.
	patience = time.Second
)

// watcher reports changes below a directory.
type watcher struct {
	dir string
	fs  *fsnotify.Watcher
	// serving is set while a host runs, which follows its configuration itself.
	serving bool
}

// ignored reports whether a file or directory has nothing to do with what is built: what
// builds write, what tools hide, tests' cases and, while it runs, the host's configuration.
func (w *watcher) ignored(path string) bool {
	rel, err := filepath.Rel(w.dir, path)
	if err != nil || rel == "." {
		return false
	}
	rel = filepath.ToSlash(rel)
	for part := range strings.SplitSeq(rel, "/") {
		if strings.HasPrefix(part, ".") || part == "node_modules" || part == "target" {
			return true
		}
	}
	top, _, _ := strings.Cut(rel, "/")
	return top == "cases" || w.serving && top == "dev" || strings.HasSuffix(rel, ".wasm") || strings.HasSuffix(rel, "~") || strings.HasSuffix(rel, ".md")
}

func watch(dir string) (*watcher, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{dir: dir, fs: events}
	if err := w.add(dir); err != nil {
		_ = events.Close() // err says what went wrong
		return nil, err
	}
	return w, nil
}

func (w *watcher) close() { _ = w.fs.Close() }

// add watches a directory and those below it.
func (w *watcher) add(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == w.dir:
			return err
		case err != nil || !d.IsDir():
			return nil // it is gone again
		case w.ignored(path):
			return fs.SkipDir
		}
		return w.fs.Add(path)
	})
}

// wait returns when something has changed and is at rest, and false when ctx is done.
func (w *watcher) wait(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case e := <-w.fs.Events:
			if w.counts(e) {
				return w.settle(ctx)
			}
		case <-w.fs.Errors: // events were lost
			return w.settle(ctx)
		}
	}
}

// counts watches new directories and reports whether e may change what is built.
func (w *watcher) counts(e fsnotify.Event) bool {
	if w.ignored(e.Name) || e.Op == fsnotify.Chmod {
		return false
	}
	if e.Has(fsnotify.Create) {
		_ = w.add(e.Name) // a file, or a directory that is gone again
	}
	return true
}

func (w *watcher) settle(ctx context.Context) bool {
	end, rest := time.NewTimer(patience), time.NewTimer(quiet)
	defer end.Stop()
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-rest.C:
			return true
		case e := <-w.fs.Events:
			if w.counts(e) {
				rest.Reset(quiet)
			}
		}
	}
}
