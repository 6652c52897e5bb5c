package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// published is a registry of plugins, with the keys of who may sign.
type published struct {
	*httptest.Server
	dir    string
	client artifact.Client
}

func publish(t *testing.T) *published {
	t.Helper()
	p := &published{dir: t.TempDir()}
	p.Server = httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)), registry.WithReferrersSupport(true)))
	t.Cleanup(p.Close)
	return p
}

// at is a reference in the registry.
func (p *published) at(text string) string {
	return "oci://" + strings.TrimPrefix(p.URL, "http://") + "/" + text
}

// key makes the key pair NAME.key and NAME.pub.
func (p *published) key(t *testing.T, name string) *artifact.SigningKey {
	t.Helper()
	private, public, err := artifact.NewKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{name + ".key": private, name + ".pub": public} {
		if err := os.WriteFile(filepath.Join(p.dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k, err := artifact.ReadSigningKey(filepath.Join(p.dir, name+".key"), func() ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// push pushes and signs a module.
func (p *published) push(t *testing.T, text string, wasm []byte, by *artifact.SigningKey) {
	t.Helper()
	ref, err := artifact.ParseReference(p.at(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.client.Push(t.Context(), wasm, ref, artifact.Access{}); err == nil {
		_, _, err = p.client.Sign(t.Context(), ref, artifact.Access{}, by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// put asks for a plugin, first with a dry run, and consents to what it may do.
func (w *world) put(t *testing.T, name string, q fleet.Request) (plugin.Report, error) {
	t.Helper()
	var answer struct{ Report plugin.Report }
	for _, query := range []string{"?dryRun=true", ""} {
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.admin(t, "PUT", "/plugins/"+name+query, bytes.NewReader(text), &answer); err != nil {
			return answer.Report, err
		}
		q.Reference, q.Digest = answer.Report.Source, answer.Report.Digest
		if c := answer.Report.Comparison; c != nil {
			q.Consent = c.Digest
		}
	}
	return answer.Report, nil
}

// A plugin is installed from a registry by its tag: what the tag meant then is desired,
// verified as the configuration says, and there again after a restart without the
// registry. What the configuration does not allow is refused with what to configure.
func TestAPluginIsInstalledByReference(t *testing.T) {
	hub := publish(t)
	ops, foreign := hub.key(t, "ops"), hub.key(t, "foreign")
	hub.push(t, "plugins/echo:v1", echoAs(t, "0.1.1"), ops)
	hub.push(t, "plugins/foreign:v1", echoAs(t, "0.1.2"), foreign)
	catalog, err := artifact.ParseReference(hub.at("catalog:latest"))
	if err != nil {
		t.Fatal(err)
	}
	signed := artifact.Verification{AnyOf: []artifact.Identity{{Key: filepath.Join(hub.dir, "ops.pub")}}}
	if _, _, err = hub.client.AddToCatalog(t.Context(), artifact.Package{Source: hub.at("plugins/echo:v1"), Verification: signed}, catalog, artifact.Access{}); err == nil {
		_, _, err = hub.client.Sign(t.Context(), catalog, artifact.Access{}, ops)
	}
	if err != nil {
		t.Fatal(err)
	}

	w := prepare(t, "")
	const bare = "listen: 127.0.0.1:0\ndata: ./data\nauth: {dev: {}}\ndirectory: {files: ./directory}\nlimits: {rates: {client: -1, account: -1}}\n"
	w.write(t, "bulkhead.yaml", bare)
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	shareCompiled(t, c.Data)
	open := func() func() {
		t.Helper()
		end, err := w.serve(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	}
	end := open()
	if _, err := w.put(t, "echo", fleet.Request{Reference: hub.at("plugins/echo:v1")}); err == nil || !strings.Contains(err.Error(), "add one to packages.sources") {
		t.Errorf("nothing is configured: %v", err)
	}
	packages := "packages:\n  sources:\n    - {place: " + hub.at("") + ", plugins: [echo, greeter], verification: {anyOf: [{key: " + filepath.Join(hub.dir, "ops.pub") + "}]}}\n" +
		"  catalogs:\n    - {source: " + hub.at("catalog:latest") + ", verification: {anyOf: [{key: " + filepath.Join(hub.dir, "ops.pub") + "}]}}\n"
	w.write(t, "bulkhead.yaml", bare+packages)
	w.reload(t)
	for reference, want := range map[string]string{
		hub.at("plugins/foreign:v1"):      "by another signer",
		hub.at("plugins/absent:v1"):       "fetch: ",
		"oci://registry.example.com/a:v1": "add one to packages.sources",
		"catalog:absent":                  "is in no catalogue",
	} {
		if _, err := w.put(t, "echo", fleet.Request{Reference: reference}); err == nil || !strings.HasPrefix(err.Error(), "422") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", reference, err, want)
		}
	}
	if _, err := w.put(t, "greeter", fleet.Request{Reference: hub.at("plugins/echo:v1")}); err == nil || !strings.Contains(err.Error(), "verification.plugin: what was signed is the plugin") {
		t.Errorf("under the name of another plugin: %v", err)
	}
	if _, err := w.put(t, "gitops", fleet.Request{Reference: hub.at("plugins/echo:v1")}); err == nil || !strings.Contains(err.Error(), "packages.sources[0] is for other names than gitops") {
		t.Errorf("under a name that is not allowed: %v", err)
	}

	report, err := w.put(t, "echo", fleet.Request{Reference: hub.at("plugins/echo:v1")})
	if err != nil {
		t.Fatal(err)
	}
	p := w.activeOn(t, "echo", "0.1.1", 1)
	if p.Serve.Source != report.Source || !strings.HasPrefix(p.Serve.Source, hub.at("plugins/echo:v1@sha256:")) || p.Serve.Digest != report.Digest {
		t.Errorf("desired is %+v", p.Serve)
	}
	hub.push(t, "plugins/echo:v1", echoAs(t, "0.1.3"), ops) // the tag is moved
	var offers struct{ Catalogs []artifact.Catalog }
	if err := w.admin(t, "GET", "/catalog", nil, &offers); err != nil || len(offers.Catalogs) != 1 || len(offers.Catalogs[0].Entries) != 1 || offers.Catalogs[0].Entries[0].Name != "echo" {
		t.Errorf("the catalogue: %+v, %v", offers, err)
	}
	if report, err = w.put(t, "echo", fleet.Request{Reference: "catalog:echo", Revision: p.Revision}); err != nil || report.Version != "0.1.1" || !strings.Contains(report.Source, "/catalog@sha256:") {
		t.Errorf("from the catalogue: %+v, %v", report, err)
	}
	p = w.activeOn(t, "echo", "0.1.1", 1)
	end()

	hub.Close()
	c, err = Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer open()()
	if got := w.as(t, "eve").get("/api/echo/echo"); got.status != 200 {
		t.Errorf("after a restart without the registry: %v", got)
	}
	// An operator who withdraws the source is heeded: the plugin is reported, or stops.
	w.write(t, "bulkhead.yaml", bare)
	w.reload(t)
	failed := func(want string) {
		t.Helper()
		for tag := ""; t.Context().Err() == nil; tag = p.Tag {
			if err := w.admin(t, "GET", "/plugins/echo?after="+tag, nil, &p); err != nil {
				t.Fatal(err)
			}
			if p.State == fleet.Failed && strings.Contains(p.Because, want) {
				return
			}
			if tag == p.Tag { // nothing changes any more
				t.Fatalf("it is %s because %q, and not because %q", p.State, p.Because, want)
			}
		}
	}
	failed("add one to packages.sources, with place, plugins and verification; it runs on, and is not started again")
	if got := w.as(t, "eve").get("/api/echo/echo"); got.status != 200 {
		t.Errorf("while it runs on: %v", got)
	}
	w.write(t, "bulkhead.yaml", bare+"packages: {stopUnverified: true}\n")
	w.reload(t)
	failed("it was stopped")
	if got := w.as(t, "eve").get("/api/echo/echo"); got.status != 404 {
		t.Errorf("where it stops: %v", got)
	}
	w.write(t, "bulkhead.yaml", bare+packages)
	w.reload(t)
	p = w.activeOn(t, "echo", "0.1.1", 1)
	// A key that is another one has the same effect as one that is withdrawn.
	hub.key(t, "ops")
	w.reload(t)
	failed("the copy on disk cannot be used either: ")
	w.write(t, "bulkhead.yaml", bare)
	w.reload(t)
	if _, err := w.put(t, "echo", fleet.Request{Keep: []string{"module"}, Config: json.RawMessage(`{"a":1}`), Revision: p.Revision}); err == nil || !strings.Contains(err.Error(), "verify: ") {
		t.Errorf("the source was withdrawn: %v", err)
	}
}

// echoWith is the echo plugin with another manifest.
func echoWith(t *testing.T, change func(*manifest.Manifest)) []byte {
	t.Helper()
	wasm, err := os.ReadFile(packtest.Build(t, "plugins/echo"))
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
	if raw, err = json.Marshal(m); err == nil {
		wasm, err = manifest.Embed(wasm, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// A version that the configuration file brings and that may do more waits; an
// administrator sees what is new and approves exactly that. A host that was restarted
// meanwhile serves what served before.
func TestAVersionOfTheFileIsApproved(t *testing.T) {
	w := prepare(t, "")
	module := filepath.Join(w.dir, "echo.wasm")
	w.write(t, "echo.wasm", string(echoAs(t, "0.1.1")))
	w.write(t, "bulkhead.yaml", "listen: 127.0.0.1:0\ndata: ./data\nauth: {dev: {}}\ndirectory: {files: ./directory}\nplugins: [{name: echo, source: ./echo.wasm}]\nlimits: {rates: {client: -1, account: -1}}\n")
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	shareCompiled(t, c.Data)
	open := func() func() {
		t.Helper()
		end, err := w.serve(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	}
	open()()
	if err := os.WriteFile(module, echoWith(t, func(m *manifest.Manifest) { m.Routes[0].Action = "post.read" }), 0o600); err != nil {
		t.Fatal(err)
	}
	defer open()()
	eve := w.as(t, "eve")
	expect(t, eve.get("/api/echo/echo"), 200, "what served before the restart")
	p, err := w.plugin(t, "echo")
	if err != nil || p.State != fleet.Progressing || p.Waiting == nil || len(p.Waiting.Comparison.More) != 2 || p.Waiting.Comparison.More[0].New != "echo:post.read" {
		t.Fatalf("%+v, %v", p, err)
	}
	approve := func(consent string) error {
		return w.admin(t, "POST", "/plugins/echo/approve", strings.NewReader(`{"consent":"`+consent+`"}`), nil)
	}
	if err := approve("sha256:0"); err == nil || !strings.HasPrefix(err.Error(), "409") || !strings.Contains(err.Error(), p.Waiting.Comparison.Digest) {
		t.Errorf("another consent: %v", err)
	}
	if err := approve(p.Waiting.Comparison.Digest); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the approved version to serve", func() bool {
		p, err = w.plugin(t, "echo")
		return err == nil && p.State == fleet.Active && p.Waiting == nil
	})
	if got := w.server.plugins.Get("echo").Info().Digest; got != p.Replicas[0].Digest {
		t.Errorf("%s serves", got)
	}
	if err := approve(p.Replicas[0].Digest); err == nil || !strings.HasPrefix(err.Error(), "404") {
		t.Errorf("nothing waits: %v", err)
	}
}

// A plugin that was taken out of the file while the host was away leaves nothing behind.
func TestAPluginThatWasRemovedWhileTheHostWasAwayIsForgotten(t *testing.T) {
	w := prepare(t, "")
	with := "listen: 127.0.0.1:0\ndata: ./data\nauth: {dev: {}}\ndirectory: {files: ./directory}\n"
	for i, plugins := range []string{fmt.Sprintf("plugins: [{name: echo, source: %q}]\n", packtest.Build(t, "plugins/echo")), ""} {
		w.write(t, "bulkhead.yaml", with+plugins)
		c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		shareCompiled(t, c.Data)
		end, err := w.serve(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		left, err := filepath.Glob(filepath.Join(w.dir, "data", "plugins", "*"))
		if want := 2 - 2*i; err != nil || len(left) != want {
			t.Errorf("start %d: %v, %v; want %d files", i+1, left, err, want)
		}
	}
}
