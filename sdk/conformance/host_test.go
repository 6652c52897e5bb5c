package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// authority is a host.Authority that a test takes away.
type authority struct{ cause atomic.Pointer[error] }

func (a *authority) Alive() bool { return a.cause.Load() == nil }
func (a *authority) Cause() error {
	if e := a.cause.Load(); e != nil {
		return *e
	}
	return nil
}
func (a *authority) lose(err error) { a.cause.Store(&err) }

// scripted is a capability whose calls the test answers.
type scripted struct {
	kind *capability.Kind

	mu    sync.Mutex
	calls []*abi.Request
	fetch func(context.Context, *abi.Request) (*abi.Response, error)
	open  func() (capability.Stream, error)
}

// newScripted describes a capability whose URLs are NAME://CLUSTER/…; every call is
// a read of pods in the namespace shop.
func newScripted(name string, streams bool) *scripted {
	s := &scripted{}
	s.kind = &capability.Kind{
		Name: name, Streams: streams, Dimensions: []capability.Dimension{{Name: capability.Clusters}, {Name: capability.Namespaced}},
		Classify: func(r *abi.Request) (capability.Prepared, error) {
			u, err := url.Parse(r.URL[:min(len(r.URL), 100)])
			if err != nil || u.Scheme != name {
				return capability.Prepared{}, host.E(host.Invalid, name, "the URL is not one of %s", name)
			}
			return capability.Prepared{Payload: r, Call: host.CapabilityCall{
				Name: name, Verb: "get", Cluster: u.Host, Namespace: "shop", Resource: "pods", Effect: host.EffectRead,
			}}, nil
		},
	}
	return s
}

func (s *scripted) Kind() *capability.Kind { return s.kind }

func (s *scripted) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	s.mu.Lock()
	s.calls = append(s.calls, p.Payload.(*abi.Request))
	fetch := s.fetch
	s.mu.Unlock()
	if fetch == nil {
		return &abi.Response{Status: 204}, nil
	}
	return fetch(ctx, p.Payload.(*abi.Request))
}

// streams opens what the test says.
type streams struct{ *scripted }

func (s streams) Open(context.Context, *capability.Permit) (capability.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open()
}

