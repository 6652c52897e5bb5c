package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/kube"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// client-go's heartbeat notices the end of its connection at its next tick, 5 s at most.
		goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// SPDY's connection waits a second for a taker of its last error.
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"),
	)
}

func TestWhatIsNoCommand(t *testing.T) {
	got, err := classifyAlias(&abi.Request{Method: "GET", URL: "exec://dev/shop/web-1?container=a&command=ls&command=-l&tty=true&cols=80&rows=24"})
	if err != nil || got.Call.String() != "exec create pods/exec dev/shop/web-1" {
		t.Errorf("got %v, %v", got.Call, err)
	}
	for _, bad := range []string{
		"POST exec://dev/shop/web", "GET exec://dev/shop", "GET exec://dev/shop/web/x", "GET exec://dev/Shop/web", "GET exec://dev/shop/we_b",
		"GET exec://dev/shop/web?container=A", "GET exec://dev/shop/web?container=a&container=b", "GET exec://dev/shop/web?tty=maybe", "GET exec://dev/shop/web?cols=0",
		"GET exec://dev/shop/web?rows=70000", "GET exec://dev/shop/web?command=", "GET exec://dev/shop/web?shell=sh", "GET exec://dev/shop/web?" + strings.Repeat("command=x&", maxCommand+1),
		"GET exec://dev/shop/web?command=" + strings.Repeat("x", maxWords+1),
	} {
		method, target, _ := strings.Cut(bad, " ")
		if got, err := classifyAlias(&abi.Request{Method: method, URL: target}); host.KindOf(err) != host.Invalid {
			t.Errorf("%.80s: got %+v, %v", bad, got.Call, err)
		}
	}
}

// message is one of a socket.
type message struct {
	binary bool
	data   []byte
}

// socket is a person's end: what the test sends, and what arrived.
type socket struct {
	protocol string
	in       chan message
	out      chan message
	closed   chan string // code and reason, once
	gone     chan struct{}
	once     sync.Once
}

func newSocket(protocol string) *socket {
	return &socket{protocol: protocol, in: make(chan message), out: make(chan message, 1024), closed: make(chan string, 1), gone: make(chan struct{})}
}

func (s *socket) Touch()              {}
func (s *socket) Subprotocol() string { return s.protocol }

func (s *socket) Read() (bool, []byte, error) {
	select {
	case m := <-s.in:
		return m.binary, m.data, nil
	case <-s.gone:
		return false, nil, io.EOF
	}
}

func (s *socket) Write(binary bool, data []byte) error {
	select {
	case s.out <- message{binary, bytes.Clone(data)}:
		return nil
	case <-s.gone:
		return io.ErrClosedPipe
	}
}

func (s *socket) Close(code int, reason string) error {
	s.once.Do(func() {
		s.closed <- fmt.Sprint(code, " ", reason)
		close(s.gone)
	})
	return nil
}

func (s *socket) send(t *testing.T, binary bool, data string) {
	t.Helper()
	select {
	case s.in <- message{binary, []byte(data)}:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody reads")
	}
}

// until collects what arrives until it contains want.
func (s *socket) until(t *testing.T, want string) string {
	t.Helper()
	var all strings.Builder
	for deadline := time.After(10 * time.Second); !strings.Contains(all.String(), want); {
		select {
		case m := <-s.out:
			fmt.Fprintf(&all, "%q ", m.data)
		case <-deadline:
			t.Fatalf("waiting for %s, got %s", want, all.String())
		}
	}
	return all.String()
}

func (s *socket) wantClosed(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.closed:
		if strings.TrimSpace(got) != want {
			t.Errorf("closed with %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the socket stays open")
	}
}

// scene opens commands through a broker whose policy allows everything.
type scene struct {
	granted *capability.Granted
	caller  *capability.Caller
	auth    *clustertest.Authority
	pod     string
	casts   string // where recordings are

	obligations host.Obligations // of calls that are not of kube
	deny        func(*host.CapabilityCall) bool
}

