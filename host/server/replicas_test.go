package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// prepareReplica writes the configuration of one of several hosts behind one
// public URL.
func prepareReplica(t testing.TB, endpoints []string, key string) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: eve}\nspec: {id: eve@example.com, roles: [editor]}\n")
	w.write(t, "bulkhead.yaml", fmt.Sprintf(`
listen: 127.0.0.1:0
publicURL: http://127.0.0.1:8080
data: ./data
state: {endpoints: [%s], keyFile: %q}
auth: {dev: {}}
directory: {files: ./directory}
plugins: [{name: echo, source: %q}]
`, strings.Join(endpoints, ", "), key, packtest.Build(t, "plugins/echo")))
	return w
}

const hostEnv = "BULKHEAD_TEST_HOST"

// hostProcess does not return in a process that startProcess started.
func hostProcess() {
	file := os.Getenv(hostEnv)
	if file == "" {
		return
	}
	err := func() error {
		c, err := Load(file, nil)
		if err != nil {
			return err
		}
		s, err := Open(context.Background(), c, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
		fmt.Println(s.listener.Addr())
		return errors.Join(s.Serve(ctx), s.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startProcess runs a host in a process of its own, which ends with the test.
func (w *world) startProcess(t testing.TB) *os.Process {
	t.Helper()
	shareCompiled(t, filepath.Join(w.dir, "data"))
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), hostEnv+"="+filepath.Join(w.dir, "bulkhead.yaml"))
	cmd.Stderr = os.Stderr
	hold, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the host did not start: %v", err)
	}
	w.url, w.addr = "http://127.0.0.1:8080", strings.TrimSpace(line)
	return cmd.Process
}

// listener reads an event stream and says when something last came.
type listener struct {
	bytes atomic.Int64
	last  atomic.Int64 // of time.Now().UnixNano()
	done  chan struct{}
	end   string // the last that came, once done
}

func (a *actor) listen(path string) *listener {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), "GET", a.w.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		a.t.Fatalf("%s answers %d", path, resp.StatusCode)
	}
	l := &listener{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer resp.Body.Close()
		buf := make([]byte, 4096)
		for {
			n, err := resp.Body.Read(buf)
			if n > 0 {
				l.end = string(buf[:n])
				l.bytes.Add(int64(n))
				l.last.Store(time.Now().UnixNano())
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

// TestThreeHosts is one console on three hosts, over HTTP: one sign-in is good
// everywhere, and a logout anywhere ends what runs everywhere, of this login and
// of another of the same person.
func TestThreeHosts(t *testing.T) {
	t.Parallel()
	cluster, key := statetest.Start(t, 3), statetest.Key(t)
	var hosts []*world
	for range 3 {
		w := prepareReplica(t, cluster.Endpoints, key)
		w.open(t)
		hosts = append(hosts, w)
	}
	eve := hosts[0].as(t, "eve")
	other := hosts[1].as(t, "eve") // another browser
	var streams []*listener
	for _, w := range hosts {
		here := w.withJar(t, eve.http.Jar)
		eventually(t, "the login to be known", func() bool { return here.get("/auth/me").status == 200 })
		there := w.withJar(t, other.http.Jar)
		eventually(t, "the other login to be known", func() bool { return there.get("/auth/me").status == 200 })
		streams = append(streams, here.listen("/api/echo/ticks"), there.listen("/api/echo/ticks"))
	}
	for _, s := range streams {
		eventually(t, "ticks", func() bool { return s.bytes.Load() > 0 })
	}
	expect(t, hosts[2].withJar(t, eve.http.Jar).post("/auth/logout", "{}"), 200, "logout at the third host")
	answered := time.Now()
	for _, s := range streams {
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
			t.Error("a stream lives 5 s after the logout")
		}
	}
	t.Logf("six streams on three hosts ended %v after the answer", time.Since(answered))
	for _, w := range hosts {
		expect(t, w.withJar(t, eve.http.Jar).get("/auth/me"), 401, "who logged out")
		expect(t, w.withJar(t, other.http.Jar).get("/auth/me"), 200, "the other login")
	}
}

// TestPausedHostDoesNothingMoreForWhoLoggedOut stops a host as it is, logs out
// elsewhere, and lets it go on: after a short pause the session is dead within
// 5 s of the logout, after a long one before another byte.
func TestPausedHostDoesNothingMoreForWhoLoggedOut(t *testing.T) {
	t.Parallel()
	cluster, key := statetest.Start(t, 3), statetest.Key(t)
	here, there := prepareReplica(t, cluster.Endpoints, key), prepareReplica(t, cluster.Endpoints, key)
	there.open(t)
	process := here.startProcess(t)
	for name, pause := range map[string]time.Duration{"short": time.Second, "long": 6 * time.Second} {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		eve := here.withJar(t, jar)
		expect(t, eve.post("/auth/login", map[string]string{"user": "eve@example.com"}), 200, "sign-in")
		elsewhere := there.withJar(t, jar)
		eventually(t, "the login to be known elsewhere", func() bool { return elsewhere.get("/auth/me").status == 200 })
		stream := eve.listen("/api/echo/ticks")
		eventually(t, "ticks", func() bool { return stream.bytes.Load() > 0 })

		signal(t, process, syscall.SIGSTOP)
		stopped := time.Now()
		expect(t, elsewhere.post("/auth/logout", "{}"), 200, "logout elsewhere")
		answered := time.Now()
		time.Sleep(time.Until(stopped.Add(pause))) // the pause is what is tested
		before := stream.bytes.Load()
		signal(t, process, syscall.SIGCONT)
		select {
		case <-stream.done:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s pause: the stream goes on", name)
		}
		switch {
		case name == "short" && time.Unix(0, stream.last.Load()).Sub(answered) > 5*time.Second:
			t.Errorf("%s pause: something came later than 5 s after the logout", name)
		case name == "long" && stream.bytes.Load() != before && !strings.Contains(stream.end, "event: end"):
			t.Errorf("%s pause: after it went on, this came: %q", name, stream.end)
		}
		eventually(t, "the host to admit people again", func() bool { return eve.get("/readyz").status == 200 })
		expect(t, here.withJar(t, jar).get("/auth/me"), 401, "who logged out")
	}
}

func signal(t testing.TB, p *os.Process, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestHostThatCannotReachItsStoreSaysSo: 503 with Retry-After, readiness says
// why, streams end, and all is well again when the store is back.
func TestHostThatCannotReachItsStoreSaysSo(t *testing.T) {
	t.Parallel()
	cluster, key := statetest.Start(t, 1), statetest.Key(t)
	link := cluster.Link(t)
	w := prepareReplica(t, link.Endpoints, key)
	w.open(t)
	eve := w.as(t, "eve")
	stream := eve.listen("/api/echo/ticks")
	eventually(t, "ticks", func() bool { return stream.bytes.Load() > 0 })
	link.Cut()
	eventually(t, "the host not to be ready", func() bool { return eve.get("/readyz").status == 503 })
	got := eve.get("/auth/me")
	if expect(t, got, 503, "a request"); got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	select {
	case <-stream.done:
	case <-time.After(6 * time.Second):
		t.Error("a stream outlives its host's knowledge")
	}
	link.Heal()
	eventually(t, "the host to be ready", func() bool { return eve.get("/readyz").status == 200 })
	expect(t, eve.get("/auth/me"), 200, "who was signed in and stays so")
}
