package cluster

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Bounds of the feeds of one cluster.
const (
	maxFeeds       = 1024
	maxFeedsOfUser = 64
	maxAllBytes    = 256 << 20
	checkUnused    = time.Second
)

// feeds are the feeds of one cluster. The zero value is ready. Safe for concurrent use.
type feeds struct {
	budget  budget // of those that the host shares
	own     budget // of the users' own, which must not end what all share
	running sync.WaitGroup

	mu     sync.Mutex
	by     map[feedKey]*feed
	closed bool
}

// feedKey is what feeds differ in. The user is empty if the host shares the feed. A name
// alone does not say what is listed: a plugin can ask for a resource of the same name.
type feedKey struct{ name, path, selector, user string }

// join returns the feed that w reads, and begins it if there is none. The caller has
// checked the user and the authority.
func (s *feeds) join(m *member, w *Watch, user *host.Impersonation, auth host.Authority) (*feed, error) {
	c := w.Collection
	key := feedKey{name: c.name(), selector: c.Selector}
	if m.config.shares(&c) && (c.Selector == "" || c.Name != "") {
		user, c.Namespace = nil, ""
	} else {
		key.user = identityKey(user)
	}
	key.path = c.path()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.by[key]; f != nil {
		f.read(auth)
		return f, nil
	}
	own := 0
	for other := range s.by {
		if other.user == key.user {
			own++
		}
	}
	switch {
	case s.closed:
		return nil, host.E(host.Unavailable, op, "the host is shutting down")
	case len(s.by) >= maxFeeds || key.user != "" && own >= maxFeedsOfUser:
		return nil, host.E(host.Limited, op, "too many lists of cluster %q are watched; try again later", m.config.Name)
	}
	ctx, stop := context.WithCancel(context.Background())
	bytes := &s.budget
	if user != nil {
		bytes = &s.own
	}
	f := &feed{collection: c, member: m, user: user, budget: bytes, stop: stop, objects: map[objectKey]*kept{}, changed: make(chan struct{})}
	f.read(auth)
	if s.by == nil {
		s.by = map[feedKey]*feed{}
	}
	s.by[key] = f
	s.running.Go(func() { s.follow(ctx, key, f) })
	return f, nil
}

// follow runs the feed until it is not used any more or the cluster is closed.
func (s *feeds) follow(ctx context.Context, key feedKey, f *feed) {
	defer s.forget(key, f)
	var run sync.WaitGroup
	run.Go(func() { f.run(ctx) })
	defer run.Wait()
	defer f.stop()
	tick := time.NewTicker(checkUnused)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock() // so that nobody joins it meanwhile
		ends := f.unused()
		if ends {
			delete(s.by, key)
		}
		s.mu.Unlock()
		if ends {
			return
		}
	}
}

// forget gives back what the feed held.
func (s *feeds) forget(key feedKey, f *feed) {
	s.mu.Lock()
	if s.by[key] == f {
		delete(s.by, key)
	}
	s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.budget.spend(-f.size)
	f.size, f.objects, f.history, f.version = 0, nil, nil, ""
	f.problem = host.E(host.Unavailable, op, "the watch has ended; try again")
	f.announce()
}

func (s *feeds) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.by)
}

// close ends all feeds and waits for that.
func (s *feeds) close() {
	s.mu.Lock()
	s.closed = true
	for _, f := range s.by {
		f.stop()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// budget counts the bytes of feeds.
type budget struct{ used atomic.Int64 }

func (b *budget) spend(n int) bool { return b.used.Add(int64(n)) <= maxAllBytes }

// identityKey is the same for equal identities only: names have no control characters.
func identityKey(user *host.Impersonation) string {
	groups := slices.Clone(user.Groups)
	slices.Sort(groups)
	return user.User + "\x00" + strings.Join(groups, "\x00")
}

// cursor says up to where a caller knows a collection: VERSION/SCOPE, and /KEY in the
// middle of the state of that version. The version is the API server's, so that a cursor
// is good on every replica.
type cursor struct {
	version, scope string
	after          *objectKey
}

func (c cursor) String() string {
	s := c.version + "/" + c.scope
	if c.after != nil {
		s += "/" + base64.RawURLEncoding.EncodeToString([]byte(c.after.namespace+"/"+c.after.name))
	}
	return s
}

const maxCursor = 1024

func parseCursor(s string) (c cursor, ok bool) {
	parts := strings.Split(s, "/")
	if len(s) > maxCursor || len(parts) < 2 || len(parts) > 3 || !isVersion(parts[0]) {
		return cursor{}, false
	}
	c.version, c.scope = parts[0], parts[1]
	if len(parts) == 3 {
		text, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			return cursor{}, false
		}
		namespace, name, _ := strings.Cut(string(text), "/")
		c.after = &objectKey{namespace, name}
	}
	return c, true
}

// Resource versions are decimal numbers of any size, which clients may compare
// (Kubernetes, "Resource versions").
func isVersion(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func compareVersions(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func older(a, b string) bool { return compareVersions(a, b) < 0 }

func newer(a, b string) string {
	if older(a, b) {
		return b
	}
	return a
}
