package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// client is the person's end of a session: the test speaks through in and out.
type client struct {
	in     chan string
	out    chan string
	ended  chan struct{}
	end    sync.Once
	accept func()
}

func newClient() *client {
	return &client{in: make(chan string), out: make(chan string, 1), ended: make(chan struct{}), accept: func() {}}
}

func (c *client) Accept([]string, int) (capability.Client, error) { c.accept(); return c, nil }
func (c *client) End(error)                                       { c.end.Do(func() { close(c.ended) }) }
func (c *client) Touch()                                          {}
func (c *client) Subprotocol() string                             { return "" }
func (c *client) Read() (bool, []byte, error) {
	select {
	case text := <-c.in:
		return false, []byte(text), nil
	case <-c.ended:
		return false, nil, io.EOF
	}
}
func (c *client) Write(_ bool, data []byte) error { c.out <- string(data); return nil }
func (c *client) Close(int, string) error         { c.End(nil); return nil }

// say sends a message to an echo and returns what comes back.
func (c *client) say(t testing.TB, text string) string {
	t.Helper()
	for _, step := range []func() (string, bool){
		func() (string, bool) {
			select {
			case c.in <- text:
				return "", true
			case <-c.ended:
				return "", false
			}
		},
		func() (string, bool) {
			select {
			case answer := <-c.out:
				return answer, true
			case <-c.ended:
				return "", false
			}
		},
	} {
		answer, ok := step()
		if !ok {
			t.Fatal("the session has ended")
		}
		if answer != "" {
			return answer
		}
	}
	return ""
}

// chat is a Call for echo's socket.
func chat(t testing.TB, g *plugin.Generation, user host.UserID) *plugin.Call {
	t.Helper()
	c := call(t, g, &authority{}, "GET", "/echo")
	if c.Match, _ = g.Match(true, "GET", "/", nil); c.Match == nil {
		t.Fatal("echo has no socket")
	}
	c.URL = "/"
	c.Caller.Principal = &host.Principal{User: user}
	return c
}

// open starts a session and returns when it was accepted, or its refusal.
func open(t testing.TB, g *plugin.Generation, user host.UserID) (*client, func() error, error) {
	t.Helper()
	return begin(g, chat(t, g, user))
}

func begin(g *plugin.Generation, c *plugin.Call) (*client, func() error, error) {
	s, done, accepted := newClient(), make(chan error, 1), make(chan struct{})
	s.accept = func() { close(accepted) }
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _, err := g.Session(ctx, c, s)
		done <- err
	}()
	select {
	case <-accepted:
		return s, func() error { cancel(host.ErrDone); return <-done }, nil
	case err := <-done:
		cancel(nil)
		return nil, nil, err
	}
}

// Instances and memory are bounded for a person in one plugin, for a person in
// all plugins, and for a plugin, and each refusal says which it was.
func TestBudgetsAreRefusedByWhoHasTooMuch(t *testing.T) {
	echo := packtest.Build(t, "plugins/echo")
	for name, c := range map[string]struct {
		limits plugin.Limits
		user   plugin.UserLimits
		others bool // sessions belong to a person each
		kind   host.Kind
		says   string
	}{
		"a person's instances of a plugin": {plugin.Limits{Instances: 12}, plugin.UserLimits{}, false, host.Limited, "3 calls and sessions of this plugin"},
		"a person's instances":             {plugin.Limits{}, plugin.UserLimits{Instances: 2}, false, host.Limited, "you have 2 calls and sessions running"},
		"a person's memory":                {plugin.Limits{}, plugin.UserLimits{MemoryMiB: 24}, false, host.Limited, "use 24 MiB"},
		"a plugin's memory":                {plugin.Limits{MemoryMiB: 16, TotalMiB: 24}, plugin.UserLimits{}, true, host.Unavailable, "the plugin uses all the memory it may"},
		"a plugin's instances":             {plugin.Limits{Instances: 2}, plugin.UserLimits{}, true, host.Limited, "the plugin is busy"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureWith(t, plugin.Limits{}, c.user)
			g := f.load(t, plugin.Config{Name: "echo", Source: echo, Limits: c.limits})
			var ends []func() error
			defer func() {
				for _, end := range ends {
					_ = end() // the session's own end is not what this is about
				}
			}()
			for k := range 20 {
				user := host.UserID("ann@example.com")
				if c.others {
					user = host.UserID(fmt.Sprintf("person%d@example.com", k))
				}
				_, end, err := open(t, g, user)
				if err == nil {
					ends = append(ends, end)
					continue
				}
				if host.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || len(ends) == 0 {
					t.Fatalf("after %d sessions: %v, want %v and %q", len(ends), err, c.kind, c.says)
				}
				if !c.others { // everybody else is served
					_, end, err := open(t, g, "bob@example.com")
					if err != nil {
						t.Fatalf("bob: %v", err)
					}
					ends = append(ends, end)
				}
				// What was given back can be had again.
				_ = ends[0]()
				_, end, err = open(t, g, user)
				ends = ends[1:]
				if err != nil {
					t.Fatalf("after one has ended: %v", err)
				}
				ends = append(ends, end)
				return
			}
			t.Fatal("nothing was refused")
		})
	}
}

