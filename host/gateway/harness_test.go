package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/account"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/admin"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/policies"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	code := m.Run()
	if shared.close != nil {
		shared.close()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// surface is a gateway with what it stands on, behind a real HTTP server: the
// store, sessions, the shipped policy, and the plugin probe. ann is an admin, vic
// a viewer of everything, nia may do nothing.
type surface struct {
	*gateway.Gateway
	url      string
	addr     string
	sessions *session.Table
	log      *logBuffer
	server   *httptest.Server

	mu     sync.Mutex
	decide func(host.Decision) host.Decision // changes what policy decided; nil: nothing
}

// logBuffer is what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var shared struct {
	once sync.Once
	*surface
	close func()
}

// open returns the surface that tests share. What a test changes by oblige is its
// own until it ends; tests do not run in parallel.
func open(t *testing.T) *surface {
	t.Helper()
	shared.once.Do(func() {
		var undo []func()
		shared.surface = start(t, func(f func()) { undo = append(undo, f) })
		shared.close = func() {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	})
	if shared.surface == nil {
		t.Fatal("the shared surface did not start")
	}
	return shared.surface
}

// oblige has policy decide differently until the test ends.
func (s *surface) oblige(t *testing.T, f func(host.Decision) host.Decision) {
	set := func(f func(host.Decision) host.Decision) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.decide = f
	}
	set(f)
	t.Cleanup(func() { set(nil) })
}

const directoryYAML = `
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec: {id: ann@example.com, roles: [admin]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: vic}
spec: {id: vic@example.com, roles: [viewer]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: nia}
spec: {id: nia@example.com}
`

type knownPeople struct{ *directory.Directory }

func (p knownPeople) PersonOf(who *host.Principal) (authn.Person, bool) {
	x, ok := p.Directory.PersonOf(who)
	return authn.Person{Name: x.Name, Roles: x.Roles, Teams: x.Teams}, ok
}

func start(t *testing.T, cleanup func(func())) *surface {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "bulkhead-gateway-")
	must(err)
	cleanup(func() { _ = os.RemoveAll(dir) })
	must(os.MkdirAll(filepath.Join(dir, "directory"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "directory", "people.yaml"), []byte(directoryYAML), 0o600))
	s := &surface{log: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := context.Background()
	people, err := directory.Open(ctx, directory.Config{Dir: filepath.Join(dir, "directory"), Base: policies.Roles(), Kinds: new(all.Config).Catalog()})
	must(err)
	cleanup(func() { _ = people.Close() })
	var decisions audit.Config
	must(json.Unmarshal(fmt.Appendf(nil, `{"file":{"path":%q}}`, filepath.Join(dir, "decisions.jsonl")), &decisions))
	engine, err := authz.Open(ctx, authz.Config{Directory: people, Log: decisions})
	must(err)
	cleanup(func() { _ = engine.Close() })
	store, err := state.Open(ctx, state.Config{Dir: filepath.Join(dir, "data")})
	must(err)
	cleanup(func() { _ = store.Close() })
	decide := func(ctx context.Context, q *host.Question) host.Decision {
		d := engine.Decide(ctx, q)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.decide != nil {
			d = s.decide(d)
		}
		return d
	}
	s.sessions = session.NewTable(store.Revoked, session.Options{Lapsed: store.Lapsed, Decide: decide})
	cache, err := os.UserCacheDir()
	must(err)
	box, err := sandbox.New(sandbox.Config{CacheDir: filepath.Join(cache, "bulkhead", "compiled"), Logger: log})
	must(err)
	plugins := plugin.NewRegistry(box, capability.NewBroker(decide, log), plugin.Limits{}, plugin.UserLimits{}, log)
	cleanup(func() { _ = plugins.Close(ctx) })
	must(plugins.Load(ctx, plugin.Config{Name: "probe", Source: packtest.Build(t, "host/gateway/testdata/probe")}))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s.addr = listener.Addr().String()
	public := &url.URL{Scheme: "http", Host: s.addr}
	s.url = public.String()
	signIn, err := authn.New(authn.Config{
		PublicURL: public, State: store, Sessions: s.sessions, Directory: knownPeople{people},
		Options: authn.Options{Dev: &struct{}{}}, Rates: authn.Rates{Client: -1, Account: -1}, Logger: log,
	})
	must(err)
	s.Gateway = gateway.New(gateway.Config{
		Listen: s.addr, PublicURL: public, Authn: signIn, Sessions: s.sessions, Decide: decide, Health: healthy, Logger: log,
	})
	account.Mount(s.Gateway, account.Config{SignIn: signIn, Sessions: s.sessions, Store: store, Plugins: plugins.List, Would: engine.Would})
	admin.Mount(s.Gateway, admin.Config{
		Sessions: s.sessions, Store: store, Directory: people, HostView: func(string) *policytool.HostView { return &policytool.HostView{} },
		Policy: &policytool.Tools{Engine: engine, Directory: people, Log: decisions.File},
	})
	door.Mount(s.Gateway, door.Config{Plugin: func(name string) (door.Plugin, bool) { p := plugins.Get(name); return p, p != nil }})
	s.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.Gateway, MaxHeaderBytes: gateway.MaxHeaderBytes}}
	s.server.Start()
	cleanup(s.server.Close)
	cleanup(func() { s.sessions.Shutdown(ctx) })
	return s
}

