package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// world is a host with the three plugins, and the dev cluster where a test
// asks for it, as real people would meet them: over HTTP.
type world struct {
	url    string
	dir    string // holds bulkhead.yaml, directory, data
	server *Server
	addr   string // where the host listens, if that is not what the URL says
}

// people of every role, several so that tests do not log one another out.
var people = map[string]string{"viewer": "vic wes", "editor": "eve ed1 ed2 ed3 ed4", "admin": "ada"}

// prepare writes a configuration into a fresh directory. kubeconfig is empty
// for a host whose cluster never comes.
func prepare(t testing.TB, kubeconfig string) *world {
	t.Helper()
	return prepareIn(t, t.TempDir(), kubeconfig)
}

func prepareIn(t testing.TB, dir, kubeconfig string) *world {
	t.Helper()
	w := &world{dir: dir}
	var users strings.Builder
	for role, names := range people {
		for _, name := range strings.Fields(names) {
			fmt.Fprintf(&users, "---\napiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: %s}\nspec: {id: %s@example.com, roles: [%s]}\n", name, name, role)
		}
	}
	w.write(t, "directory/people.yaml", users.String())
	if kubeconfig == "" {
		kubeconfig = filepath.Join(w.dir, "absent.kubeconfig")
	}
	charts, err := filepath.Abs("../../examples/charts")
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "bulkhead.yaml", fmt.Sprintf(`
listen: 127.0.0.1:0
data: ./data
auth: {dev: {}}
directory: {files: ./directory}
clusters: [{name: dev, kubeconfig: %q, waitForKubeconfig: true}]
helm: {repositories: [{name: demo, path: %q}]}
plugins:
  - {name: echo, source: %q}
  - name: gitops
    source: %q
    grants:
      helm: [{clusters: ["*"], namespaces: ["*"], actions: ["*"]}]
      kube:
        - {clusters: ["*"], namespaces: ["*"], resources: ["*.argoproj.io", "*.fluxcd.io", "*.operators.coreos.com", configmaps, events], verbs: [get, list, watch, patch]}
    config: {defaultCluster: dev}
  - name: exec
    source: %q
    grants: {exec: [{clusters: ["*"], namespaces: ["*"]}]}
`, kubeconfig, charts, packtest.Build(t, "plugins/echo"), packtest.Build(t, "plugins/gitops"), packtest.Build(t, "plugins/exec")))
	return w
}

func (w *world) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open starts the host from the configuration on disk.
func (w *world) open(t testing.TB) {
	t.Helper()
	if err := w.tryOpen(t); err != nil {
		t.Fatal(err)
	}
}

func (w *world) tryOpen(t testing.TB) error {
	t.Helper()
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		return err
	}
	unbound(c)
	shareCompiled(t, c.Data)
	end, err := w.serve(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the host ended with %v", err)
		}
	})
	return nil
}

