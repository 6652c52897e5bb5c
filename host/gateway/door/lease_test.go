package door_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// leases counts the leases of a probe, and ends the sessions that are bound to them.
type leases struct {
	mu    sync.Mutex
	taken map[host.UserID]int
	out   int
	bound []func(cause error)
	// behind is why nothing is to be served.
	behind error
}

func (l *leases) behindWith(string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.behind
}

// lease is one of them.
type lease struct {
	surfacetest.Probe
	of *leases
}

func (l *leases) take(name string, p *host.Principal) (door.Plugin, bool) {
	if name != "probe" {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken[p.User]++
	l.out++
	return &lease{of: l}, true
}

func (l *lease) Return() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.of.out--
}

func (l *lease) Bind(end func(cause error)) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.of.bound = append(l.of.bound, end)
}

func (l *leases) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out
}

// swapped ends all bound sessions.
func (l *leases) swapped() int {
	l.mu.Lock()
	bound := l.bound
	l.bound = nil
	l.mu.Unlock()
	for _, end := range bound {
		end(host.ErrSwapped)
	}
	return len(bound)
}

func leased(t *testing.T) (*surfacetest.Surface, *leases) {
	t.Helper()
	l := &leases{taken: map[host.UserID]int{}}
	return surfacetest.Open(t, &surfacetest.Policy{}, func(g *gateway.Gateway, _ *session.Table) {
		door.Mount(g, door.Config{Lease: l.take, Behind: l.behindWith})
	}), l
}

// Every request takes one lease, for its user, and returns it once, however it ends.
func TestEveryLeaseIsReturned(t *testing.T) {
	s, l := leased(t)
	for _, who := range []string{"ann", "nia"} {
		user := s.As(t, who)
		for _, path := range []string{"seen", "nothing", "needs", "needs?cluster=dev", "seen?a=%zz", "answer?status=503", "answer?status=x"} {
			user.Do("GET", "/api/probe/"+path, "")
		}
		user.Do("GET", "/ws/probe", "")
		user.Do("HEAD", "/api/probe/ticks", "")
		user.Do("GET", "/api/probe/ticks", "x")
		user.Do("POST", "/api/probe/take", strings.Repeat("x", 2<<20))
		user.Do("PATCH", "/api/probe/seen", "{}")
	}
	surfacetest.Eventually(t, "all leases to be returned", func() bool { return l.left() == 0 })
	if l.taken["ann@example.com"] != 12 || l.taken["nia@example.com"] != 12 {
		t.Errorf("taken by user: %v", l.taken)
	}
	if n := l.swapped(); n != 3 { // ann's two event streams, and a socket that was no upgrade
		t.Errorf("%d sessions were bound", n)
	}
}

// A session whose plugin was replaced, and whose time to stay is over, is closed with a
// code that says that the client may connect again; calls are left to finish.
func TestASessionOfAReplacedPluginIsClosedWith1012(t *testing.T) {
	s, l := leased(t)
	ann := s.As(t, "ann")
	conn, _ := ann.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := conn.ReadMessage(); err != nil || string(data) != "hello" {
		t.Fatalf("%q, %v", data, err)
	}
	if n := l.swapped(); n != 1 {
		t.Errorf("%d sessions were bound", n)
	}
	surfacetest.WantClose(t, conn, host.CloseRestart, "plugin was replaced")
	surfacetest.Eventually(t, "the lease to be returned", func() bool { return l.left() == 0 })
}

// A host that was cut off answers 503 while it lacks the desired version of a plugin, also
// if it does not have the plugin at all. Users without a right learn nothing of that.
func TestAHostThatIsBehindDoesNotServe(t *testing.T) {
	s, l := leased(t)
	ann, nia := s.As(t, "ann"), s.As(t, "nia")
	l.mu.Lock()
	l.behind = &host.Error{Kind: host.Unavailable, Message: "this host was cut off", RetryAfter: time.Second}
	l.mu.Unlock()
	for _, path := range []string{"/api/probe/seen", "/api/absent/seen", "/ws/probe"} {
		if got := ann.Do("GET", path, ""); got.Status != 503 || !strings.Contains(got.Body, "cut off") {
			t.Errorf("%s: %v", path, got)
		}
		if got := nia.Do("GET", path, ""); got.Status != 403 {
			t.Errorf("%s, without a right: %v", path, got)
		}
	}
	l.mu.Lock()
	l.behind = nil
	l.mu.Unlock()
	if got := ann.Do("GET", "/api/probe/seen", ""); got.Status != 200 {
		t.Errorf("once it has it: %v", got)
	}
	surfacetest.Eventually(t, "all leases to be returned", func() bool { return l.left() == 0 })
}
