// Package gittest gives tests a git repository and git's own HTTP server on loopback. It
// skips tests where git is not installed.
package gittest

import (
	"bytes"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Repository is a bare repository below a directory that a server serves, with a work
// tree to write it.
type Repository struct {
	t    testing.TB
	Root string // of the server
	Bare string
	Work string
}

// New makes an empty repository at name below a new directory.
func New(t testing.TB, name string) *Repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("the tests of git need the program git")
	}
	root := t.TempDir()
	r := &Repository{t, root, filepath.Join(root, name), filepath.Join(t.TempDir(), "work")}
	r.Run(root, "init", "-q", "--bare", "-b", "main", r.Bare)
	r.Run(root, "init", "-q", "-b", "main", r.Work)
	r.Run(r.Work, "remote", "add", "origin", r.Bare)
	return r
}

// Run runs git without the configuration of this machine.
func (r *Repository) Run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit writes the files, pushes to main and returns the commit. A file without content
// is removed.
func (r *Repository) Commit(files map[string]string) string {
	r.t.Helper()
	for path, content := range files {
		at := filepath.Join(r.Work, path)
		if content == "" {
			_ = os.Remove(at)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.Run(r.Work, "add", "-A")
	r.Run(r.Work, "commit", "-q", "--allow-empty", "-m", "change")
	r.Run(r.Work, "push", "-q", "origin", "HEAD:refs/heads/main", "--tags")
	return r.Run(r.Work, "rev-parse", "HEAD")
}

// The credentials that the server accepts.
const (
	User  = "robot"
	Token = "a-token-of-the-host"
)

// Web is git's own HTTP server on loopback, over TLS, for one user.
type Web struct {
	*httptest.Server
	Packs     atomic.Int32 // requests for objects
	Lists     atomic.Int32 // requests for refs
	CAFile    string
	TokenFile string

	mu     sync.Mutex
	token  string
	before func(http.ResponseWriter, *http.Request) bool
}

// Serve serves the repositories below root until the test ends.
func Serve(t testing.TB, root string) *Web {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal("the tests of git need the program git")
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/", Stderr: new(bytes.Buffer),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"},
	}
	w := &Web{token: Token}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		before, want := w.before, w.token
		w.mu.Unlock()
		if before != nil && before(rw, r) {
			return
		}
		if u, p, _ := r.BasicAuth(); u != User || p != want {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			w.Packs.Add(1)
		} else {
			w.Lists.Add(1)
		}
		backend.ServeHTTP(rw, r)
	}))
	w.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	w.StartTLS()
	t.Cleanup(w.Close)
	w.CAFile = Put(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})))
	w.TokenFile = Put(t, "token", Token+"\n")
	return w
}

// Intercept has before see each request first; it reports whether it has answered.
func (w *Web) Intercept(before func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

// Accept replaces the accepted token.
func (w *Web) Accept(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = token
}

// Put writes a file that only its user may read, in a new directory, and returns its path.
func Put(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