// answer says how calls are answered from now on, and forgets those before.
func (s *scripted) answer(fetch func(context.Context, *abi.Request) (*abi.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.fetch = nil, fetch
}

func (s *scripted) seen() []*abi.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// stream sends one message to the client it is spliced to, and ends.
type stream struct{ closed, spliced *atomic.Int32 }

func (stream) Subprotocols() []string { return []string{"stream.v1"} }
func (stream) MaxMessage() int        { return 0 }
func (s stream) Close() error         { s.closed.Add(1); return nil }
func (s stream) Splice(_ context.Context, c capability.Client) error {
	s.spliced.Add(1)
	if err := c.Write(true, []byte("from the stream")); err != nil {
		return err
	}
	return c.Close(host.CloseNormal, "the stream ended")
}

// world is a host with one plugin in it, under real grants, and scripted upstreams.
type world struct {
	registry *plugin.Registry
	plugin   *plugin.Generation
	kube     *scripted
	exec     *scripted
	allow    atomic.Bool
	log      *records
	wasm     string
	fuel     atomic.Uint64 // of the last unary call
}

// records is a slog.Handler's output, as lines of JSON.
type records struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

// take returns what was logged since the last time.
func (r *records) take(t *testing.T) (list []record) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for dec := json.NewDecoder(&r.b); ; {
		var x record
		if err := dec.Decode(&x); err == io.EOF {
			r.b.Reset()
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
}

type record struct{ Level, Msg string }

// cache is where compiled plugins stay between test runs.
func cache(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "bulkhead", "compiled")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

var granted = map[string][]capability.Grant{
	"kube": {{Clusters: []string{"dev"}, Namespaces: []string{"*"}}},
	"exec": {{Clusters: []string{"*"}, Namespaces: []string{"*"}}},
}

// newWorld loads the module in a file, with what a configuration says.
func newWorld(t testing.TB, wasm, config string, limits plugin.Limits) (*world, error) {
	t.Helper()
	w := &world{kube: newScripted("kube", false), exec: newScripted("exec", true), log: &records{}, wasm: wasm}
	w.allow.Store(true)
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	box, err := sandbox.New(sandbox.Config{CacheDir: cache(t), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	decide := func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: w.allow.Load(), Reason: host.Reason{Code: "no_resource"}}
	}
	broker := capability.NewBroker(decide, log, w.kube, streams{w.exec}, newScripted("helm", false))
	w.registry, err = plugin.NewRegistry(plugin.Options{
		Sandbox: box, Broker: broker, Limits: plugin.Limits{BodyBytes: abi.MaxBody}, Dir: filepath.Join(t.TempDir(), "plugins"), Logger: log,
		Counted: func(_ context.Context, m plugin.Measured) { w.fuel.Store(m.Fuel) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.registry.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c := plugin.Config{Name: "mine", Source: wasm, Config: json.RawMessage(config), Grants: granted, Limits: limits}
	if _, err := w.registry.Swap(t.Context(), plugin.Swap{Config: c, Origin: plugin.File}); err != nil {
		return nil, err
	}
	w.plugin = w.registry.Get("mine")
	return w, nil
}

// request is what a test asks of the plugin.
type request struct {
	method, target string // GET
	header         []abi.Pair
	body           []byte
	authority      *authority
	obligations    host.Obligations
	socket         bool
}

func (w *world) call(t testing.TB, r request) *plugin.Call {
	t.Helper()
	if r.method == "" {
		r.method = "GET"
	}
	if r.authority == nil {
		r.authority = &authority{}
	}
	u, err := url.Parse(r.target)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := w.plugin.Match(r.socket, r.method, u.Path, u.Query())
	if m == nil {
		t.Fatalf("no route for %s %s", r.method, r.target)
	}
	return &plugin.Call{
		Match: m, URL: r.target, Header: r.header, Body: r.body, Obligations: r.obligations,
		Caller: &capability.Caller{
			Plugin: "mine", Route: m.Route, Authority: r.authority, RequestID: "r-1", Logger: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Principal: &host.Principal{User: "ann@example.com", Name: "Ann Lee ü", Roles: []string{"editor", "viewer"}, Teams: []string{"ops"}},
		},
	}
}

// do makes a unary call within its deadline of 30 s.
func (w *world) do(t testing.TB, r request) (*abi.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := w.call(t, r)
	defer c.Release()
	return w.plugin.Handle(ctx, c)
}

// get is do for a route that has to answer 200.
func (w *world) get(t *testing.T, target string) string {
	t.Helper()
	return string(w.post(t, target, nil))
}

func (w *world) post(t *testing.T, target string, body []byte) []byte {
	t.Helper()
	r := request{target: target, body: body}
	if body != nil {
		r.method = "POST"
	}
	resp, err := w.do(t, r)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	if resp.Status != 200 {
		t.Fatalf("%s: status %d: %s", target, resp.Status, resp.Body)
	}
	return resp.Body
}

// message is one of a session.
type message struct {
	binary bool
	data   string
}

// client is the user's end of a session; the test speaks through say and hear.
type client struct {
	protocols []string
	in, out   chan message
	gone      chan struct{} // the client has gone, or was closed
	leave     func()

	mu     sync.Mutex
	code   int
	reason string
}

func newClient() *client {
	c := &client{in: make(chan message), out: make(chan message, 64), gone: make(chan struct{})}
	c.leave = sync.OnceFunc(func() { close(c.gone) })
	return c
}

func (c *client) Accept(protocols []string, _ int) (capability.Client, error) {
	c.protocols = protocols
	return c, nil
}
func (c *client) End(cause error) {
	code, reason := host.CloseCode(cause)
	_ = c.Close(code, reason)
}
func (c *client) Touch()              {}
func (c *client) Subprotocol() string { return "" }
func (c *client) Read() (bool, []byte, error) {
	select {
	case m := <-c.in:
		return m.binary, []byte(m.data), nil
	case <-c.gone:
		return false, nil, io.EOF
	}
}
func (c *client) Write(binary bool, data []byte) error {
	select {
	case <-c.gone:
		return io.ErrClosedPipe
	default:
	}
	c.out <- message{binary, string(data)}
	return nil
}
func (c *client) Close(code int, reason string) error {
	c.mu.Lock()
	if c.code == 0 {
		c.code, c.reason = code, reason
	}
	c.mu.Unlock()
	c.leave()
	return nil
}

// say sends a message and returns what comes back.
func (c *client) say(t *testing.T, m message) message {
	t.Helper()
	c.tell(t, m)
	return c.hear(t)
}

func (c *client) tell(t *testing.T, m message) {
	t.Helper()
	select {
	case c.in <- m:
	case <-c.gone:
		t.Fatalf("the session has ended: %d %q", c.code, c.reason)
	case <-t.Context().Done():
	}
}

func (c *client) hear(t *testing.T) message {
	t.Helper()
	select {
	case m := <-c.out:
		return m
	case <-c.gone:
		select {
		case m := <-c.out:
			return m
		default:
			t.Fatalf("the session has ended: %d %q", c.code, c.reason)
		}
	}
	return message{}
}

// ended is what became of a session.
type ended struct {
	response *abi.Response
	accepted bool
	err      error
	code     int // with which the client was closed
	reason   string
}

// session runs a socket or event route. wait waits for its end; stop ends it before.
func (w *world) session(t *testing.T, r request) (c *client, wait func() ended, stop func(error)) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	call, c := w.call(t, r), newClient()
	done := make(chan ended, 1)
	go func() {
		resp, accepted, err := w.plugin.Session(ctx, call, c)
		call.Release()
		c.leave()
		done <- ended{resp, accepted, err, c.code, c.reason}
	}()
	wait = sync.OnceValue(func() ended { return <-done })
	t.Cleanup(func() { cancel(host.ErrDone); c.leave(); wait() })
	return c, wait, cancel
}

// statusOf is the HTTP status of an error that the host would answer with.
func statusOf(err error) int {
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e.HTTPStatus()
	}
	return 0
}

// raw is the module alone in the sandbox: the test enters its exports.
type raw struct {
	module   *sandbox.Module
	instance *sandbox.Instance
}

func newRaw(t *testing.T, wasm string) *raw {
	t.Helper()
	module, err := os.ReadFile(wasm)
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: cache(t)})
	if err != nil {
		t.Fatal(err)
	}
	i32, i64 := sandbox.I32, sandbox.I64
	entry := sandbox.Signature{Params: []sandbox.Type{i32, i32}, Results: []sandbox.Type{i64}}
	call := sandbox.Signature{Params: []sandbox.Type{i32, i32, i32, i32}, Results: []sandbox.Type{i64}}
	spec := sandbox.Spec{
		Name: "raw", Limits: sandbox.Limits{MemoryBytes: 128 << 20},
		Exports: map[string]sandbox.Signature{
			abi.ExportAlloc: {Params: []sandbox.Type{i32}, Results: []sandbox.Type{i32}},
			abi.ExportStart: entry, abi.ExportHandle: entry, abi.ExportSession: entry,
		},
		Optional: map[string]sandbox.Signature{abi.ExportInitialize: {}},
		Init: func(ctx context.Context, i *sandbox.Instance) error {
			if !i.Has(abi.ExportInitialize) {
				return nil
			}
			_, err := i.Call(ctx, abi.ExportInitialize)
			return err
		},
	}
	for name, s := range map[string]sandbox.Signature{
		abi.ModuleABI + " " + abi.ImportTake:                 {Params: entry.Params, Results: entry.Results},
		abi.ModuleLog + " " + abi.ImportWrite:                {Params: []sandbox.Type{i32, i32, i32}},
		abi.ModuleLog + " " + abi.ImportRecord:               {Params: []sandbox.Type{i32, i32, i32, i32, i32}},
		abi.ModuleSession + " " + abi.ImportNext:             {Params: []sandbox.Type{i32, i32, i32}, Results: []sandbox.Type{i64}},
		abi.ModuleSession + " " + abi.ImportSend:             {Params: entry.Params, Results: []sandbox.Type{i32}},
		abi.ModuleSession + " " + abi.ImportClose:            {Params: []sandbox.Type{i32, i32, i32}, Results: []sandbox.Type{i32}},
		abi.ModuleSession + " " + abi.ImportSplice:           {Params: []sandbox.Type{i32}, Results: []sandbox.Type{i32}},
		abi.CapabilityModule("kube") + " " + abi.ImportFetch: call,
		abi.CapabilityModule("kube") + " " + abi.ImportOpen:  call,
		abi.CapabilityModule("helm") + " " + abi.ImportFetch: call,
		abi.CapabilityModule("helm") + " " + abi.ImportOpen:  call,
		abi.CapabilityModule("exec") + " " + abi.ImportFetch: call,
		abi.CapabilityModule("exec") + " " + abi.ImportOpen:  call,
	} {
		from, function, _ := strings.Cut(name, " ")
		spec.Imports = append(spec.Imports, sandbox.Import{Module: from, Name: function, Signature: s,
			Call: func(_ context.Context, _ sandbox.Memory, stack []uint64) {
				if len(s.Results) > 0 {
					stack[0] = 0
				}
			}})
	}
	r := &raw{}
	if r.module, err = box.Load(t.Context(), module, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.module.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// enter calls an entry with a frame, and returns the frame that it returns.
func (r *raw) enter(t *testing.T, export string, frame []byte) []byte {
	t.Helper()
	at, err := r.instance.Call(t.Context(), abi.ExportAlloc, uint64(len(frame)))
	if err != nil || at == 0 || !r.instance.Memory().Write(uint32(at), frame) {
		t.Fatalf("%s(%d) returns %d, %v", abi.ExportAlloc, len(frame), at, err)
	}
	result, err := r.instance.Call(t.Context(), export, at, uint64(len(frame)))
	if err != nil {
		t.Fatal(err)
	}
	out, ok := r.instance.Memory().Copy(uint32(result>>32), uint32(result))
	if !ok {
		t.Fatalf("%s returns %#x", export, result)
	}
	return out
}
