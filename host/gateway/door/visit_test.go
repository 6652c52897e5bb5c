package door_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// openTo serves the doors to one plugin with the name "probe".
func openTo(t *testing.T, p door.Plugin) (*surfacetest.Surface, *surfacetest.Policy) {
	t.Helper()
	policy := &surfacetest.Policy{}
	return surfacetest.Open(t, policy, func(g *gateway.Gateway, _ *session.Table) {
		door.Mount(g, door.Config{Lease: func(name string, _ *host.Principal) (door.Plugin, bool) { return p, name == "probe" }, Behind: func(string) error { return nil }})
	}), policy
}

// HEAD is matched and decided as GET. That of an event stream ends at once: the
// client waits for nothing.
func TestHEADOfAPluginsRouteIsItsGET(t *testing.T) {
	s, policy := open(t)
	ann := s.As(t, "ann")
	path := ask("200", "hello", `Etag: "7"`)
	if got := ann.Do("HEAD", path, ""); got.Status != 200 || got.Body != "" || got.Header.Get("Content-Length") != "5" || got.Header.Get("Etag") != `"7"` {
		t.Errorf("a call: %v", got)
	}
	if q := policy.Asked()[0].Route; q.Name != "answer" || q.Method != "GET" {
		t.Errorf("policy is asked about %+v", q)
	}
	if got := ann.Do("HEAD", "/api/probe/take", ""); got.Status != 405 || got.Header.Get("Allow") != "POST" {
		t.Errorf("of a route without GET: %v", got)
	}
	got := ann.Do("HEAD", "/api/probe/ticks", "")
	if got.Status != 200 || got.Header.Get("Content-Type") != "text/event-stream" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("an event stream: %v", got)
	}
	surfacetest.Eventually(t, "its session to close", func() bool { return len(s.Sessions.All()) == 0 })
	if strings.Contains(s.Log.String(), "event stream ended") {
		t.Error("the plugin streamed for it")
	}
}

// busy is a plugin that notices nothing: its sessions go on until the test ends them.
type busy struct {
	surfacetest.Probe
	over chan struct{}
}

func (b busy) Session(_ context.Context, c *plugin.Call, s plugin.Socket) (*abi.Response, bool, error) {
	client, err := s.Accept(nil, 0)
	if err != nil {
		return nil, false, err
	}
	err = client.Write(false, []byte("begins"))
	<-b.over
	return nil, true, err
}

// The host closes a client's stream with the cause although the plugin goes on.
func TestAStreamEndsWithTheCauseAlthoughThePluginGoesOn(t *testing.T) {
	b := busy{over: make(chan struct{})}
	over := sync.OnceFunc(func() { close(b.over) })
	s, _ := openTo(t, b)
	t.Cleanup(over) // also where the test fails early
	ann := s.As(t, "ann")
	next := surfacetest.Events(t, ann.Stream("/api/probe/ticks"))
	conn, got := ann.Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	if kind, text, err := conn.ReadMessage(); kind != websocket.TextMessage || string(text) != "begins" {
		t.Fatalf("%q, %v", text, err)
	}
	if first := next(); first != "data: begins\n" {
		t.Fatalf("the first event is %q", first)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.End(t, ann.User, host.ErrLoggedOut)
	}()
	surfacetest.WantClose(t, conn, 4401, "logged out")
	if last := next(); !strings.Contains(last, "event: end\n") || !strings.Contains(last, `"code":4401`) {
		t.Errorf("the event after the logout is %q", last)
	}
	over()
	<-ended
	if more := next(); more != "" {
		t.Errorf("the end is followed by %q", more)
	}
}

// counted is a plugin that counts for a call what the host holds for it.
type counted struct {
	surfacetest.Probe
	released *atomic.Int32
}

func (c counted) hold(call *plugin.Call) { call.OnRelease(func() { c.released.Add(1) }) }

func (c counted) Handle(ctx context.Context, call *plugin.Call) (*abi.Response, error) {
	c.hold(call)
	return c.Probe.Handle(ctx, call)
}

func (c counted) Session(ctx context.Context, call *plugin.Call, s plugin.Socket) (*abi.Response, bool, error) {
	c.hold(call)
	return &abi.Response{Status: 404}, false, nil
}

// What a call counts for its user and its plugin is given back, however the call
// ends; a user who asks often would otherwise have no memory left.
func TestWhatACallCountsIsGivenBack(t *testing.T) {
	c := counted{released: new(atomic.Int32)}
	s, _ := openTo(t, c)
	ann := s.As(t, "ann")
	for n, ask := range []func(){
		func() { ann.Do("GET", ask("200", "hello"), "") },
		func() { ann.Do("GET", "/api/probe/answer?status=none", "") }, // the plugin fails
		func() { ann.Do("GET", "/api/probe/ticks", "") },              // the plugin refuses
		func() { ann.Dial("/ws/probe") },
	} {
		ask()
		surfacetest.Eventually(t, "the session to close", func() bool { return len(s.Sessions.All()) == 0 })
		if got := c.released.Load(); got != int32(n+1) {
			t.Fatalf("after %d calls, %d were released", n+1, got)
		}
	}
}

// elsewhere is a plugin whose event stream is another one.
type elsewhere struct{ surfacetest.Probe }

func (elsewhere) Session(context.Context, *plugin.Call, plugin.Socket) (*abi.Response, bool, error) {
	return &abi.Response{Status: 307, Header: []abi.Pair{{Name: "Location", Value: "/api/admin/audit?follow=true"}}}, false, nil
}

// A plugin's page would get what another route streams to its user: an EventSource follows.
func TestAnEventStreamDoesNotRedirect(t *testing.T) {
	s, _ := openTo(t, elsewhere{})
	if got := s.As(t, "ann").Do("GET", "/api/probe/ticks", ""); got.Status != 502 || got.Header.Get("Location") != "" {
		t.Errorf("%v", got)
	}
}

// sparing is a plugin whose user has 1 MiB for messages.
type sparing struct{ surfacetest.Probe }

func (sparing) Session(_ context.Context, _ *plugin.Call, s plugin.Socket) (*abi.Response, bool, error) {
	client, err := s.Accept(nil, 0)
	if err != nil {
		return nil, false, err
	}
	used := 0
	client.(plugin.Counter).Count(func(n int) (func(), error) {
		if used += n; used > 1<<20 {
			return nil, sandbox.ErrHolder
		}
		return func() {}, nil
	})
	_, _, err = client.Read()
	return nil, true, err
}

// A client can take as long as it likes for the end of a message.
func TestAMessageCountsBeforeItsEnd(t *testing.T) {
	s, _ := openTo(t, sparing{})
	conn, got := s.As(t, "ann").Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	w, err := conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 3<<19)); err != nil { // and no end
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, host.CloseTooLarge, "memory")
}

// A stream that policy no longer allows ends, though it was opened by an allow.
func TestAStreamEndsWhenPolicyNoLongerAllowsItsRoute(t *testing.T) {
	s, policy := open(t)
	ann := s.As(t, "ann")
	next := surfacetest.Events(t, ann.Stream("/api/probe/ticks"))
	conn, got := ann.Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	if first := next(); first != "data: 0\n" {
		t.Fatalf("the first event is %q", first)
	}
	policy.Says(t, func(*host.Question) host.Decision { return host.Decision{} })
	s.Sessions.Redecide(t.Context())
	surfacetest.WantClose(t, conn, 4403, "no longer permitted")
	last := ""
	for got := next(); got != ""; got = next() {
		last = got
	}
	if !strings.Contains(last, `"code":4403`) {
		t.Errorf("the last event is %q", last)
	}
}
