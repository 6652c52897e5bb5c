package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/jsonscan"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// EventType says what has happened to an object.
type EventType string

// Types of events.
const (
	Added    EventType = "ADDED"    // it exists, or now matches the selectors
	Modified EventType = "MODIFIED" // it has changed
	Deleted  EventType = "DELETED"  // it is gone, or no longer matches; Object is its last state
	// Bookmark: nothing has happened up to ResourceVersion. At least one comes in every
	// WatchOptions.Wait, so that a session can see whether its client is still there.
	Bookmark EventType = "BOOKMARK"
	// Reset: forget all objects. The cluster no longer knows what happened after the last
	// event; Added events of all objects follow.
	Reset EventType = "RESET"
)

// Event is one event of a watch.
type Event[T any] struct {
	Type   EventType `json:"type"`
	Object *T        `json:"object,omitempty"` // nil for Bookmark and Reset
	// ResourceVersion is where another watch can go on after this event; empty while the
	// objects that existed at first are still coming.
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// WatchOptions limit a watch.
type WatchOptions struct {
	LabelSelector string
	FieldSelector string
	MetadataOnly  bool // as in ListOptions
	// ResourceVersion is where the watch begins. If it is empty, the objects that exist come
	// first, as Added events.
	ResourceVersion string
	// Wait is the longest time without an event, from 1 s; the default, and the most, is 20 s.
	Wait time.Duration
}

const (
	longestWait = 20 * time.Second
	maxTries    = 5 // that fail one after another
	firstPause  = 200 * time.Millisecond
)

// sleep waits before another try.
var sleep = time.Sleep

// Watch yields what happens to the objects of the collection at path, in the API server's order
// for each object, until the loop is left. It is for session handlers; the host ends it with
// the session. Each part of it is permitted anew, so it ends with an error soon after the
// user's permission does. Grant and policy need the verb watch, and list as well if
// ResourceVersion is empty.
//
// It goes on by itself where it stopped when the cluster or the connection fails for a short
// time. Any other failure, and the fifth in a row, is an error and ends it.
func Watch[T any](c Cluster, path string, o WatchOptions) iter.Seq2[Event[T], error] {
	return func(yield func(Event[T], error) bool) {
		w := &watch[T]{cluster: c, path: path, options: o, version: o.ResourceVersion, yield: yield}
		if err := w.run(); err != nil && err != errStop {
			yield(Event[T]{}, err)
		}
	}
}

type watch[T any] struct {
	cluster Cluster
	path    string
	options WatchOptions
	version string // after which events are wanted; empty: list first
	listing bool   // some of a list's objects were yielded, but not all
	yield   func(Event[T], error) bool
}

func (w *watch[T]) run() error {
	failed := 0
	for {
		err := w.next()
		switch {
		case err == nil:
			failed = 0
			continue
		case IsExpired(err):
			w.version, w.listing = "", true
		case !passing(err):
			return err
		}
		if failed++; failed >= maxTries {
			return err
		}
		if w.listing {
			w.listing = false
			if err := w.tell(Event[T]{Type: Reset}); err != nil {
				return err
			}
		}
		sleep(firstPause << (failed - 1))
	}
}

// passing reports whether a failure may be over soon.
func passing(err error) bool {
	e, ok := errors.AsType[*sdk.Error](err)
	return ok && (e.Retryable || e.Status >= 500)
}

// next reads the objects that exist, or the next events.
func (w *watch[T]) next() error {
	if w.version == "" {
		return w.list()
	}
	o := &w.options
	query := (&ListOptions{LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector}).query()
	query.Set("watch", "true")
	query.Set("allowWatchBookmarks", "true")
	query.Set("resourceVersion", w.version)
	query.Set("timeoutSeconds", strconv.Itoa(o.seconds()))
	target, err := w.cluster.url(w.path + "?" + query.Encode())
	if err != nil {
		return err
	}
	form := plainJSON
	if o.MetadataOnly {
		form = partialObject
	}
	resp, err := guest.Call(fetch, &abi.Request{Method: "GET", URL: target, Header: accept(form)})
	if err == nil {
		err = rest.Failure(resp)
	}
	if err != nil {
		return err
	}
	if len(resp.Body) == 0 {
		return w.tell(Event[T]{Type: Bookmark, ResourceVersion: w.version})
	}
	for line := range bytes.Lines(resp.Body) {
		if err := w.event(line); err != nil {
			return err
		}
	}
	return nil
}

// seconds is Wait for the API server.
func (o *WatchOptions) seconds() int {
	if o.Wait <= 0 || o.Wait > longestWait {
		return int(longestWait / time.Second)
	}
	return int(max(o.Wait, time.Second) / time.Second)
}

func (w *watch[T]) list() error {
	o := ListOptions{LabelSelector: w.options.LabelSelector, FieldSelector: w.options.FieldSelector, MetadataOnly: w.options.MetadataOnly}
	version, err := each(w.cluster, w.path, o, func(object *T, _ error) bool {
		w.listing = true
		return w.yield(Event[T]{Type: Added, Object: object}, nil)
	})
	if err != nil {
		return err
	}
	if version == "" {
		return errors.New("the list has no resourceVersion, so it cannot be watched; watch one namespace")
	}
	w.version, w.listing = version, false
	return w.tell(Event[T]{Type: Bookmark, ResourceVersion: version})
}

func (w *watch[T]) event(line []byte) error {
	var e struct {
		Type   EventType       `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := jsonscan.Decode(line, &e); err != nil {
		return fmt.Errorf("event of %s: %w", w.path, err)
	}
	var head Partial
	if err := jsonscan.Decode(e.Object, &head); err != nil {
		return fmt.Errorf("event of %s: %w", w.path, err)
	}
	out := Event[T]{Type: e.Type, ResourceVersion: head.Metadata.ResourceVersion}
	if e.Type != Bookmark {
		out.Object = new(T)
		if err := jsonscan.Decode(e.Object, out.Object); err != nil {
			return fmt.Errorf("event of %s: %w", w.path, err)
		}
	}
	if out.ResourceVersion != "" {
		w.version = out.ResourceVersion
	}
	return w.tell(out)
}

func (w *watch[T]) tell(e Event[T]) error {
	if !w.yield(e, nil) {
		return errStop
	}
	return nil
}
