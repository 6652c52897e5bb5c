package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Tests lower these.
var (
	maxFeedBytes = 64 << 20 // of a feed's objects and its history
	firstRetry   = 500 * time.Millisecond
)

// Bounds of one feed.
const (
	maxHistory    = 4096 // changes
	historyBytes  = 8 << 20
	listPage      = 250 // objects
	leastPage     = 8
	maxListAnswer = 16 << 20
	maxEvent      = 8 << 20 // of one event of a watch; etcd's own limit for an object is 1.5 MiB
	watchSeconds  = 600
	unusedTime    = 30 * time.Second
	listAgain     = 5 * time.Second // for a user who may not watch
	lastRetry     = 15 * time.Second
)

// feed keeps the objects of one collection up to date, and the changes of late. Its methods
// are safe for concurrent use.
type feed struct {
	collection Collection
	member     *member
	user       *host.Impersonation // nil: the host itself
	budget     *budget
	stop       context.CancelFunc

	mu      sync.Mutex
	readers []reader
	used    time.Time
	objects map[objectKey]*kept
	history []past // in the order of their versions
	size    int    // of objects and history
	past    int    // bytes of history
	version string // of the state; "" before the first list
	floor   string // the history is complete after this version
	problem error  // why the state is not current; nil if it is
	changed chan struct{}
}

// reader is a session that has asked for changes.
type reader struct {
	auth host.Authority
	last time.Time
}

type objectKey struct{ namespace, name string }

func (k objectKey) compare(other objectKey) int {
	return cmp.Or(cmp.Compare(k.namespace, other.namespace), cmp.Compare(k.name, other.name))
}

type kept struct {
	version string
	object  json.RawMessage
}

type past struct {
	key     objectKey
	version string
	object  json.RawMessage // nil: deleted
}

// Alive reports whether a session that reads the feed has authority; the feed's own
// requests depend on it.
func (f *feed) Alive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.user == nil || slices.ContainsFunc(f.readers, func(r reader) bool { return r.auth.Alive() })
}

// Cause returns why the feed's requests are not sent any more.
func (*feed) Cause() error { return host.ErrNoLonger }

// read notes that a session uses the feed.
func (f *feed) read(auth host.Authority) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.used = now
	f.readers = slices.DeleteFunc(f.readers, func(r reader) bool {
		return r.auth == auth || !r.auth.Alive() || now.Sub(r.last) > unusedTime
	})
	f.readers = append(f.readers, reader{auth, now})
}

// unused reports whether the feed can end.
func (f *feed) unused() bool {
	alive := f.Alive()
	f.mu.Lock()
	defer f.mu.Unlock()
	return !alive || time.Since(f.used) > unusedTime
}

// changing returns a channel that is closed at the next change of state or problem.
func (f *feed) changing() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// announce needs f.mu.
func (f *feed) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// namespaces returns those of the objects and of the history. ready is false before the
// first list.
func (f *feed) namespaces() (list []string, ready bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem != nil {
		return nil, false, f.problem
	}
	set := map[string]bool{}
	for k := range f.objects {
		set[k.namespace] = true
	}
	for i := range f.history {
		set[f.history[i].key.namespace] = true
	}
	for ns := range set {
		list = append(list, ns)
	}
	slices.Sort(list)
	return list, f.version != "", nil
}

// since returns the changes that w asks for, as far as they are visible.
func (f *feed) since(w *Watch, seen *visible) *Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := parseCursor(w.Cursor)
	switch {
	case !ok || at.scope != seen.scope || older(at.version, f.floor):
		return f.state(cursor{version: f.version, scope: seen.scope}, w, seen, true)
	case at.after != nil:
		if older(f.version, at.version) { // the replica that began the answer was ahead of this one
			at.version = f.version
		}
		return f.state(at, w, seen, false)
	}
	c := &Changes{}
	size, last := 0, map[objectKey]int{}
	for i := range f.history {
		p := &f.history[i]
		if !older(at.version, p.version) || !w.sees(seen, p.key) {
			continue
		}
		if size > w.Limit && p.version != at.version {
			c.More = true
			break
		}
		at.version = p.version
		size += len(p.object) + len(p.key.name)
		if before, ok := last[p.key]; ok {
			c.List[before].Name = "" // only the newest counts
		}
		last[p.key] = len(c.List)
		c.List = append(c.List, Change{p.object == nil, p.key.namespace, p.key.name, p.object})
	}
	c.List = slices.DeleteFunc(c.List, func(x Change) bool { return x.Name == "" })
	if !c.More {
		at.version = newer(at.version, f.version)
	}
	c.Cursor = at.String()
	return c
}

