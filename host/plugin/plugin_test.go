package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	goleak.VerifyTestMain(m)
}

// authority is a host.Authority that the test takes away.
type authority struct{ cause atomic.Pointer[error] }

func (a *authority) Alive() bool { return a.cause.Load() == nil }
func (a *authority) Cause() error {
	if e := a.cause.Load(); e != nil {
		return *e
	}
	return nil
}
func (a *authority) lose(err error) { a.cause.Store(&err) }

// releases stands where the helm capability does: it lists one release, or
// does what the test says.
type releases struct {
	fetch func(context.Context) (*abi.Response, error)
}

func (*releases) Kind() *capability.Kind {
	return &capability.Kind{
		Name: "helm", Dimensions: []capability.Dimension{{Name: capability.Clusters}, {Name: capability.Namespaced}, {Name: capability.Actions}},
		Classify: func(r *abi.Request) (capability.Prepared, error) {
			u, err := url.Parse(r.URL)
			if err != nil {
				return capability.Prepared{}, host.E(host.Invalid, "helm", "bad URL")
			}
			return capability.Prepared{Call: host.CapabilityCall{Name: "helm", Verb: "list", Cluster: u.Host, Namespace: "shop", Effect: host.EffectRead}}, nil
		},
	}
}
func (f *releases) Fetch(ctx context.Context, _ *capability.Permit) (*abi.Response, error) {
	if f.fetch != nil {
		return f.fetch(ctx)
	}
	return &abi.Response{Status: 200, Body: []byte(`{"releases":[{"name":"web","namespace":"shop"}]}`)}, nil
}

type fixture struct {
	registry *plugin.Registry
	options  plugin.Options
	dir      string // of what is kept
	helm     *releases
	exec     *commands
	allow    atomic.Bool
	logged   bytes.Buffer                // warnings; read it when nothing runs
	fetch    func(context.Context) error // before a module is fetched; nil: nothing
}

// compiled is where compiled plugins stay between test runs.
func compiled(t testing.TB) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bulkhead", "compiled")
}

func newFixture(t testing.TB) *fixture {
	return newFixtureWith(t, plugin.Limits{}, plugin.UserLimits{})
}

func newFixtureWith(t testing.TB, limits plugin.Limits, user plugin.UserLimits, more ...capability.Provider) *fixture {
	f := &fixture{helm: &releases{}, exec: &commands{}, dir: filepath.Join(t.TempDir(), "plugins")}
	f.allow.Store(true)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &f.logged), &slog.HandlerOptions{Level: slog.LevelWarn}))
	box, err := sandbox.New(sandbox.Config{CacheDir: compiled(t), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	broker := capability.NewBroker(func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: f.allow.Load(), Reason: host.Reason{Code: "no_resource"}}
	}, log, append(more, f.helm, f.exec)...)
	f.options = plugin.Options{Sandbox: box, Broker: broker, Limits: limits, User: user, Dir: f.dir, Logger: log}
	f.options.Fetch = func(ctx context.Context, c *plugin.Config, most int) ([]byte, error) {
		if fetch := f.fetch; fetch != nil {
			if err := fetch(ctx); err != nil {
				return nil, err
			}
		}
		return plugin.ReadFile(ctx, c, most)
	}
	f.open(t)
	return f
}

