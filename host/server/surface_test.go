package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	all.Child()
	policytool.Child()
	statetest.Member()
	hostProcess()
	peerProcess()
	code := m.Run()
	err := errors.Join(alone.close(), clustered.close(), goleak.Find(
		// klog, which client-go brings, flushes for the life of the process.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// client-go's ticker outlives its connection by up to 5 s.
		goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
		// The dev cluster's standard error is copied until the process ends with us.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryRouteNamesAnAction(t *testing.T) {
	w := withoutCluster(t)
	surface, err := w.server.current.Load().gateway.Surface()
	if err != nil {
		t.Fatal(err)
	}
	public := []string{"GET /healthz", "GET /readyz", "GET /health", "POST /auth/login", "POST /auth/logout",
		"GET /login", "GET /auth/login", "GET /auth/callback/{method}",
		"GET /auth/cli", "POST /auth/cli/token", "GET /", "GET /console/{file}", "GET /ui/{plugin}/{digest}/{file:.*}"}
	seen := 0
	for _, r := range surface {
		name := r.Method + " " + r.Path
		if _, _, ok := r.Action.Split(); !ok {
			t.Errorf("%s names no action, but %q", name, r.Action)
		}
		if r.Public != slices.Contains(public, name) {
			t.Errorf("%s: public is %v", name, r.Public)
		}
		if r.Public {
			seen++
		}
	}
	if seen != len(public) {
		t.Errorf("%d public routes, want %d", seen, len(public))
	}
	plugins := w.server.plugins.List(nil)
	if len(plugins) != 3 {
		t.Fatalf("%d plugins are loaded", len(plugins))
	}
	for _, p := range plugins {
		for _, r := range p.Routes {
			plugin, name, ok := r.Route.Action.Split()
			if !ok || plugin != p.Name || strings.HasSuffix(name, "read") == r.Route.Mutates {
				t.Errorf("%s %s: action %q, mutates %v", p.Name, r.Route.Name, r.Route.Action, r.Route.Mutates)
			}
		}
	}
}

// Nothing but the public routes answers somebody who is not signed in, and
// what is absent answers like what is forbidden.
func TestNothingAnswersAnonymously(t *testing.T) {
	w := withoutCluster(t)
	nobody := w.anonymous(t)
	surface, err := w.server.current.Load().gateway.Surface()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range surface {
		path := strings.NewReplacer("{plugin}", "echo", "{path:.*}", "echo").Replace(r.Path)
		got := nobody.do(r.Method, path, strings.NewReader("{}"), asJSON)
		if r.Public == (got.status == 401) && path != "/auth/logout" {
			t.Errorf("%s %s (public %v): %v", r.Method, path, r.Public, got)
		}
	}
	for _, path := range []string{"/nowhere", "/console", "/ui/echo", "/api", "/api/nowhere/x", "/ws/nowhere", "/metrics", "/debug/pprof/"} {
		expect(t, nobody.get(path), 401, path)
	}
}

// Changing who may do what needs no restart.
func TestADirectoryChangeCountsAtOnce(t *testing.T) {
	w := ownHost(t)
	vic := w.as(t, "vic")
	expect(t, vic.post("/api/gitops/helm-uninstall", "{}"), 403, "as a viewer")
	text := strings.Replace(read(t, w.dir+"/directory/people.yaml"), "{id: vic@example.com, roles: [viewer]}", "{id: vic@example.com, roles: [editor]}", 1)
	w.write(t, "directory/people.yaml", text)
	eventually(t, "the new role to count", func() bool { return vic.post("/api/gitops/helm-uninstall", "{}").status == 400 })
	w.write(t, "directory/people.yaml", strings.Replace(text, "name: vic", "name: vic2", 1)+"\n")
	w.write(t, "directory/people.yaml", strings.Replace(text, "vic@example.com", "vera@example.com", 1))
	eventually(t, "the removed user to be nobody", func() bool { return vic.get("/auth/me").status == 401 })
}

func TestHealthTellsTheTruth(t *testing.T) {
	w := withoutCluster(t)
	nobody := w.anonymous(t)
	for path, want := range map[string]string{
		"/healthz": `{"status":"ok"}`,
		"/readyz":  `{"checks":{"audit":"ok","configuration":"ok","directory":"ok","plugins":"ok","policy":"ok","state":"ok"},"clusters":{"ready":0,"total":1},"status":"ready"}`,
	} {
		if got := nobody.get(path); got.status != 200 || strings.TrimSpace(got.body) != want {
			t.Errorf("%s: %v, want %s", path, got, want)
		}
	}
	var health struct {
		Status          string
		LoginMethods    []string `json:"login_methods"`
		OAuthConfigured bool     `json:"oauth_configured"`
	}
	nobody.get("/health").json(t, &health)
	if health.Status != "ok" || !slices.Equal(health.LoginMethods, []string{"dev"}) || health.OAuthConfigured {
		t.Errorf("/health: %+v", health)
	}
}

// Where the API server is, is the operator's to know.
func TestAClusterThatIsAwayIsNamedButNotItsAddress(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "away.kubeconfig", `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}],
		clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], users: [{name: u, user: {token: t}}]}`)
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), []string{
		`BULKHEAD_CLUSTERS=[{name: dev, kubeconfig: "` + filepath.Join(w.dir, "away.kubeconfig") + `"}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	unbound(c)
	shareCompiled(t, c.Data)
	var logged logtest.Log
	end, err := w.serve(c, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	eve := w.as(t, "eve")
	_, terminal := eve.dial("/ws/exec?cluster=dev&namespace=shop&pod=web&command=sh", "bulkhead.exec.v1")
	for what, got := range map[string]answer{
		"a list":     eve.get("/api/gitops/helm-releases?cluster=dev"),
		"an upgrade": eve.post("/api/gitops/helm-upgrade", map[string]any{"release": "web", "namespace": "shop", "chart": "demo/hello"}),
		"a terminal": terminal,
	} {
		if got.status != 503 || !strings.Contains(string(got.body), `cluster \"dev\" cannot be reached`) || strings.Contains(string(got.body), "127.0.0.1") {
			t.Errorf("%s: %v", what, got)
		}
		var told struct{ RequestID string }
		got.json(t, &told)
		line := regexp.MustCompile(`msg="capability call failed" requestId=` + told.RequestID + ` .*127\.0\.0\.1:1\b`)
		if !line.MatchString(logged.String()) {
			t.Errorf("%s: the log has not %s", what, line)
		}
	}
}
