package helm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shelf serves an index and counts how.
type shelf struct {
	whole, unchanged atomic.Int64
	tag              atomic.Value // string
	arrived, hold    chan struct{}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.arrived != nil {
		s.arrived <- struct{}{}
		select {
		case <-s.hold:
		case <-r.Context().Done():
			return
		}
	}
	tag := s.tag.Load().(string)
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		s.unchanged.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.whole.Add(1)
	fmt.Fprint(w, `{apiVersion: v1, entries: {good: [{name: good, version: 1.0.0, apiVersion: v2, description: long, urls: [a.tgz, b.tgz], digest: d}]}}`)
}

func openShelf(t *testing.T, s *shelf) *remote {
	t.Helper()
	s.tag.Store(`"one"`)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAccess(&Repository{}, base, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := newRemote(a)
	t.Cleanup(r.close)
	return r
}

// expire makes what is kept too old.
func (x *index) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := *x.kept
	old.at = time.Now().Add(-2 * indexLife)
	x.kept = &old
}

func TestIndexIsKeptAndRevalidated(t *testing.T) {
	s := &shelf{}
	r := openShelf(t, s)
	for _, step := range []struct {
		name             string
		before           func()
		whole, unchanged int64
	}{
		{"first", func() {}, 1, 0},
		{"again", func() {}, 1, 0},
		{"later", r.index.expire, 1, 1},
		{"right after", func() {}, 1, 1},
		{"changed", func() { s.tag.Store(`"two"`); r.index.expire() }, 2, 1},
	} {
		step.before()
		file, err := r.index.get(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		v, err := file.Get("good", "")
		if err != nil || v.Digest != "d" || len(v.URLs) != 1 || v.Description != "" {
			t.Errorf("%s: got %+v, %v", step.name, v, err)
		}
		if s.whole.Load() != step.whole || s.unchanged.Load() != step.unchanged {
			t.Errorf("%s: fetched %d times, unchanged %d times", step.name, s.whole.Load(), s.unchanged.Load())
		}
	}
}

func TestIndexIsFetchedOnceForAll(t *testing.T) {
	s := &shelf{arrived: make(chan struct{}, 16), hold: make(chan struct{})}
	r := openShelf(t, s)
	ctx, leave := context.WithCancelCause(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.index.get(ctx)
		gone <- err
	}()
	<-s.arrived
	left := errors.New("left")
	leave(left) // who started the fetch goes; the others still get it
	if err := <-gone; !errors.Is(err, left) {
		t.Errorf("got %v", err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := r.index.get(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	close(s.hold)
	all.Wait()
	if n := s.whole.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestClosingEndsAFetch(t *testing.T) {
	s := &shelf{arrived: make(chan struct{}, 1), hold: make(chan struct{})}
	r := openShelf(t, s)
	failed := make(chan error)
	go func() {
		_, err := r.index.get(context.Background())
		failed <- err
	}()
	<-s.arrived
	r.close()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := r.index.get(context.Background()); err == nil {
		t.Error("the closed one answers")
	}
}

func TestAnIndexIsReadWithinBounds(t *testing.T) {
	for want, text := range map[string]string{
		"uses an alias":         "apiVersion: v1\nentries: {a: &a [{name: a, version: 1.0.0, urls: [x]}], b: *a}",
		"is nested deeper":      "apiVersion: v1\nentries: " + strings.Repeat("[", 50) + strings.Repeat("]", 50),
		`has the key "a" twice`: "apiVersion: v1\nentries: {a: [], a: []}",
		"a second document":     "apiVersion: v1\nentries: {}\n---\napiVersion: v1\n",
		"has no apiVersion":     "entries: {}",
		"is not YAML":           "<html>: [",
	} {
		if got, err := parseIndex([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", got, err, want)
		}
	}
	const versions = `{"apiVersion": "v1", "generated": "2026-11-30T00:00:00Z", "entries": {"a": [null, {"name": "a", "version": "none"},
		{"name": "a", "version": "1.9.0", "urls": ["old"], "annotations": {"x": "y"}}, {"name": "a", "version": "1.10.0", "urls": ["new", "other"], "digest": "d"}], "b": null, "c": [{"version": "1.0.0"}]}}`
	for name, text := range map[string]string{
		"JSON": versions, "YAML": versions + "\n# a comment", "with a BOM": "\xef\xbb\xbf" + versions,
		"numbers": strings.Replace(versions, `"1.10.0"`, "1.10", 1) + " # which YAML takes for 1.1",
	} {
		x, err := parseIndex([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a, err := x.Get("a", "")
		if err != nil || !strings.HasPrefix(a.Version, "1.10") || len(a.URLs) != 1 || a.URLs[0] != "new" || a.Digest != "d" || len(x.Entries["a"]) != 2 {
			t.Errorf("%s: got %+v, %v", name, a, err)
		}
		if c, err := x.Get("c", ""); err != nil || len(c.URLs) != 0 {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}
