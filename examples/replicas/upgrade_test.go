// Package replicas upgrades several hosts on one etcd, and back, while they are used.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func TestMain(m *testing.M) {
	statetest.Member()
	os.Exit(m.Run())
}

// build builds a host of this version.
func build(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bulkhead")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X github.com/seed-a3fb47d6/bulkhead/host/server.version="+version, "-o", path, "./cmd/bulkhead")
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// replica is one host: its data directory stays, its process is replaced.
type replica struct {
	dir string
	url *url.URL
	cmd *exec.Cmd

	busy sync.WaitGroup // requests on their way, without sockets
}

func (r *replica) start(t *testing.T, program string) {
	t.Helper()
	r.cmd = exec.Command(program, "serve", "-c", filepath.Join(r.dir, "bulkhead.yaml"))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BULKHEAD_") {
			r.cmd.Env = append(r.cmd.Env, v)
		}
	}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var logged strings.Builder
	r.cmd.Stderr = &logged
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(r.url.String() + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			t.Fatalf("a replica is not ready: %v: %s", err, logged.String())
		}
	}
}

func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(r.cmd.Process.Signal(syscall.SIGTERM), r.cmd.Wait()); err != nil {
		t.Errorf("a replica did not end in good order: %v", err)
	}
}

func (r *replica) version(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(r.url.String() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// service is what a Service of Kubernetes does: it sends each connection to one of the
// replicas that are ready, and no new one to a pod that is about to end.
type service struct {
	mu     sync.Mutex
	ready  []*replica
	next   int
	failed atomic.Int64 // requests that no replica answered
}

func (s *service) take(socket bool) *replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 {
		return nil
	}
	s.next++
	r := s.ready[s.next%len(s.ready)]
	if !socket {
		r.busy.Add(1)
	}
	return r
}

func (s *service) add(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, r)
}

// remove takes a replica out and waits for the requests that it has, as the hook before a
// pod's end does.
func (s *service) remove(r *replica) {
	s.mu.Lock()
	for i := range s.ready {
		if s.ready[i] == r {
			s.ready = append(s.ready[:i:i], s.ready[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	r.busy.Wait()
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket := r.Header.Get("Upgrade") != ""
	to := s.take(socket)
	if to == nil {
		s.failed.Add(1)
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if !socket {
		defer to.busy.Done()
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = to.url.Scheme, to.url.Host },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				s.failed.Add(1)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// refusal is the answer to an upgrade that was refused, for people.
func refusal(resp *http.Response) string {
	if resp == nil {
		return ""
	}
	text, _ := io.ReadAll(resp.Body) // gorilla keeps the first kilobyte
	return fmt.Sprintf(": %d %s", resp.StatusCode, text)
}

// TestAnUpgradeAndItsWayBackLoseNothing replaces three replicas one by one by another
// version, and then by the first again. Meanwhile requests go on, of which none may fail,
// and sockets, which are told (1012) and connect again; the login of all of them holds.
func TestAnUpgradeAndItsWayBackLoseNothing(t *testing.T) {
	after, echo := build(t, "v1.1.0"), packtest.Build(t, "plugins/echo")
	// BULKHEAD_PREVIOUS is a folder with the host of an earlier commit, bulkhead, and its
	// echo.wasm; without it the earlier version is this one's code.
	before, earlier := "", "v1.0.0"
	if previous := os.Getenv("BULKHEAD_PREVIOUS"); previous != "" {
		before, echo = filepath.Join(previous, "bulkhead"), filepath.Join(previous, "echo.wasm")
		out, err := exec.Command(before, "version").Output()
		if err != nil {
			t.Fatal(err)
		}
		earlier, _, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	} else {
		before = build(t, "v1.0.0")
	}
	etcd, key := statetest.Start(t, 1), statetest.Key(t)
	front, at := &service{}, freePort(t)
	var replicas []*replica
	for range 3 {
		r := &replica{dir: t.TempDir(), url: &url.URL{Scheme: "http", Host: freePort(t)}}
		write(t, filepath.Join(r.dir, "people/eve.yaml"), "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: eve}\nspec: {id: eve@example.com, roles: [editor]}\n")
		write(t, filepath.Join(r.dir, "bulkhead.yaml"), fmt.Sprintf(`
listen: %s
publicURL: http://%s
data: ./data
state: {endpoints: [%s], keyFile: %q}
auth: {dev: {}}
directory: {files: ./people}
log: {level: warn}
limits: {rates: {client: 100000, account: 100000}}
plugins: [{name: echo, source: %q}]
`, r.url.Host, at, etcd.Endpoints[0], key, echo))
		r.start(t, before)
		defer func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() }()
		front.add(r)
		replicas = append(replicas, r)
	}
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: front}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := client.Post("http://"+at+"/auth/login", "application/json", strings.NewReader(`{"user":"eve@example.com"}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()

	ctx, stop := context.WithCancel(t.Context())
	var users sync.WaitGroup
	var asked, moved atomic.Int64
	for range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				resp, err := client.Get("http://" + at + "/api/echo/echo")
				if err != nil {
					t.Errorf("a request: %v", err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("a request: %d, %v: %s", resp.StatusCode, err, text)
					return
				}
				asked.Add(1)
			}
		})
	}
	var connected sync.WaitGroup
	for range 6 {
		connected.Add(1)
		users.Go(func() {
			first := sync.OnceFunc(connected.Done)
			defer first()
			for ctx.Err() == nil {
				conn, resp, err := (&websocket.Dialer{Jar: jar}).Dial("ws://"+at+"/ws/echo", nil)
				if err != nil {
					t.Errorf("a socket: %v%s", err, refusal(resp))
					return
				}
				unhook := context.AfterFunc(ctx, func() { conn.Close() })
				err = conn.WriteMessage(websocket.TextMessage, []byte("hello"))
				if err == nil {
					_, _, err = conn.ReadMessage()
				}
				first()
				for err == nil {
					_, _, err = conn.ReadMessage()
				}
				unhook()
				conn.Close()
				if ctx.Err() != nil {
					return
				}
				if !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
					t.Errorf("a socket ended with %v", err)
					return
				}
				moved.Add(1)
			}
		})
	}
	connected.Wait()
	for _, to := range []struct{ program, version string }{{after, "v1.1.0"}, {before, earlier}} {
		count := asked.Load()
		for _, r := range replicas {
			front.remove(r)
			r.stop(t)
			r.start(t, to.program)
			front.add(r)
		}
		for _, r := range replicas {
			if health := r.version(t); !strings.Contains(health, `"version":"`+to.version+`"`) {
				t.Errorf("after the change to %s: %s", to.version, health)
			}
		}
		if asked.Load() == count {
			t.Errorf("no request during the change to %s", to.version)
		}
	}
	stop()
	users.Wait()
	if n := front.failed.Load(); n > 0 {
		t.Errorf("%d requests were lost", n)
	}
	// Six sockets on three replicas: each change ends each of them at least once.
	if moved.Load() < 12 {
		t.Errorf("sockets moved %d times", moved.Load())
	}
	t.Logf("%d requests, %d times a socket moved", asked.Load(), moved.Load())
}