// state returns a part of the whole state. It needs f.mu.
func (f *feed) state(from cursor, w *Watch, seen *visible, first bool) *Changes {
	c := &Changes{Complete: first, List: []Change{}}
	keys := make([]objectKey, 0, len(f.objects))
	for k := range f.objects {
		if w.sees(seen, k) && (from.after == nil || k.compare(*from.after) > 0) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, objectKey.compare)
	size := 0
	next := cursor{version: from.version, scope: from.scope}
	for _, k := range keys {
		if size > w.Limit {
			c.More = true
			break
		}
		o := f.objects[k].object
		size += len(o)
		c.List = append(c.List, Change{Namespace: k.namespace, Name: k.name, Object: o})
		next.after = &k
	}
	if !c.More {
		next.after = nil
	}
	c.Cursor = next.String()
	return c
}

// sees reports whether an object is part of the answer.
func (w *Watch) sees(seen *visible, k objectKey) bool {
	return (w.Namespace == "" || w.Namespace == k.namespace) && seen.contains(k.namespace)
}

// run follows the collection until ctx ends.
func (f *feed) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		err := f.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			retry = firstRetry
			continue
		}
		f.mu.Lock()
		f.problem = err
		f.announce()
		f.mu.Unlock()
		pause(ctx, retry)
		retry = min(2*retry, lastRetry)
	}
}

// errExpired means that the API server has forgotten the version that a watch began from.
var errExpired = errors.New("the version is too old")