func (f *fixture) open(t testing.TB) {
	var err error
	if f.registry, err = plugin.NewRegistry(f.options); err != nil {
		t.Fatal(err)
	}
	registry := f.registry
	t.Cleanup(func() {
		if err := registry.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// restart closes the registry and opens another over what it has kept.
func (f *fixture) restart(t testing.TB) *fixture {
	t.Helper()
	if err := f.registry.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	return f
}

var everything = map[string][]capability.Grant{
	"helm": {{Clusters: []string{"*"}, Namespaces: []string{"*"}, Actions: []string{"*"}}},
}

func (f *fixture) load(t testing.TB, c plugin.Config) *plugin.Generation {
	t.Helper()
	if err := f.swap(c); err != nil {
		t.Fatal(err)
	}
	return f.registry.Get(c.Name)
}

// swap installs c as the configuration file does.
func (f *fixture) swap(c plugin.Config) error {
	_, err := f.registry.Swap(context.Background(), plugin.Swap{Config: c, Origin: plugin.File})
	return err
}

func (f *fixture) echo(t testing.TB) *plugin.Generation {
	return f.load(t, plugin.Config{Name: "echo", Source: packtest.Build(t, "plugins/echo")})
}

func (f *fixture) gitops(t testing.TB) *plugin.Generation {
	return f.load(t, plugin.Config{
		Name: "gitops", Source: packtest.Build(t, "plugins/gitops"), Grants: everything,
		Config: json.RawMessage(`{"defaultCluster":"dev"}`),
	})
}

// call makes the Call for a route as a door would.
func call(t testing.TB, g *plugin.Generation, auth host.Authority, method, target string) *plugin.Call {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := g.Match(false, method, u.Path, u.Query())
	if m == nil {
		t.Fatalf("no route for %s %s", method, target)
	}
	return &plugin.Call{
		Match: m, URL: target,
		Caller: &capability.Caller{
			Plugin: m.Route.Plugin, Principal: &host.Principal{User: "ann@example.com", Roles: []string{"viewer"}},
			Route: m.Route, Authority: auth, RequestID: "r1", Logger: slog.New(slog.DiscardHandler),
		},
	}
}

func TestEchoToldWhoAndWhat(t *testing.T) {
	g := newFixture(t).echo(t)
	c := call(t, g, &authority{}, "POST", "/echo?a=b")
	c.Body = []byte("hello")
	resp, err := g.Handle(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := "method: POST\npath: /echo\nquery: a=b\nuser: ann@example.com\naction: echo:echo.read\n\nhello"
	if resp.Status != 200 || string(resp.Body) != want {
		t.Fatalf("%d %q, want %q", resp.Status, resp.Body, want)
	}
}

func TestAGuestsCapabilityCallIsAnswered(t *testing.T) {
	g := newFixture(t).gitops(t)
	resp, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/helm-releases"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != 200 || !strings.Contains(string(resp.Body), `"web"`) {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
}

// What a capability answers crosses whole, also when it is larger than the
// guest's first buffer.
func TestALongAnswerIsTakenInPieces(t *testing.T) {
	f := newFixture(t)
	name := strings.Repeat("x", 300_000)
	f.helm.fetch = func(context.Context) (*abi.Response, error) {
		return &abi.Response{Status: 200, Body: []byte(`{"releases":[{"name":"` + name + `"}]}`)}, nil
	}
	g := f.gitops(t)
	resp, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/helm-releases"))
	if err != nil || !strings.Contains(string(resp.Body), name) {
		t.Fatalf("answer of %d bytes, error %v", len(resp.Body), err)
	}
}

func TestRefusalsKeepTheirKindAndStatus(t *testing.T) {
	f := newFixture(t)
	g := f.gitops(t)
	f.allow.Store(false)
	_, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/helm-releases"))
	if host.KindOf(err) != host.Forbidden {
		t.Fatalf("policy's refusal became %v", err)
	}
	f.allow.Store(true)
	f.helm.fetch = func(context.Context) (*abi.Response, error) {
		return nil, &host.Error{Kind: host.Unavailable, Message: `cluster "dev" is starting`}
	}
	_, err = g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/helm-releases"))
	if host.KindOf(err) != host.Unavailable || !strings.Contains(err.Error(), `cluster "dev" is starting`) {
		t.Fatalf("unavailable became %v", err)
	}
}

func TestAPluginThatFailsIs502AndTheNextRequestIsFine(t *testing.T) {
	g := newFixture(t).echo(t)
	if _, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/trap")); host.KindOf(err) != host.Upstream {
		t.Fatalf("a trap is %v", err)
	}
	if _, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/echo")); err != nil {
		t.Fatal(err)
	}
}

func TestADeadlineIs504(t *testing.T) {
	g := newFixture(t).echo(t)
	for _, path := range []string{"/spin", "/sleep?ms=60000"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := g.Handle(ctx, call(t, g, &authority{}, "GET", path))
		cancel()
		if host.KindOf(err) != host.Timeout {
			t.Fatalf("%s past its deadline is %v", path, err)
		}
	}
}

func TestALogoutIsTheCauseOfAStoppedCall(t *testing.T) {
	g := newFixture(t).echo(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	c := call(t, g, &authority{}, "GET", "/spin")
	go func() {
		_, err := g.Handle(ctx, c)
		done <- err
	}()
	cancel(host.ErrLoggedOut)
	if err := <-done; !errors.Is(err, host.ErrLoggedOut) {
		t.Fatalf("error is %v", err)
	}
}

// Authority is compared before and after every host call, so that a session
// that ended meanwhile has no further effect and learns nothing.
func TestAHostCallWithoutAuthorityEndsTheGuest(t *testing.T) {
	f := newFixture(t)
	g := f.gitops(t)
	auth := &authority{}
	f.helm.fetch = func(context.Context) (*abi.Response, error) {
		auth.lose(host.ErrLoggedOut)
		return &abi.Response{Status: 200, Body: []byte(`{"releases":[]}`)}, nil
	}
	if resp, err := g.Handle(t.Context(), call(t, g, auth, "GET", "/helm-releases")); err == nil {
		t.Fatalf("the guest went on and answered %d", resp.Status)
	}
}

func TestUngrantedCapabilityDoesNotLoad(t *testing.T) {
	f := newFixture(t)
	for _, grants := range []map[string][]capability.Grant{nil, {"helm": {}}} {
		err := f.swap(plugin.Config{Name: "gitops", Source: packtest.Build(t, "plugins/gitops"), Grants: grants})
		if err == nil {
			t.Fatalf("with the grants %v it loaded", grants)
		}
		for _, want := range []string{`plugin "gitops"`, `capability "helm"`, `grants: {helm: [{clusters: ["*"], namespaces: ["*"], actions: ["*"]}]}`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not contain %q", err, want)
			}
		}
	}
	if f.registry.Get("gitops") != nil {
		t.Error("it is published all the same")
	}
}

// Advice to grant what does not exist would lead to the next refusal.
func TestACapabilityThatTheHostDoesNotHaveIsNotAdvised(t *testing.T) {
	f := newFixture(t)
	source := remake(t, packtest.Build(t, "plugins/echo"), func(m *manifest.Manifest) {
		m.Capabilities = append(m.Capabilities, manifest.Capability{Name: "telepathy", Reason: "reads minds"})
	})
	const want = `needs capability "telepathy" (reads minds), which this host does not have; there are exec, helm`
	err := f.swap(plugin.Config{Name: "echo", Source: source})
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "to grant it") {
		t.Errorf("error is %v", err)
	}
}

func TestAGrantThatThePluginDoesNotAskForIsWarnedOf(t *testing.T) {
	f := newFixture(t)
	g := f.load(t, plugin.Config{Name: "echo", Source: packtest.Build(t, "plugins/echo"), Grants: everything})
	if warned := f.logged.String(); len(g.Info().Capabilities) > 0 || !strings.Contains(warned, "capability=helm") || !strings.Contains(warned, "plugin=echo") {
		t.Errorf("capabilities are %v, warned was %q", g.Info().Capabilities, warned)
	}
}

// remake rewrites a plugin's manifest.
func remake(t *testing.T, source string, change func(*manifest.Manifest)) string {
	t.Helper()
	wasm, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := manifest.Extract(wasm)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	raw, err = json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err = manifest.Embed(wasm, raw); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	if err := os.WriteFile(out, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnImportThatTheManifestDoesNotAskForDoesNotLoad(t *testing.T) {
	f := newFixture(t)
	source := remake(t, packtest.Build(t, "plugins/gitops"), func(m *manifest.Manifest) { m.Capabilities = nil })
	err := f.swap(plugin.Config{Name: "gitops", Source: source, Grants: everything})
	if err == nil || !strings.Contains(err.Error(), `does not ask for capability "`) {
		t.Fatalf("error is %v", err)
	}
}

func TestAnOptionalCapabilityWithoutAGrantRefuses(t *testing.T) {
	f := newFixture(t)
	source := remake(t, packtest.Build(t, "plugins/gitops"), func(m *manifest.Manifest) { m.Capabilities[0].Optional = true })
	g := f.load(t, plugin.Config{Name: "gitops", Source: source, Config: json.RawMessage(`{"defaultCluster":"dev"}`)})
	if denied := g.Info().Denied; !slices.Contains(denied, "helm") {
		t.Fatalf("denied is %v", denied)
	}
	if _, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/helm-releases")); host.KindOf(err) != host.Forbidden {
		t.Fatalf("error is %v", err)
	}
}

func TestBadPluginsAreRefusedByName(t *testing.T) {
	f := newFixture(t)
	echo := packtest.Build(t, "plugins/echo")
	text := filepath.Join(t.TempDir(), "text.wasm")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config plugin.Config
		want   string
	}{
		{plugin.Config{Name: "admin", Source: echo}, "reserved"},
		{plugin.Config{Name: "Echo", Source: echo}, "lower-case"},
		{plugin.Config{Name: "echo", Source: "/nowhere.wasm"}, "source"},
		{plugin.Config{Name: "echo", Source: text}, "WebAssembly"},
		{plugin.Config{Name: "echo", Source: echo, Config: json.RawMessage(`{`)}, "config"},
	} {
		err := f.swap(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.config.Name) {
			t.Errorf("%+v: error is %v, want %q", c.config, err, c.want)
		}
	}
}

func TestRoutesMatchByMethodPathAndKind(t *testing.T) {
	g := newFixture(t).echo(t)
	for _, c := range []struct {
		socket       bool
		method, path string
		want         string
		allowed      []string
	}{
		{false, "GET", "/echo", "echo-get", nil},
		{false, "POST", "/echo", "echo", nil},
		{false, "DELETE", "/echo", "", []string{"POST", "GET"}},
		{false, "GET", "/", "", nil}, // a socket's path is no request's
		{true, "GET", "/", "chat", nil},
		{false, "GET", "/Echo", "", nil},
		{false, "GET", "/echo/x", "", nil},
	} {
		m, allowed := g.Match(c.socket, c.method, c.path, nil)
		name := ""
		if m != nil {
			name = m.Route.Name
		}
		if name != c.want || !slices.Equal(allowed, c.allowed) {
			t.Errorf("%s %s (socket %v): %q, allowed %v", c.method, c.path, c.socket, name, allowed)
		}
	}
}