func newScene(t *testing.T, user *host.Impersonation, o host.Obligations) *scene {
	t.Helper()
	x := &scene{obligations: o, auth: &clustertest.Authority{}}
	policy := func(_ context.Context, q *host.Question) host.Decision {
		d := host.Decision{Allow: x.deny == nil || !x.deny(q.Capability)}
		if q.Capability.Name != "kube" {
			d.Obligations = x.obligations
		}
		d.Obligations.Impersonate = user
		if q.Principal.User != "x" { // as says as whom
			d.Obligations.Impersonate = &host.Impersonation{User: string(q.Principal.User)}
		}
		return d
	}
	set := clustertest.Start(t).Open(t)
	casts := filepath.Join(t.TempDir(), "recordings")
	recordings, err := recording.Open(casts, recording.Config{MaxMiB: 1, Input: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	any := []string{"*"}
	granted, err := capability.NewBroker(policy, slog.New(slog.DiscardHandler), New(NewAlias(), set, recordings), New(NewKind(), set, recordings), kube.New(set)).Grant("p", map[string][]capability.Grant{
		"exec": {{Clusters: any, Namespaces: any}},
		"pods": {{Clusters: any, Namespaces: any, Resources: any, Verbs: any}},
		"kube": {{Clusters: any, Namespaces: any, Resources: any, Verbs: any}},
	})
	if err != nil {
		t.Fatal(err)
	}
	x.granted, x.casts = granted, casts
	x.caller = &capability.Caller{Principal: &host.Principal{User: "x"}, Route: host.Route{Mutates: true}, Authority: x.auth}
	x.pod = x.pods(t, "web")[0]
	return x
}

// as returns a scene of another user, with the same policy.
func (x *scene) as(user *host.Impersonation) *scene {
	other := *x
	other.caller = &capability.Caller{Principal: &host.Principal{User: host.UserID(user.User)}, Route: host.Route{Mutates: true}, Authority: x.auth}
	return &other
}

// pods returns the names of the pods of an application, sorted.
func (x *scene) pods(t *testing.T, app string) (names []string) {
	t.Helper()
	resp, err := x.granted.Fetch(t.Context(), x.caller, "kube", &abi.Request{Method: "GET", URL: "kube://dev/api/v1/namespaces/shop/pods?labelSelector=app%3D" + app})
	if err != nil {
		t.Fatal(err)
	}
	var pods struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(resp.Body, &pods); err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pod: %v", err)
	}
	for _, item := range pods.Items {
		names = append(names, item.Metadata.Name)
	}
	slices.Sort(names)
	return names
}

func (x *scene) open(t *testing.T, pod, query string) (capability.Stream, error) {
	t.Helper()
	return x.granted.Open(t.Context(), x.caller, "exec", &abi.Request{Method: "GET", URL: "exec://dev/shop/" + pod + "?" + query})
}

// splice runs a command on a socket; the result arrives once it is over.
func (x *scene) splice(t *testing.T, ctx context.Context, protocol, query string) (*socket, <-chan error) {
	t.Helper()
	s, err := x.open(t, x.pod, query)
	if err != nil {
		t.Fatal(err)
	}
	c, done := newSocket(protocol), make(chan error, 1)
	go func() { done <- s.Splice(ctx, c) }()
	t.Cleanup(func() { _ = c.Close(1001, "the test is over") })
	return c, done
}

func sh(script string) string {
	return "command=/bin/sh&command=-c&command=" + strings.NewReplacer(" ", "+", ";", "%3B", "&", "%26", "'", "%27", "\"", "%22", "#", "%23").Replace(script)
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the splice goes on")
		return nil
	}
}