// serve opens a host and serves until end is called.
func (w *world) serve(c *Config, log *slog.Logger) (end func() error, err error) {
	s, err := Open(context.Background(), c, log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	w.server, w.url, w.addr = s, s.URL(), s.listener.Addr().String()
	return func() error {
		stop()
		return errors.Join(<-served, s.Close())
	}, nil
}

// sharedWorld is a host that tests share: opening one takes seconds under the
// race detector. It is for tests that change neither configuration nor people.
type sharedWorld struct {
	once sync.Once
	*world
	dir string
	end func() error
}

var alone, clustered sharedWorld

func (s *sharedWorld) get(t testing.TB, kubeconfig string) *world {
	t.Helper()
	s.once.Do(func() {
		dir, err := os.MkdirTemp("", "bulkhead-server-")
		if err != nil {
			t.Fatal(err)
		}
		s.dir = dir
		w := prepareIn(t, dir, kubeconfig)
		c, err := Load(filepath.Join(dir, "bulkhead.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		unbound(c)
		shareCompiled(t, c.Data)
		if s.end, err = w.serve(c, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		s.world = w
	})
	if s.world == nil {
		t.Fatal("the shared host did not start")
	}
	return s.world
}

// close ends the host, if a test used it.
func (s *sharedWorld) close() error {
	if s.end == nil {
		return os.RemoveAll(s.dir)
	}
	return errors.Join(s.end(), os.RemoveAll(s.dir))
}

// unbound lets tests ask as fast as they can, unless they are about that.
func unbound(c *Config) {
	if r := &c.Limits.Rates; r.Client == 0 && r.Account == 0 {
		r.Client, r.Account = -1, -1
	}
}

// shareCompiled keeps compiled plugins between hosts: compiling is slow under
// the race detector and not what these tests are about.
func shareCompiled(t testing.TB, data string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(cache, "bulkhead", "compiled")
	for _, dir := range []string{shared, data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(shared, filepath.Join(data, "compiled")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

// onCluster is a host on the dev cluster.
func onCluster(t testing.TB) (*world, *clustertest.Cluster) {
	t.Helper()
	c := clustertest.Start(t)
	w := clustered.get(t, c.HostKubeconfig)
	eventually(t, "the cluster to be ready", func() bool {
		up, _ := w.server.countClusters()
		return up == 1
	})
	return w, c
}

// withoutCluster is a host that no cluster ever answers.
func withoutCluster(t testing.TB) *world {
	t.Helper()
	return alone.get(t, "")
}

// ownHost is a host for a test that changes its configuration or its people.
func ownHost(t testing.TB) *world {
	t.Helper()
	w := prepare(t, "")
	w.open(t)
	return w
}

// eventually polls with a generous bound.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited a minute for %s", what)
		case <-tick.C:
		}
	}
}

// actor is a person with a browser.
type actor struct {
	t    testing.TB
	w    *world
	http *http.Client
	user string
}

// anonymous is somebody who has not signed in.
func (w *world) anonymous(t testing.TB) *actor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.withJar(t, jar)
}

// withJar is a browser that has these cookies and reaches this host.
func (w *world) withJar(t testing.TB, jar http.CookieJar) *actor {
	a := &actor{t: t, w: w, http: &http.Client{Jar: jar, Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: w.dial}}}
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if w.addr != "" {
		addr = w.addr
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// as signs somebody in.
func (w *world) as(t testing.TB, name string) *actor {
	t.Helper()
	a := w.anonymous(t)
	a.user = name + "@example.com"
	if got := a.post("/auth/login", map[string]string{"user": a.user}); got.status != 200 {
		t.Fatalf("sign-in of %s: %v", name, got)
	}
	return a
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// json decodes the body.
func (a answer) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
}

func (a *actor) do(method, path string, body io.Reader, header http.Header) answer {
	a.t.Helper()
	got, err := a.try(a.t.Context(), method, path, body, header)
	if err != nil {
		a.t.Fatal(err)
	}
	return got
}

func (a *actor) try(ctx context.Context, method, path string, body io.Reader, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.w.url+path, body)
	if err != nil {
		return answer{}, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

func (a *actor) get(path string) answer { a.t.Helper(); return a.do("GET", path, nil, nil) }

var asJSON = http.Header{"Content-Type": {"application/json"}}

// post sends v as JSON; a string is sent as it is.
func (a *actor) post(path string, v any) answer {
	a.t.Helper()
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			a.t.Fatal(err)
		}
		text = string(b)
	}
	return a.do("POST", path, strings.NewReader(text), asJSON)
}

// dial opens a websocket; resp is the refusal when conn is nil.
func (a *actor) dial(path string, protocols ...string) (*websocket.Conn, answer) {
	a.t.Helper()
	d := websocket.Dialer{Jar: a.http.Jar, Subprotocols: protocols, NetDialContext: a.w.dial}
	conn, resp, err := d.DialContext(a.t.Context(), strings.Replace(a.w.url, "http", "ws", 1)+path, nil)
	if err == nil {
		a.t.Cleanup(func() { conn.Close() })
		return conn, answer{status: resp.StatusCode}
	}
	if resp == nil {
		a.t.Fatalf("dial %s: %v", path, err)
	}
	text, _ := io.ReadAll(resp.Body)
	return nil, answer{resp.StatusCode, resp.Header, string(text)}
}

// terminal is an exec socket speaking bulkhead.exec.v1.
type terminal struct {
	t    testing.TB
	conn *websocket.Conn

	mu     sync.Mutex
	output bytes.Buffer // stdout and stderr
	exit   *int
	errors string
	closed *websocket.CloseError
	done   chan struct{}
}

const execProtocol = "bulkhead.exec.v1"

// exec starts a command in a pod of the namespace.
func (a *actor) exec(namespace, pod string, tty bool, command ...string) *terminal {
	a.t.Helper()
	q := "cluster=dev&namespace=" + namespace + "&pod=" + pod
	for _, c := range command {
		q += "&command=" + urlEscape(c)
	}
	if tty {
		q += "&tty=true&cols=80&rows=24"
	}
	conn, refused := a.dial("/ws/exec?"+q, execProtocol)
	if conn == nil {
		a.t.Fatalf("exec is refused: %v", refused)
	}
	x := &terminal{t: a.t, conn: conn, done: make(chan struct{})}
	go x.read()
	return x
}

func (x *terminal) read() {
	defer close(x.done)
	for {
		kind, data, err := x.conn.ReadMessage()
		x.mu.Lock()
		if err != nil {
			if ce, ok := err.(*websocket.CloseError); ok {
				x.closed = ce
			}
			x.mu.Unlock()
			return
		}
		if kind == websocket.BinaryMessage && len(data) > 0 {
			x.output.Write(data[1:])
		} else {
			x.control(data)
		}
		x.mu.Unlock()
	}
}

func (x *terminal) control(data []byte) {
	var m struct {
		Type, Error string
		ExitCode    *int
	}
	if err := json.Unmarshal(data, &m); err != nil {
		x.t.Errorf("control message %q: %v", data, err)
	}
	if m.Type == "exit" {
		x.exit = m.ExitCode
	}
	x.errors += m.Error
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.output.String()
}

// typed sends input.
func (x *terminal) typed(s string) {
	x.t.Helper()
	if err := x.conn.WriteMessage(websocket.BinaryMessage, append([]byte{0}, s...)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) say(control string) {
	x.t.Helper()
	if err := x.conn.WriteMessage(websocket.TextMessage, []byte(control)); err != nil {
		x.t.Fatal(err)
	}
}

// ended waits for the socket's end.
func (x *terminal) ended() (exit *int, closed *websocket.CloseError) {
	x.t.Helper()
	select {
	case <-x.done:
	case <-time.After(time.Minute):
		x.t.Fatal("the socket stays open")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.exit, x.closed
}
