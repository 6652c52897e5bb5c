package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// withPods is a host on the dev cluster that has the plugin pods besides the others.
func withPods(t *testing.T) (*world, string) {
	t.Helper()
	_, c := onCluster(t)
	w := prepare(t, c.HostKubeconfig)
	text, err := os.ReadFile(filepath.Join(w.dir, "bulkhead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "bulkhead.yaml", string(text)+fmt.Sprintf(`
  - name: pods
    source: %q
    grants: {pods: [{clusters: ["*"], namespaces: ["*"], resources: ["*"], verbs: ["*"]}]}
`, packtest.Build(t, "plugins/pods")))
	w.open(t)
	eventually(t, "the cluster to answer", func() bool {
		up, _ := w.server.countClusters()
		return up == 1
	})
	return w, pod(t, c, "shop")
}

// canary is a live stream whose messages have numbers that grow with time.
type canary struct {
	name   string
	conn   *websocket.Conn
	number func(binary bool, data []byte) int64

	mu      sync.Mutex
	highest int64
	closed  *websocket.CloseError
	done    chan struct{}
}

func (c *canary) read() {
	defer close(c.done)
	for {
		kind, data, err := c.conn.ReadMessage()
		c.mu.Lock()
		if err != nil {
			c.closed, _ = err.(*websocket.CloseError)
			c.mu.Unlock()
			return
		}
		c.highest = max(c.highest, c.number(kind == websocket.BinaryMessage, data))
		c.mu.Unlock()
	}
}

func (c *canary) seen() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.highest
}

// newest is the latest time of the lines of a message of a log, in nanoseconds.
func newest(data []byte) (at int64) {
	var m struct{ Lines []struct{ At time.Time } }
	if json.Unmarshal(data, &m) == nil {
		for _, l := range m.Lines {
			at = max(at, l.At.UnixNano())
		}
	}
	return at
}

// Streams of every kind carry numbers. What has a higher number than the last before
// the logout's answer was made after it, and must not arrive.
func TestNoByteAfterLogout(t *testing.T) {
	w, name := withPods(t)
	eve := w.as(t, "eve")
	target := "?cluster=dev&namespace=shop&pod=" + name
	start := func(kind, path, protocol string, number func(bool, []byte) int64) *canary {
		t.Helper()
		conn, refused := eve.dial(path, protocol)
		if conn == nil {
			t.Fatalf("%s: %v", kind, refused)
		}
		c := &canary{name: kind, conn: conn, number: number, done: make(chan struct{})}
		go c.read()
		return c
	}
	dir := t.TempDir()
	counter, mark := filepath.Join(dir, "count"), marker()
	script := fmt.Sprintf("%s & i=0; while :; do i=$((i+1)); echo $i >> %s; echo $i; done", mark, counter)
	exec := start("exec", "/ws/exec"+target+"&command=sh&command=-c&command="+urlEscape(script), execProtocol, func(binary bool, data []byte) int64 {
		lines := strings.Fields(string(data[min(1, len(data)):]))
		if !binary || len(lines) < 3 { // the first and the last can be parts
			return 0
		}
		n, _ := strconv.ParseInt(lines[len(lines)-2], 10, 64)
		return n
	})
	logs := start("logs", "/ws/pods/logs"+target+"&follow=true&tail=1", "bulkhead.log.v1", func(_ bool, data []byte) int64 { return newest(data) })
	port := start("port", "/ws/pods/port"+target+"&port=80", "bulkhead.port.v1", func(binary bool, data []byte) (n int64) {
		if _, rest, ok := strings.Cut(string(data), "GET /"); ok {
			n, _ = strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
		return n
	})
	file := filepath.Join(dir, "large")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 2<<30); err != nil {
		t.Fatal(err)
	}
	var passed int64
	download := start("download", "/ws/pods/download"+target+"&path="+file, "bulkhead.file.v1", func(_ bool, data []byte) int64 { passed += int64(len(data)); return passed })
	events, eventsEnd := eve.logEvents(t, "/api/pods/logs"+target+"&follow=true&tail=1")

	stop, sent := make(chan struct{}), make(chan int64, 1)
	var asked sync.WaitGroup
	asked.Go(func() {
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				sent <- n - 1
				return
			default:
			}
			if port.conn.WriteMessage(websocket.BinaryMessage, fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", n)) != nil {
				sent <- n
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	all := []*canary{exec, logs, port, download}
	eventually(t, "every stream to carry something", func() bool {
		for _, c := range all {
			if c.seen() == 0 {
				return false
			}
		}
		return events() > 0
	})

	if got := eve.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	answered := time.Now().UnixNano()
	close(stop)
	last := map[*canary]int64{logs: answered, port: <-sent, exec: count(t, counter), download: 2<<30 - 1}
	asked.Wait()
	for _, c := range all {
		select {
		case <-c.done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s goes on", c.name)
		}
		if c.closed == nil || c.closed.Code != 4401 {
			t.Errorf("%s is closed with %v", c.name, c.closed)
		}
		if c.seen() > last[c] {
			t.Errorf("%s: %d arrived, and %d was the last before the answer", c.name, c.seen(), last[c])
		}
	}
	if end := <-eventsEnd; !strings.Contains(end, "4401") || events() > answered {
		t.Errorf("the event stream ended with %q", end)
	}
	eventually(t, "the remote process to be gone", func() bool { return !running(mark) })
	before := count(t, counter)
	time.Sleep(50 * time.Millisecond)
	if after := count(t, counter); after != before {
		t.Errorf("the command counts on, from %d to %d", before, after)
	}
}

// count reads the last whole number that the command wrote.
func count(t *testing.T, file string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 2 {
		t.Fatal("the command wrote nothing")
	}
	n, err := strconv.ParseInt(lines[len(lines)-2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// logEvents reads an event stream of logs: the newest time that arrived, and the data of
// its last event.
func (a *actor) logEvents(t *testing.T, path string) (seen func() int64, end <-chan string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, a.w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	var mu sync.Mutex
	var at int64
	last := make(chan string, 1)
	go func() {
		defer resp.Body.Close()
		data := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				data = text
				mu.Lock()
				at = max(at, newest([]byte(data)))
				mu.Unlock()
			}
		}
		last <- data
	}()
	return func() int64 { mu.Lock(); defer mu.Unlock(); return at }, last
}

// cookies adds those of a signed-in user to a client's requests.
type cookies struct {
	jar  http.CookieJar
	next http.RoundTripper
}

func (c *cookies) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	plain := *r.URL
	plain.Scheme = strings.Replace(plain.Scheme, "ws", "http", 1)
	for _, x := range c.jar.Cookies(&plain) {
		r.AddCookie(x)
	}
	return c.next.RoundTrip(r)
}

// client-go's own executor is a client that nobody here wrote: bytes of every value go to
// the process and back.
func TestClientGosExecutorWorksHere(t *testing.T) {
	w, c := onCluster(t)
	eve, name := w.as(t, "eve"), pod(t, c, "shop")
	config := &rest.Config{Host: w.url, WrapTransport: func(next http.RoundTripper) http.RoundTripper { return &cookies{eve.http.Jar, next} }}
	run := func(command []string, in io.Reader, out io.Writer) error {
		t.Helper()
		q := url.Values{"cluster": {"dev"}, "namespace": {"shop"}, "pod": {name}, "command": command}
		x, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, w.url+"/ws/exec?"+q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		return x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: in, Stdout: out})
	}
	for _, size := range []int64{1 << 20, 64 << 20} {
		sent, got := sha256.New(), sha256.New()
		source := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
		if err := run([]string{"cat"}, io.TeeReader(source, sent), got); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
			t.Errorf("%d bytes came back changed", size)
		}
	}
	err := run([]string{"sh", "-c", "exit 7"}, strings.NewReader(""), io.Discard)
	if exit, ok := errors.AsType[utilexec.CodeExitError](err); !ok || exit.Code != 7 {
		t.Errorf("exit code 7 is %v", err)
	}
	if err := run([]string{"cat"}, strings.NewReader(""), io.Discard); err != nil {
		t.Errorf("an empty input: %v", err)
	}
}