func TestExecEchoAndExitCode(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	t.Run(ControlProtocol, func(t *testing.T) {
		c, done := x.splice(t, t.Context(), ControlProtocol, sh("read a; echo got $a; cat; echo low >&2; exit 7"))
		c.until(t, `{\"type\":\"started\"}`)
		c.send(t, true, "\x00hello\n")
		c.until(t, "\x01got hello"[1:])
		c.send(t, true, "\x00\xff\xfe\x00binary")
		c.until(t, `\x01\xff\xfe\x00binary`)
		c.send(t, false, `{"type":"eof"}`)
		if all := c.until(t, "exitCode"); !strings.Contains(all, `{\"exitCode\":7,\"type\":\"exit\"}`) || !strings.Contains(all, `\x02low`) {
			t.Errorf("it ended with %s", all)
		}
		c.wantClosed(t, "1000")
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	})
	t.Run(ChannelProtocol, func(t *testing.T) {
		c, done := x.splice(t, t.Context(), ChannelProtocol, sh("cat; exit 7"))
		c.send(t, true, "\x00to the end")
		c.send(t, true, "\xff\x00")
		all := c.until(t, "ExitCode")
		for _, part := range []string{`\x01to the end`, `\x03{`, `NonZeroExitCode`, `\"message\":\"7\"`} {
			if !strings.Contains(all, part) {
				t.Errorf("%s is missing in %s", part, all)
			}
		}
		c.wantClosed(t, "1000")
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	})
}

func TestTerminalKnowsItsSize(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	const script = "until [ $(stty size | cut -d' ' -f2) = 100 ]; do sleep 0.05; done; stty size; until [ $(stty size | cut -d' ' -f2) = 120 ]; do sleep 0.05; done; stty size"
	c, done := x.splice(t, t.Context(), ControlProtocol, "tty=true&cols=100&rows=30&"+sh(script))
	c.until(t, "30 100")
	c.send(t, false, `{"type":"resize","cols":120,"rows":40}`)
	c.until(t, "40 120")
	c.wantClosed(t, "1000")
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

func TestInputIsNeverDropped(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	c, done := x.splice(t, t.Context(), ControlProtocol, sh("sleep 0.3; wc -c"))
	const messages, size = 64, 64 << 10
	chunk := "\x00" + strings.Repeat("x", size)
	for range messages {
		c.send(t, true, chunk)
	}
	c.send(t, false, `{"type":"eof"}`)
	c.until(t, fmt.Sprint(messages*size))
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

func TestBreachesOfTheProtocolAreAnswered(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	for _, c := range []struct {
		protocol string
		binary   bool
		data     string
		closed   string
	}{
		{ControlProtocol, false, `{"type":"resize","cols":0}`, "1007"},
		{ControlProtocol, false, `{"type":"eof","rows":1}`, "1007"},
		{ControlProtocol, false, `{"type":"signal"}`, "1008"},
		{ControlProtocol, false, `nonsense`, "1007"},
		{ControlProtocol, true, "", "1007"},
		{ControlProtocol, true, "\x01output", "1008"},
		{ControlProtocol, true, strings.Repeat("\x00", stream.MaxMessage+1), "1009"},
		{ChannelProtocol, false, "text", "1007"},
		{ChannelProtocol, true, "", "1007"},
		{ChannelProtocol, true, "\x04{}", "1007"},
		{ChannelProtocol, true, "\x07x", "1008"},
		{ChannelProtocol, true, "\xff\x01", "1008"},
	} {
		t.Run(fmt.Sprintf("%s %.20q", c.protocol, c.data), func(t *testing.T) {
			s, done := x.splice(t, t.Context(), c.protocol, sh("cat"))
			s.send(t, c.binary, c.data)
			err := wait(t, done)
			if host.KindOf(err) != host.Invalid {
				t.Errorf("got %v", err)
			}
			told := "error"
			if c.protocol == ChannelProtocol {
				told = "Failure"
			}
			s.until(t, told)
			if got := <-s.closed; !strings.HasPrefix(got, c.closed) {
				t.Errorf("closed with %s, want %s", got, c.closed)
			}
		})
	}
}

func TestLogoutKillsExec(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	marker := filepath.Join(t.TempDir(), "alive") // the dev cluster's commands run on this machine
	ctx, cancel := context.WithCancelCause(t.Context())
	c, done := x.splice(t, ctx, ControlProtocol, sh("echo up; while :; do touch '"+marker+"'; sleep 0.05; done"))
	c.until(t, "up")
	x.auth.Lose(host.ErrLoggedOut)
	cancel(host.ErrLoggedOut)
	if err := wait(t, done); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("got %v", err)
	}
	if len(c.closed) > 0 {
		t.Error("the socket was closed without the cause's code")
	}
	stays := func() bool { // absent for five of the command's rounds
		_ = os.Remove(marker)
		time.Sleep(250 * time.Millisecond)
		_, err := os.Stat(marker)
		return errors.Is(err, os.ErrNotExist)
	}
	for deadline := time.Now().Add(5 * time.Second); !stays(); {
		if time.Now().After(deadline) {
			t.Fatal("the command lives on")
		}
	}
}

func TestNoFramePassesWithoutAuthority(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	c, done := x.splice(t, t.Context(), ControlProtocol, sh("echo up; read a; echo secret; sleep 5"))
	c.until(t, "up")
	x.auth.Lose(host.ErrRevoked) // and the session's context was not cancelled yet
	c.send(t, true, "\x00go\n")
	if err := wait(t, done); !errors.Is(err, host.ErrRevoked) {
		t.Errorf("got %v", err)
	}
	for len(c.out) > 0 {
		t.Errorf("%q passed", (<-c.out).data)
	}
}

// What is typed after a logout has no effect, also while the session's context is
// not cancelled yet: the file that the input asks for is never made.
func TestInputStopsWithAuthority(t *testing.T) {
	for _, protocol := range []string{ControlProtocol, ChannelProtocol} {
		x := newScene(t, clustertest.Editor, host.Obligations{})
		first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
		c, done := x.splice(t, t.Context(), protocol, sh("while read file; do touch $file; echo made $file; done"))
		c.send(t, true, "\x00"+first+"\n")
		c.until(t, "made "+first)
		if _, err := os.Stat(first); err != nil {
			t.Fatal(err)
		}
		x.auth.Lose(host.ErrLoggedOut)
		c.send(t, true, "\x00"+second+"\n")
		if err := wait(t, done); !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("%s: got %v", protocol, err)
		}
		time.Sleep(250 * time.Millisecond) // the command's time to do what it must not
		if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: what was typed after the logout had an effect: %v", protocol, err)
		}
	}
}

