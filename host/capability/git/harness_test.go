package git

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// repository is a bare repository below a directory that a server serves, with a work
// tree to write it.
type repository struct {
	t    *testing.T
	root string // of the server
	bare string
	work string
}

func newRepository(t *testing.T, name string) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root := t.TempDir()
	r := &repository{t, root, filepath.Join(root, name), filepath.Join(t.TempDir(), "work")}
	r.run(root, "init", "-q", "--bare", "-b", "main", r.bare)
	r.run(root, "init", "-q", "-b", "main", r.work)
	r.run(r.work, "remote", "add", "origin", r.bare)
	return r
}

// run runs git without the configuration of this machine.
func (r *repository) run(dir string, args ...string) string {
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

// commit replaces the files, pushes to main and returns the commit. A file without
// content is removed.
func (r *repository) commit(files map[string]string) string {
	r.t.Helper()
	for path, content := range files {
		at := filepath.Join(r.work, path)
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
	return r.push()
}

func (r *repository) push() string {
	r.t.Helper()
	r.run(r.work, "add", "-A")
	r.run(r.work, "commit", "-q", "--allow-empty", "-m", "change")
	r.run(r.work, "push", "-q", "origin", "HEAD:refs/heads/main", "--tags")
	return r.run(r.work, "rev-parse", "HEAD")
}

const (
	user  = "robot"
	token = "a-token-of-the-host"
)

// web is git's own HTTP server on loopback, over TLS, for one user.
type web struct {
	*httptest.Server
	packs  atomic.Int32 // requests for objects
	lists  atomic.Int32 // requests for refs
	mu     sync.Mutex
	token  string
	before func(http.ResponseWriter, *http.Request) bool // reports whether it has answered
	caFile string
}

func serve(t *testing.T, root string) *web {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/", Stderr: new(bytes.Buffer),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"},
	}
	w := &web{token: token}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		before, want := w.before, w.token
		w.mu.Unlock()
		if before != nil && before(rw, r) {
			return
		}
		if u, p, _ := r.BasicAuth(); u != user || p != want {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			w.packs.Add(1)
		} else {
			w.lists.Add(1)
		}
		backend.ServeHTTP(rw, r)
	}))
	w.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	w.StartTLS()
	t.Cleanup(w.Close)
	w.caFile = put(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})))
	return w
}

func (w *web) intercept(before func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

func (w *web) accept(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = token
}

// source is a source of the repositories below the server.
func (w *web) source(t *testing.T, name, below string) Config {
	return Config{Name: name, URL: w.URL + below, User: user, TokenFile: put(t, "token", token+"\n"), CAFile: w.caFile}
}

func put(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority is a host.Authority that a test can revoke.
type authority struct{ cause atomic.Pointer[error] }

func (a *authority) Alive() bool { return a.cause.Load() == nil }

func (a *authority) Cause() error {
	if p := a.cause.Load(); p != nil {
		return *p
	}
	return nil
}

func (a *authority) lose(cause error) { a.cause.Store(&cause) }

// reader is a user of a provider whose policy allows everything.
type reader struct {
	t    *testing.T
	git  *Git
	auth *authority
	ctx  context.Context
	seen *host.CapabilityCall // the last call that policy saw
}

func open(t *testing.T, list ...Config) *reader {
	t.Helper()
	g, err := New(list, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return &reader{t: t, git: g, auth: new(authority), ctx: t.Context()}
}

func (r *reader) fetch(target string) (*abi.Response, error) {
	r.t.Helper()
	b := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		r.seen = q.Capability
		return host.Decision{Allow: true}
	}, slog.New(slog.DiscardHandler), r.git)
	granted, err := b.Grant("p", map[string][]capability.Grant{"git": {{Repositories: []string{"*"}, Verbs: []string{"*"}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "x"}, Authority: r.auth}
	return granted.Fetch(r.ctx, caller, "git", &abi.Request{Method: "GET", URL: target})
}

// get is fetch of something that exists.
func get[T any](r *reader, target string) (out T) {
	r.t.Helper()
	resp, err := r.fetch(target)
	if err != nil {
		r.t.Fatalf("%s: %v", target, err)
	}
	if err := json.Unmarshal(resp.Body, &out); err != nil {
		r.t.Fatalf("%s: %v in %s", target, err, resp.Body)
	}
	return out
}

type gotFiles struct {
	Source, Repository, Ref, Commit, Path string
	Files                                 []file
}

func (g *gotFiles) paths() string {
	var all []string
	for _, f := range g.Files {
		all = append(all, f.Path)
	}
	return strings.Join(all, " ")
}

type gotManifests struct {
	Commit string
	manifests
}

// refused requires an error of a kind whose text has the words.
func (r *reader) refused(target string, kind host.Kind, words string) {
	r.t.Helper()
	resp, err := r.fetch(target)
	if err == nil {
		r.t.Errorf("%s: answered %.300s", target, resp.Body)
		return
	}
	if host.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		r.t.Errorf("%s: %v (%v), want %v with %q", target, err, host.KindOf(err), kind, words)
	}
	if strings.Contains(err.Error(), token) {
		r.t.Errorf("%s: the error has the token: %v", target, err)
	}
}
