package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

// local is the operator at the host's machine.
func (w *world) local(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return DialOperator(ctx, filepath.Join(w.dir, "data"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTheOperatorAdministersByTheSocketAlone(t *testing.T) {
	w := withoutCluster(t)
	local := w.local(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/admin/policies", 200}, {"GET", "/api/admin/sessions", 200}, {"GET", "/api/admin/nothing", 404}, {"GET", "/health", 200},
		{"GET", "/api/echo/whoami", 404}, {"GET", "/auth/me", 404}, {"POST", "/auth/logout", 404}, {"GET", "/", 404},
		{"GET", "/api/admin/../echo/whoami", 400},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://localhost"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Of no effect: the connection is the credential.
		req.Header.Set("Authorization", "Bearer nonsense")
		resp, err := local.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, resp.StatusCode, body, c.status)
		}
	}
	if got := w.anonymous(t).get("/api/admin/policies"); got.status != 401 {
		t.Errorf("the same without the socket: %v", got)
	}
	if got := w.anonymous(t).post("/auth/login", map[string]string{"user": "operator@local"}); got.status != 401 {
		t.Errorf("the operator's id by another login method: %v", got)
	}
}

// The log has the user, the login method, and the process that asked.
func TestWhatTheOperatorDoesIsNamed(t *testing.T) {
	w := prepare(t, "")
	var log logtest.Log
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	shareCompiled(t, c.Data)
	end, err := w.serve(c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	resp, err := w.local(t).Get("http://localhost/api/admin/sessions")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	from := fmt.Sprintf("local uid %d process %d", os.Geteuid(), os.Getpid())
	for _, part := range []string{"user=operator@local method=operator", "action=admin:sessions.read", from} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q", part)
		}
	}
	info, err := os.Stat(filepath.Join(c.Data, adminDir, adminSocket))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(c.Data, adminDir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory: %v, %v", info, err)
	}
}

const peerEnv = "BULKHEAD_TEST_PEER"

// peerProcess does not return in a process that connects as another user.
func peerProcess() {
	path := os.Getenv(peerEnv)
	if path == "" {
		return
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println("refused by the file system:", err)
		os.Exit(0)
	}
	_, err = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answer, _ := io.ReadAll(c)
	fmt.Printf("%d bytes %v\n", len(answer), err)
	os.Exit(0)
}

// The kernel says who is there; neither the path nor the mode of the socket decides
// alone.
func TestTheAdminSocketRefusesAnotherUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "peer") // which another user can enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var log logtest.Log
	l, err := listenOperator(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	path := filepath.Join(dir, adminDir, adminSocket)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(path), 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	if os.Geteuid() == 0 {
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(program) // it may be where the other user cannot read
		if err != nil {
			t.Fatal(err)
		}
		program = filepath.Join(dir, "program")
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program)
		cmd.Env, cmd.Dir = []string{peerEnv + "=" + path}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if answer, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
	} else {
		l.(*peerListener).owner++ // as if the host ran as another user
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rest, _ := io.ReadAll(c)
		answer = fmt.Appendf(nil, "%d bytes", len(rest))
	}
	if !bytes.Contains(answer, []byte("0 bytes")) || !strings.Contains(log.String(), "refuses a connection") {
		t.Errorf("another user gets %s; log: %s", answer, log.String())
	}
	for uid, want := range map[uint32]bool{0: true, 1000: true, 1001: false, 65534: false} {
		if (peer{uid: uid}).trusted(1000) != want {
			t.Errorf("uid %d at a host of uid 1000: trusted is not %v", uid, want)
		}
	}
}

func TestAHostThatDoesNotRunIsNamed(t *testing.T) {
	dir := t.TempDir()
	if _, err := DialOperator(t.Context(), dir); !errors.Is(err, ErrNoHost) {
		t.Errorf("an empty data directory: %v", err)
	}
	l, err := listenOperator(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := DialOperator(t.Context(), dir); !errors.Is(err, ErrNoHost) {
		t.Errorf("a socket that was left: %v", err)
	}
	deep := filepath.Join(dir, strings.Repeat("long/", 30))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err = listenOperator(deep, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("a long path: %v", err)
	}
	defer l.Close()
	c, err := DialOperator(t.Context(), deep)
	if err != nil {
		t.Fatalf("a long path: %v", err)
	}
	c.Close()
}