func TestSessionsEndWithTheirLimitsAndClients(t *testing.T) {
	for name, limit := range map[string]struct {
		o     host.Obligations
		leave bool
		want  error
	}{
		"too long":    {o: host.Obligations{MaxSession: 300 * time.Millisecond}, want: host.ErrTooLong},
		"idle":        {o: host.Obligations{Idle: 300 * time.Millisecond}, want: host.ErrIdle},
		"client gone": {leave: true, want: host.ErrClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			x := newScene(t, clustertest.Editor, limit.o)
			c, done := x.splice(t, t.Context(), ControlProtocol, sh("sleep 60"))
			if limit.leave {
				_ = c.Close(1001, "")
			}
			if err := wait(t, done); !errors.Is(err, limit.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// recorded is the one recording that there is, with its events as text.
func (x *scene) recorded(t *testing.T) (*recording.Entry, string) {
	t.Helper()
	list, err := recording.List(x.casts)
	if err != nil || len(list) != 1 {
		t.Fatalf("recordings are %+v, %v", list, err)
	}
	var all strings.Builder
	e, err := recording.Read(x.casts, list[0].ID, func(v recording.Event) error {
		fmt.Fprintf(&all, "%s %q\n", v.Kind, v.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, all.String()
}

func TestATerminalIsRecordedAsPolicySays(t *testing.T) {
	for _, c := range []struct {
		route, call host.Record
		input       bool
	}{
		{"", host.RecordOutput, false}, {host.RecordOutput, "", false}, {"", host.RecordAll, true}, {host.RecordAll, host.RecordOutput, true},
	} {
		t.Run(fmt.Sprintf("%q %q", c.route, c.call), func(t *testing.T) {
			x := newScene(t, clustertest.Editor, host.Obligations{Record: c.call})
			x.caller.Obligations.Record = c.route
			x.caller.Reason = "INC-1"
			s, done := x.splice(t, t.Context(), ControlProtocol, "tty=true&"+sh("stty -echo; echo ready; read a; echo got it; exit 3"))
			s.until(t, `\"recorded\":true`)
			s.until(t, "ready")
			s.send(t, false, `{"type":"resize","cols":100,"rows":30}`)
			s.send(t, true, "\x00hunter2\n")
			s.until(t, "exitCode")
			if err := wait(t, done); err != nil {
				t.Fatal(err)
			}
			e, events := x.recorded(t)
			if e.User != "x" || e.Target() != "dev/shop/"+x.pod || e.Reason != "INC-1" || e.Ended != "ended" || !strings.HasPrefix(e.Command, "/bin/sh -c stty") {
				t.Errorf("the recording is of %+v", e)
			}
			if !strings.Contains(events, "ready") || !strings.Contains(events, `r "100x30"`) || !strings.Contains(events, "got it") {
				t.Errorf("recorded\n%s", events)
			}
			if strings.Contains(events, "hunter2") != c.input {
				t.Errorf("input is recorded: %v\n%s", !c.input, events)
			}
		})
	}
}

func TestWhatCannotBeRecordedEnds(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{Record: host.RecordOutput})
	_, done := x.splice(t, t.Context(), ControlProtocol, sh("head -c 4000000 /dev/zero | tr '\\000' x; sleep 60"))
	if err := wait(t, done); host.KindOf(err) != host.Limited {
		t.Errorf("got %v", err)
	}
	if e, _ := x.recorded(t); !strings.Contains(e.Ended, "full") || e.Bytes > 1<<20+1<<10 {
		t.Errorf("the recording is %+v", e)
	}
}

func TestALogoutIsInTheRecording(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{Record: host.RecordOutput})
	ctx, cancel := context.WithCancelCause(t.Context())
	s, done := x.splice(t, ctx, ControlProtocol, sh("echo up; sleep 60"))
	s.until(t, "up")
	x.auth.Lose(host.ErrLoggedOut)
	cancel(host.ErrLoggedOut)
	_ = wait(t, done)
	if e, events := x.recorded(t); e.Ended != "logged out" || !strings.Contains(events, "up") {
		t.Errorf("the recording is %+v\n%s", e, events)
	}
}

func TestWithoutARecordingNothingOpens(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{Record: host.RecordOutput})
	s, err := x.open(t, x.pod, sh("true"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := recording.List(x.casts); err != nil || len(list) > 0 {
		t.Errorf("a terminal that was never used left %+v, %v", list, err)
	}
	if err := os.RemoveAll(x.casts); err != nil {
		t.Fatal(err)
	}
	if s, err := x.open(t, x.pod, sh("true")); s != nil || host.KindOf(err) != host.Unavailable {
		t.Errorf("got %v, %v", s, err)
	}
	for _, record := range []host.Record{host.RecordOutput, host.RecordAll} {
		if r, err := New(NewKind(), nil, nil).record(&capability.Permit{Caller: x.caller, Obligations: host.Obligations{Record: record}}, &request{}, &cluster.ExecOptions{}); r != nil || host.KindOf(err) != host.Forbidden {
			t.Errorf("without recordings: %v, %v", r, err)
		}
	}
}

func TestRefusalsComeBeforeTheUpgrade(t *testing.T) {
	editor := newScene(t, clustertest.Editor, host.Obligations{})
	for query, status := range map[string]int{
		"absent-pod?":                   404,
		editor.pod + "?container=other": 400,
		editor.pod + "?tty=maybe":       400,
	} {
		pod, query, _ := strings.Cut(query, "?")
		_, err := editor.open(t, pod, query)
		if e, ok := errors.AsType[*host.Error](err); !ok || e.HTTPStatus() != status {
			t.Errorf("%s?%s: got %v, want %d", pod, query, err, status)
		}
	}
	viewer := newScene(t, clustertest.Viewer, host.Obligations{})
	for _, pod := range []string{viewer.pod, "absent-pod"} {
		_, err := viewer.open(t, pod, "")
		if x := capability.ErrorFrame(err); x.Status != 403 || x.Origin != abi.OriginUpstream || strings.Contains(x.Message+x.Detail, pod) {
			t.Errorf("%s: a viewer learns %+v", pod, x)
		}
	}
	if _, err := editor.granted.Fetch(t.Context(), editor.caller, "exec", &abi.Request{Method: "GET", URL: "exec://dev/shop/" + editor.pod}); host.KindOf(err) != host.Invalid {
		t.Errorf("exec was fetched: %v", err)
	}
}

func TestStreamIsUsedOnce(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	s, err := x.open(t, x.pod, sh("true"))
	if err != nil {
		t.Fatal(err)
	}
	if n := s.MaxMessage(); n != stream.MaxMessage+1 {
		t.Errorf("the socket may read %d bytes of a message", n)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if err := s.Splice(t.Context(), newSocket(ControlProtocol)); host.KindOf(err) != host.Conflict {
		t.Errorf("got %v", err)
	}
}

// bind gives the user a role of this test alone in the namespace shop.
func bind(t *testing.T, user string, rules string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", clustertest.Start(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}
	t.Cleanup(client.CloseIdleConnections)
	base := config.Host + "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/"
	send := func(method, url, body string, want int) string {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s %s: %s %s", method, url, resp.Status, text)
		}
		return string(text)
	}
	name := "test-" + user
	subject := `{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"` + user + `"}`
	send("POST", base+"roles", `{"metadata":{"name":"`+name+`"},"rules":`+rules+`}`, 201)
	send("POST", base+"rolebindings", `{"metadata":{"name":"`+name+`"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"`+name+`"},"subjects":[`+subject+`]}`, 201)
	t.Cleanup(func() {
		send("DELETE", base+"rolebindings/"+name, "", 200)
		send("DELETE", base+"roles/"+name, "", 200)
	})
	// The API server reads roles from a cache.
	review := `{"spec":{"user":"` + user + `","resourceAttributes":{"namespace":"shop","verb":"list","resource":"pods"}}}`
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(send("POST", config.Host+"/apis/authorization.k8s.io/v1/subjectaccessreviews", review, 201), `"allowed":true`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the role does not arrive")
		}
	}
}

// Origin: create on pods/exec was documented as enough, but the WebSocket's GET
// takes get as well, and its refusal came after the person's own upgrade.
func TestWhatOfRBACATerminalTakes(t *testing.T) {
	pods := `{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}`
	exec := func(verbs string) string {
		return `[` + pods + `,{"apiGroups":[""],"resources":["pods/exec"],"verbs":[` + verbs + `]}]`
	}
	for name, c := range map[string]struct {
		user, rules, lacks string
	}{
		"create alone":   {"exec-create", exec(`"create"`), ""},
		"create and get": {"exec-both", exec(`"create","get"`), ""},
		"get alone":      {"exec-get", exec(`"get"`), `create pods/exec in namespace "shop"`},
		"neither":        {"exec-none", `[` + pods + `]`, `create pods/exec in namespace "shop"`},
	} {
		t.Run(name, func(t *testing.T) {
			bind(t, c.user, c.rules)
			x := newScene(t, &host.Impersonation{User: c.user}, host.Obligations{})
			if c.lacks != "" {
				_, err := x.open(t, x.pod, "command=true")
				if e := capability.ErrorFrame(err); e.Status != 403 || !strings.Contains(e.Message, c.lacks) {
					t.Errorf("%+v", e)
				}
				return
			}
			s, done := x.splice(t, t.Context(), ControlProtocol, "command=sh&command=-c&command="+url.QueryEscape("read x; echo got $x; exit 3"))
			s.until(t, "started")
			s.send(t, true, "\x00hello\n")
			all := s.until(t, `exitCode`)
			if !strings.Contains(all, "got hello") || !strings.Contains(all, `3`) {
				t.Errorf("%s", all)
			}
			s.wantClosed(t, "1000")
			if err := <-done; err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// RBAC requires create to open a terminal, so directory permissions do too.
func TestATerminalNeedsTheVerbCreate(t *testing.T) {
	call := &host.CapabilityCall{Name: "exec", Verb: "get", Resource: "pods", Subresource: "exec"}
	if resource, verb := NewAlias().Permission(call); resource != "pods/exec" || verb != "create" {
		t.Errorf("a permission must cover %s of %s", verb, resource)
	}
}
