package plugin_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// commands stands where the exec capability does: its streams say "spliced" and
// wait for the end of the session or of the test.
type commands struct {
	opened, spliced, closed atomic.Int32
	end                     chan struct{}
}

func (*commands) Kind() *capability.Kind {
	return &capability.Kind{
		Name: "exec", Streams: true, Dimensions: []capability.Dimension{{Name: capability.Clusters}, {Name: capability.Namespaced}},
		Classify: func(*abi.Request) (capability.Prepared, error) {
			return capability.Prepared{Call: host.CapabilityCall{
				Name: "exec", Verb: "create", Cluster: "dev", Namespace: "shop", Resource: "pods", Subresource: "exec", Object: "web",
			}}, nil
		},
	}
}
func (*commands) Fetch(context.Context, *capability.Permit) (*abi.Response, error) {
	return nil, host.E(host.Invalid, "exec", "it is opened")
}
func (c *commands) Open(context.Context, *capability.Permit) (capability.Stream, error) {
	c.opened.Add(1)
	return &command{c}, nil
}

type command struct{ of *commands }

func (*command) Subprotocols() []string { return nil }
func (*command) MaxMessage() int        { return 0 }
func (c *command) Close() error         { c.of.closed.Add(1); return nil }
func (c *command) Splice(ctx context.Context, client capability.Client) error {
	c.of.spliced.Add(1)
	if err := client.Write(false, []byte("spliced")); err != nil {
		return err
	}
	select {
	case <-c.of.end:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sessions loads the guest of this file. A person may hold one instance of it.
func (f *fixture) sessions(t *testing.T) *plugin.Generation {
	return f.load(t, plugin.Config{
		Name: "sessions", Source: packtest.Build(t, "host/plugin/testdata/sessions"), Limits: plugin.Limits{Instances: 4},
		Grants: map[string][]capability.Grant{"exec": {{Clusters: []string{"*"}, Namespaces: []string{"*"}}}},
	})
}

// use starts a session that does what the words say. end ends it and returns what
// became of it.
func use(t *testing.T, g *plugin.Generation, o host.Obligations, words ...string) (s *client, end func() (accepted bool, err error)) {
	t.Helper()
	c := call(t, g, &authority{}, "GET", "/ping")
	if c.Match, _ = g.Match(true, "GET", "/", nil); c.Match == nil {
		t.Fatal("there is no socket")
	}
	c.Caller.Route = c.Match.Route
	c.URL = "/?do=" + strings.Join(words, "&do=")
	c.Obligations = o
	c.Caller.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	type result struct {
		accepted bool
		err      error
	}
	s, done := newClient(), make(chan result, 1)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, accepted, err := g.Session(ctx, c, s)
		done <- result{accepted, err}
		s.End(nil)
	}()
	return s, func() (bool, error) {
		cancel(host.ErrDone)
		r := <-done
		return r.accepted, r.err
	}
}

// heard is the next message that the client gets.
func heard(t *testing.T, s *client) string {
	t.Helper()
	select {
	case text := <-s.out:
		return text
	case <-s.ended:
		select {
		case text := <-s.out:
			return text
		default:
		}
		return ""
	}
}

// A plugin that speaks with the client by itself cannot be recorded, so where
// policy wants a recording it does not get the client at all.
func TestWhatAPluginSaysByItselfIsNotRecordedAndSoRefused(t *testing.T) {
	f := newFixture(t)
	f.exec.end = make(chan struct{})
	g := f.sessions(t)
	for _, word := range []string{"next", "wait", "send", "close"} {
		for _, record := range []host.Record{host.RecordOutput, host.RecordAll} {
			s, end := use(t, g, host.Obligations{Record: record}, word)
			if got := heard(t, s); got != "" {
				t.Errorf("%s, %s: the client hears %q", word, record, got)
			}
			if accepted, err := end(); accepted || host.KindOf(err) != host.Forbidden || !strings.Contains(err.Error(), "obligation_not_supported") {
				t.Errorf("%s, %s: accepted %v, %v", word, record, accepted, err)
			}
		}
	}
	s, end := use(t, g, host.Obligations{}, "send")
	if got := heard(t, s); got != "sent" {
		t.Errorf("without a recording the client hears %q", got)
	}
	<-s.ended
	if accepted, err := end(); !accepted || err != nil {
		t.Errorf("accepted %v, %v", accepted, err)
	}
	// What the host splices it can record.
	s, end = use(t, g, host.Obligations{Record: host.RecordAll}, "splice")
	if got := heard(t, s); got != "spliced" {
		t.Errorf("a spliced client hears %q", got)
	}
	if accepted, _ := end(); !accepted {
		t.Error("a spliced client is not accepted")
	}
}

// Text that is not UTF-8 would make the client's websocket fail (RFC 6455, section
// 8.1); the plugin gets an error instead, and the session goes on.
func TestAPluginCannotSendTextThatIsNotUTF8(t *testing.T) {
	g := newFixture(t).sessions(t)
	s, end := use(t, g, host.Obligations{}, "garble", "send")
	if got := heard(t, s); !strings.HasPrefix(got, "garble: ") {
		t.Errorf("the client hears %q", got)
	}
	if got := heard(t, s); got != "sent" {
		t.Errorf("after it the client hears %q", got)
	}
	<-s.ended
	if accepted, err := end(); !accepted || err != nil {
		t.Errorf("accepted %v, %v", accepted, err)
	}
}

// A message that was read already would be lost.
func TestSpliceIsRefusedAfterNext(t *testing.T) {
	f := newFixture(t)
	f.exec.end = make(chan struct{})
	g := f.sessions(t)
	s, end := use(t, g, host.Obligations{}, "wait", "splice")
	if got := heard(t, s); !strings.HasPrefix(got, "splice: ") || !strings.Contains(got, "not possible") {
		t.Errorf("the client hears %q", got)
	}
	_, _ = end()
	if f.exec.spliced.Load() != 0 || f.exec.opened.Load() != 1 || f.exec.closed.Load() != 1 {
		t.Errorf("opened %d, spliced %d, closed %d", f.exec.opened.Load(), f.exec.spliced.Load(), f.exec.closed.Load())
	}
}

// After splice the client is the host's: the plugin neither hears nor says
// anything more, and cannot splice again.
func TestAfterSpliceTheClientIsTheHosts(t *testing.T) {
	for _, word := range []string{"send", "close", "next"} {
		f := newFixture(t)
		f.exec.end = make(chan struct{})
		g := f.sessions(t)
		s, end := use(t, g, host.Obligations{}, "splice", word)
		if got := heard(t, s); got != "spliced" {
			t.Errorf("%s: the client hears %q", word, got)
		}
		close(f.exec.end)
		<-s.ended
		if accepted, err := end(); !accepted || err != nil {
			t.Errorf("%s: accepted %v, %v", word, accepted, err)
		}
	}
	f := newFixture(t)
	f.exec.end = make(chan struct{})
	s, end := use(t, f.sessions(t), host.Obligations{}, "splice", "splice")
	if got := heard(t, s); got != "spliced" {
		t.Errorf("the client hears %q", got)
	}
	_, _ = end()
	if f.exec.spliced.Load() != 1 || f.exec.opened.Load() != 2 || f.exec.closed.Load() < 2 {
		t.Errorf("opened %d, spliced %d, closed %d", f.exec.opened.Load(), f.exec.spliced.Load(), f.exec.closed.Load())
	}
}

// A terminal that is open for hours holds no instance: the person, who may hold
// one, uses the plugin meanwhile.
func TestASplicedSessionGivesItsInstanceBack(t *testing.T) {
	f := newFixture(t)
	f.exec.end = make(chan struct{})
	g := f.sessions(t)
	var ends []func() (bool, error)
	for range 3 {
		s, end := use(t, g, host.Obligations{}, "splice")
		if got := heard(t, s); got != "spliced" {
			_, err := end()
			t.Fatalf("the client hears %q: %v", got, err)
		}
		ends = append(ends, end)
	}
	if resp, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/ping")); err != nil || string(resp.Body) != "pong" {
		t.Errorf("%v", err)
	}
	for _, end := range ends {
		if accepted, err := end(); !accepted || host.KindOf(err) != host.KindOf(host.ErrDone) {
			t.Errorf("accepted %v, %v", accepted, err)
		}
	}
	// One that speaks by itself holds its instance.
	s, end := use(t, g, host.Obligations{}, "send", "next")
	heard(t, s)
	if _, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/ping")); host.KindOf(err) != host.Limited {
		t.Errorf("%v", err)
	}
	_, _ = end()
}