// round lists the collection, if that is necessary, and follows its changes until the API
// server ends the watch or the cluster has a new endpoint.
func (f *feed) round(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	renewed := f.member.renewal()
	e, err := f.member.endpoint()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		select {
		case <-renewed:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer cancel() // before ended is awaited
	c := &Client{ctx: ctx, endpoint: e, http: &http.Client{Transport: e.transport}}
	if f.user != nil {
		c = newClient(ctx, e, f.user, f)
	}
	f.mu.Lock()
	version := f.version
	failed := f.problem != nil
	f.mu.Unlock()
	if version == "" || failed {
		if err := f.list(ctx, c); err != nil {
			return f.failure(c, err)
		}
	}
	err = f.follow(ctx, c)
	if host.KindOf(err) == host.Forbidden && err != nil && f.user != nil && f.collection.ListSuffices {
		pause(ctx, listAgain)
		err = errExpired
	}
	if errors.Is(err, errExpired) {
		err = f.list(ctx, c)
	}
	select {
	case <-renewed:
		return nil
	default:
	}
	return f.failure(c, err)
}

func (f *feed) failure(c *Client, err error) error {
	if e, ok := errors.AsType[*host.Error](err); ok && f.user == nil && e.Kind == host.Forbidden {
		return refusedWatch(&f.collection, c.endpoint.cluster, err)
	}
	return c.Failure(op, "the watch failed", err)
}

// list replaces the state.
func (f *feed) list(ctx context.Context, c *Client) error {
	fresh := map[objectKey]*kept{}
	version, next, size, limit := "", "", 0, listPage
	for {
		query := url.Values{"limit": {strconv.Itoa(limit)}}
		if f.collection.Selector != "" {
			query.Set("labelSelector", f.collection.Selector)
		}
		if next != "" {
			query.Set("continue", next)
		}
		resp, err := c.Do(ctx, &Request{Method: http.MethodGet, Path: f.collection.path(), Query: query, Header: acceptObjects.Clone(), Limit: maxListAnswer})
		if errors.Is(err, ErrTooLarge) && limit > leastPage {
			limit = max(limit/4, leastPage)
			continue
		}
		if err == nil {
			err = resp.Err()
		}
		if err != nil {
			return err
		}
		var page struct {
			Metadata struct{ ResourceVersion, Continue string }
			Items    []json.RawMessage
		}
		if err := json.Unmarshal(resp.Body, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			k, o, err := f.keep(item)
			if err != nil {
				return err
			}
			if o.object != nil {
				fresh[k] = o
				size += o.size(k)
			}
		}
		if size > maxFeedBytes {
			return f.tooMuch()
		}
		version = page.Metadata.ResourceVersion
		if next = page.Metadata.Continue; next == "" {
			return f.replace(fresh, version)
		}
	}
}

func (f *feed) tooMuch() error {
	return host.E(host.Unprocessable, op, "the objects of %s are too many to watch; name a namespace", f.collection.name())
}

// keep reads an object's identity and what is kept of it.
func (f *feed) keep(object []byte) (objectKey, *kept, error) {
	var head struct {
		Metadata struct{ Namespace, Name, ResourceVersion string }
	}
	if err := json.Unmarshal(object, &head); err != nil {
		return objectKey{}, nil, err
	}
	keep := f.collection.Keep
	if keep == nil {
		keep = withoutManagedFields
	}
	o, err := keep(object)
	return objectKey{head.Metadata.Namespace, head.Metadata.Name}, &kept{head.Metadata.ResourceVersion, o}, err
}

// withoutManagedFields removes what nobody reads and is often most of an object.
func withoutManagedFields(object []byte) (json.RawMessage, error) {
	var o, metadata map[string]json.RawMessage
	if err := json.Unmarshal(object, &o); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(o["metadata"], &metadata); err != nil {
		return nil, err
	}
	delete(metadata, "managedFields")
	text, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	o["metadata"] = text
	return json.Marshal(o)
}

func (o *kept) size(k objectKey) int { return len(o.object) + len(k.namespace) + len(k.name) + 128 }

// replace makes the state that of a list. If there was one before, the differences become
// history.
func (f *feed) replace(fresh map[objectKey]*kept, version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problem = nil
	defer f.announce()
	if f.version == "" {
		f.version, f.floor = version, version
		for k, o := range fresh {
			if err := f.put(k, o); err != nil {
				return err
			}
		}
		return nil
	}
	var changes []past
	for k := range f.objects {
		if fresh[k] == nil {
			changes = append(changes, past{k, version, nil})
		}
	}
	for k, o := range fresh {
		if old := f.objects[k]; old == nil || old.version != o.version {
			changes = append(changes, past{k, o.version, o.object})
		}
	}
	slices.SortFunc(changes, func(a, b past) int { return compareVersions(a.version, b.version) })
	for _, p := range changes {
		if err := f.record(p); err != nil {
			return err
		}
	}
	f.version = newer(f.version, version)
	return nil
}

// put stores an object, or removes it if it is nil. It needs f.mu.
func (f *feed) put(k objectKey, o *kept) error {
	grown := 0
	if old := f.objects[k]; old != nil {
		grown -= old.size(k)
		delete(f.objects, k)
	}
	if o != nil {
		grown += o.size(k)
		f.objects[k] = o
	}
	f.size += grown
	return f.spend(grown)
}

func (f *feed) spend(n int) error {
	if f.budget.spend(n) && f.size <= maxFeedBytes {
		return nil
	}
	f.objects, f.history, f.version = map[objectKey]*kept{}, nil, ""
	f.budget.spend(-f.size)
	f.size, f.past = 0, 0
	return f.tooMuch()
}

// record applies a change and keeps it in the history. It needs f.mu.
func (f *feed) record(p past) error {
	var o *kept
	if p.object != nil {
		o = &kept{p.version, p.object}
	}
	if err := f.put(p.key, o); err != nil {
		return err
	}
	f.version = newer(f.version, p.version)
	f.history = append(f.history, p)
	grown := p.size()
	drop := 0
	for f.past += grown; len(f.history)-drop > maxHistory || f.past > historyBytes; drop++ {
		oldest := &f.history[drop]
		f.floor = oldest.version
		f.past -= oldest.size()
		grown -= oldest.size()
	}
	f.history = slices.Delete(f.history, 0, drop)
	f.size += grown
	return f.spend(grown)
}

func (p *past) size() int { return len(p.key.namespace) + len(p.key.name) + len(p.object) + 64 }

// follow applies the changes that the API server sends, until it ends the watch. The error
// is errExpired if a list has to come first.
func (f *feed) follow(ctx context.Context, c *Client) error {
	f.mu.Lock()
	query := url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {f.version}, "timeoutSeconds": {strconv.Itoa(watchSeconds)}}
	f.mu.Unlock()
	if f.collection.Selector != "" {
		query.Set("labelSelector", f.collection.Selector)
	}
	var failed error
	err := c.Lines(ctx, &Request{Method: http.MethodGet, Path: f.collection.path(), Query: query, Header: acceptObjects.Clone(), Limit: maxEvent}, func(line []byte) bool {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if failed = json.Unmarshal(line, &event); failed == nil {
			failed = f.apply(event.Type, event.Object)
		}
		return failed == nil
	})
	if e, ok := errors.AsType[*host.Error](err); ok && e.Status == http.StatusGone {
		return errExpired
	}
	return cmp.Or(failed, err)
}

func (f *feed) apply(kind string, object []byte) error {
	if kind == "ERROR" {
		var status metav1.Status
		if json.Unmarshal(object, &status) == nil && status.Code == http.StatusGone {
			return errExpired
		}
		return fmt.Errorf("the API server ended the watch: %s", status.Message)
	}
	k, o, err := f.keep(object)
	if kind == "BOOKMARK" {
		o, err = &kept{version: o.version}, nil
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == "BOOKMARK" {
		f.version = newer(f.version, o.version)
		return nil
	}
	if kind == "DELETED" {
		o.object = nil
	}
	if o.object == nil && f.objects[k] == nil {
		f.version = newer(f.version, o.version)
		return nil // Keep never kept it
	}
	defer f.announce()
	return f.record(past{k, o.version, o.object})
}