func TestFuelIsOfACallAndOfASessionBetweenMessages(t *testing.T) {
	f := newFixture(t)
	source := packtest.Build(t, "plugins/echo")
	asks := remake(t, source, func(m *manifest.Manifest) { m.Limits.Fuel = 3_000_000 })
	for _, g := range []*plugin.Generation{
		f.load(t, plugin.Config{Name: "operator", Source: source, Limits: plugin.Limits{Fuel: 3_000_000}}),
		f.load(t, plugin.Config{Name: "author", Source: asks, Limits: plugin.Limits{Fuel: 1 << 40}}),
	} {
		_, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/spin"))
		if host.KindOf(err) != host.Upstream || !errors.Is(err, sandbox.ErrFuel) {
			t.Fatalf("spinning: %v", err)
		}
		s, end, err := open(t, g, "ann@example.com")
		if err != nil {
			t.Fatal(err)
		}
		for k := range 2000 { // which takes far more than one call may
			if got := s.say(t, "hello"); got != "hello" {
				t.Fatalf("message %d: %q", k, got)
			}
		}
		_ = end()
	}
}

// A failure reaches the person as kind and message only. Its error names
// plugin, route and cause, and the author finds the guest's own stack and
// output in the log, under the request's id.
func TestAFailureNamesPluginRouteAndCause(t *testing.T) {
	g := newFixture(t).echo(t)
	for _, c := range []struct {
		path   string
		kind   host.Kind
		public string
		error  []string
		log    []string
	}{
		{"/trap", host.Upstream, "the plugin failed", []string{"echo.trap", "trapped", "unreachable"},
			[]string{`msg="panic: trap was asked for`, "output=true trace=", "goroutine ", "stack=", "main.trap", "route=trap", "plugin=echo", "requestId=r7"}},
		{"/spin", host.Timeout, "the plugin took too long", []string{"echo.spin", "ran past its deadline"},
			[]string{"main.spin", "route=spin", "requestId=r7"}},
		{"/sleep?ms=60000", host.Timeout, "the plugin took too long", []string{"echo.sleep", "ran past its deadline"},
			[]string{"main.sleep", "route=sleep", "requestId=r7"}},
	} {
		var log bytes.Buffer
		in := call(t, g, &authority{}, "GET", c.path)
		in.Caller.Logger = slog.New(slog.NewTextHandler(&log, nil)).With("requestId", "r7")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := g.Handle(ctx, in)
		cancel()
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.Kind != c.kind || e.Public() != c.public {
			t.Fatalf("%s: %v", c.path, err)
		}
		if fault, ok := errors.AsType[*sandbox.Error](err); !ok || fault.Module != "echo" {
			t.Errorf("%s: %v is no error of the sandbox", c.path, err)
		}
		for _, want := range c.error {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q lacks %q", c.path, err, want)
			}
		}
		for _, want := range c.log {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the log lacks %q:\n%s", c.path, want, log.String())
			}
		}
		if n := strings.Count(log.String(), "\n"); n > 2 {
			t.Errorf("%s: %d records, of trace and failure:\n%s", c.path, n, log.String())
		}
	}
}
