package monitoring

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tools are the program and the plugins, built once.
var tools = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "bulkhead-monitoring"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(dir, "bulkhead"), "./cmd/bulkhead")
	build.Dir, build.Env = "../../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	for _, plugin := range []string{"echo", "gitops"} {
		c := exec.Command(filepath.Join(dir, "bulkhead"), "plugin", "build", "plugins/"+plugin, "-o", filepath.Join(dir, plugin+".wasm"))
		c.Dir = "../../../.."
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := tools(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// start runs a program until the test ends, also if that is killed, and returns its first
// line.
func start(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var logged lines
	cmd.Stderr = &logged
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(logged.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, logged.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return strings.TrimSpace(line)
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
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

// host is a running host with one user who may do everything.
type host struct {
	t            *testing.T
	dir, url     string
	metrics      string
	client       *http.Client
	config, echo string
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

func startHost(t *testing.T, kubeconfig string, env ...string) *host {
	t.Helper()
	built, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: t.TempDir(), metrics: freePort(t), echo: filepath.Join(built, "echo.wasm")}
	write(t, filepath.Join(h.dir, "people/people.yaml"), "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ada}\nspec: {id: ada@example.com, roles: [admin]}\n")
	h.config = filepath.Join(h.dir, "bulkhead.yaml")
	write(t, h.config, fmt.Sprintf(`
listen: 127.0.0.1:0
metrics: %s
data: ./data
auth: {dev: {}}
directory: {files: ./people}
policy: {log: {file: {path: ./decisions.jsonl}}}
clusters: [{name: dev, kubeconfig: %q, waitForKubeconfig: true}]
log: {format: json}
plugins:
  - {name: echo, source: %q}
  - name: gitops
    source: %q
    grants:
      helm: [{clusters: ["*"], namespaces: ["*"], actions: ["*"]}]
      kube: [{clusters: ["*"], namespaces: ["*"], resources: [configmaps], verbs: [get, list]}]
    config: {defaultCluster: dev}
`, h.metrics, kubeconfig, h.echo, filepath.Join(built, "gitops.wasm")))
	line := start(t, env, filepath.Join(built, "bulkhead"), "serve", "-c", h.config)
	h.url = strings.TrimPrefix(line, "bulkhead serves at ")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.client = &http.Client{Jar: jar}
	t.Cleanup(h.client.CloseIdleConnections)
	if status, body, _ := h.do("POST", "/auth/login", `{"user":"ada@example.com"}`, nil); status != 200 {
		t.Fatalf("sign-in: %d %s", status, body)
	}
	return h
}

func (h *host) do(method, path, body string, header map[string]string) (status int, text string, id string) {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Requested-With", "XMLHttpRequest")
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(all), resp.Header.Get("X-Request-Id")
}

// cluster starts a dev cluster and returns the kubeconfig of a host.
func cluster(t *testing.T) string {
	t.Helper()
	program := os.Getenv("BULKHEAD_DEVCLUSTER")
	if program == "" {
		out, err := exec.Command("../../../devcluster/build.sh").Output()
		if err != nil {
			t.Fatal(err)
		}
		program = strings.TrimSpace(string(out))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "host.kubeconfig")
	line := start(t, nil, program, "--data", filepath.Join(dir, "state"), "--kubeconfig", filepath.Join(dir, "kubeconfig"), "--host-kubeconfig", file)
	var ready struct{ Ready bool }
	if err := json.Unmarshal([]byte(line), &ready); err != nil || !ready.Ready {
		t.Fatalf("%q: %v", line, err)
	}
	return file
}

// eventually waits for what another process does, which nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