var healthy = gateway.Health{
	Version: "test", Started: time.Now(), Checks: func() map[string]error { return nil }, Degraded: func() map[string]error { return nil },
	Clusters: func() (int, int) { return 0, 0 }, Stopping: func() bool { return false },
}

// person is a user with a browser.
type person struct {
	t    *testing.T
	s    *surface
	user host.UserID
	http *http.Client
}

// as signs in; an empty name does not.
func (s *surface) as(t *testing.T, name string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, s: s, http: &http.Client{
		Jar: jar, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(p.http.CloseIdleConnections)
	if name == "" {
		return p
	}
	p.user = host.UserID(name + "@example.com")
	if got := p.do("POST", "/auth/login", fmt.Sprintf(`{"user":%q}`, p.user)); got.status != 200 {
		t.Fatalf("sign-in: %v", got)
	}
	return p
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

// problem is the answer's error, which has to have the shape of all errors.
func (a answer) problem(t *testing.T) gateway.ErrorBody {
	t.Helper()
	var e gateway.ErrorBody
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || e.Error == "" || e.RequestID == "" || e.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("%v is no error of the host: %v", a, err)
	}
	return e
}

// do sends a request; header are lines "Name: value".
func (p *person) do(method, path, body string, header ...string) answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.s.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// cookie is the header line that signs p in.
func (p *person) cookie() string {
	u, _ := url.Parse(p.s.url)
	var all []string
	for _, c := range p.http.Jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return "Cookie: " + strings.Join(all, "; ") + "\r\n"
}

// raw sends bytes on a connection of their own.
func (s *surface) raw(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	// A bound on the test, should nothing come.
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// read reads one answer.
func read(t *testing.T, conn net.Conn, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// dial opens a websocket; got is the refusal when there is none.
func (p *person) dial(path string, protocols ...string) (conn *websocket.Conn, got answer) {
	p.t.Helper()
	d := websocket.Dialer{Jar: p.http.Jar, Subprotocols: protocols}
	conn, resp, err := d.DialContext(p.t.Context(), strings.Replace(p.s.url, "http", "ws", 1)+path, nil)
	if err == nil {
		p.t.Cleanup(func() { conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // a bound on the test
		return conn, answer{status: resp.StatusCode, header: resp.Header}
	}
	if resp == nil {
		p.t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	return nil, answer{resp.StatusCode, resp.Header, string(text)}
}

// wantClose reads until the socket is closed.
func wantClose(t *testing.T, conn *websocket.Conn, code int, reason string) {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue
		}
		if ce, ok := err.(*websocket.CloseError); !ok || ce.Code != code || !strings.Contains(ce.Text, reason) {
			t.Errorf("closed with %v, want %d %q", err, code, reason)
		}
		return
	}
}

// eventually polls for what another goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}
