package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// install swaps m in as the configuration file does, which must succeed.
func (f *fixture) install(t testing.TB, m module, change ...func(*plugin.Swap)) *plugin.Report {
	t.Helper()
	s := plugin.Swap{Config: m.config(t), Origin: plugin.File}
	for _, c := range change {
		c(&s)
	}
	report, err := f.registry.Swap(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func as(user host.UserID) *host.Principal { return &host.Principal{User: user} }

// ask calls GET /run of the plugin module as the user, under a lease.
func (f *fixture) ask(t testing.TB, user host.UserID) (version string, err error) {
	t.Helper()
	l, ok := f.registry.Lease("module", as(user))
	if !ok {
		return "", errors.New("nothing serves")
	}
	defer l.Return()
	return run(l, user)
}

// request is a Call for GET /run, or for the socket at /.
func request(g *plugin.Generation, socket bool, path string, user host.UserID) *plugin.Call {
	m, _ := g.Match(socket, "GET", path, nil)
	return &plugin.Call{Match: m, URL: path, Caller: &capability.Caller{
		Plugin: m.Route.Plugin, Principal: as(user), Route: m.Route, Authority: &authority{}, RequestID: "r1", Logger: slog.New(slog.DiscardHandler),
	}}
}

func run(l *plugin.Lease, user host.UserID) (string, error) {
	c := request(l.Generation, false, "/run", user)
	defer c.Release()
	resp, err := l.Handle(context.Background(), c)
	if err != nil {
		return "", err
	}
	if len(resp.Header) != 1 || resp.Header[0].Value != string(resp.Body) {
		return "", fmt.Errorf("half of one version and half of another: %v %q", resp.Header, resp.Body)
	}
	return string(resp.Body), nil
}

func (f *fixture) status(t testing.TB) plugin.Status {
	t.Helper()
	list := f.registry.Status()
	k := slices.IndexFunc(list, func(s plugin.Status) bool { return s.Name == "module" })
	if k < 0 {
		t.Fatalf("module is not in %+v", list)
	}
	return list[k]
}

// until waits until the status is as ok wants it.
func (f *fixture) until(t testing.TB, what string, ok func(plugin.Status) bool) plugin.Status {
	t.Helper()
	late := time.After(time.Minute)
	for {
		changed := f.registry.Changed()
		st := f.status(t)
		if ok(st) {
			return st
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("waited in vain until %s: %+v", what, st)
		}
	}
}

func stepOf(err error) plugin.Step {
	if e, ok := errors.AsType[*plugin.StepError](err); ok {
		return e.Step
	}
	return ""
}

// Requests that have begun stay on their generation; the next ones get the new one, and
// the old one is gone when the last of them is over.
func TestASwapLosesNoRequest(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{version: "1.0.0"})
	old, _ := f.registry.Lease("module", as("ann"))
	report := f.install(t, module{version: "2.0.0"})
	if report.Outcome != plugin.Published || report.Version != "2.0.0" || len(report.Steps) != 10 {
		t.Errorf("%+v", report)
	}
	if got, err := run(old, "ann"); got != "1.0.0" || err != nil {
		t.Errorf("the request that had begun: %q, %v", got, err)
	}
	if got, err := f.ask(t, "ann"); got != "2.0.0" || err != nil {
		t.Errorf("the next request: %q, %v", got, err)
	}
	st := f.status(t)
	if len(st.Generations) != 2 || st.Generations[0].State != plugin.Draining || st.Generations[0].Leases != 1 ||
		st.Generations[1].State != plugin.Serving || st.Generations[1].Leases != 0 || st.Generations[1].Memory == 0 {
		t.Errorf("%+v", st.Generations)
	}
	old.Return()
	old.Return() // again does nothing
	f.until(t, "one generation is left", func(s plugin.Status) bool { return len(s.Generations) == 1 })
	if again := f.install(t, module{version: "2.0.0"}); again.Outcome != plugin.Unchanged || again.Generation != report.Generation {
		t.Errorf("what serves already: %+v", again)
	}
}

// broken is a swap for each step that fails there, from what would do.
var broken = []struct {
	step plugin.Step
	says string
	swap func(*testing.T, *plugin.Swap)
}{
	{plugin.StepCheck, "limits.fuel: must not be negative", func(_ *testing.T, s *plugin.Swap) { s.Limits.Fuel = -1 }},
	{plugin.StepCheck, "canary.percent: 101 must be from 0 to 100", func(_ *testing.T, s *plugin.Swap) { s.Canary = &plugin.Canary{Percent: 101} }},
	{plugin.StepCheck, "grants.nothing: the capability does not exist", func(_ *testing.T, s *plugin.Swap) {
		s.Grants = map[string][]capability.Grant{"nothing": {{}}}
	}},
	{plugin.StepCheck, "rollout.regression.errors: 0.5 is less than 1", func(_ *testing.T, s *plugin.Swap) { s.Rollout.Regression.Errors = 0.5 }},
	{plugin.StepFetch, "no such file", func(_ *testing.T, s *plugin.Swap) { s.Source = "/nowhere.wasm" }},
	{plugin.StepFetch, "is larger than 9 bytes (limits.module.moduleBytes)", func(_ *testing.T, s *plugin.Swap) { s.Limits.Module.ModuleBytes = 9 }},
	{plugin.StepVerify, "digest: the module has sha256:", func(_ *testing.T, s *plugin.Swap) { s.Digest = "sha256:" + strings.Repeat("0", 64) }},
	{plugin.StepAdmission, "not a WebAssembly", func(t *testing.T, s *plugin.Swap) {
		s.Source = filepath.Join(t.TempDir(), "text.wasm")
		if err := os.WriteFile(s.Source, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}},
	{plugin.StepAdmission, "limits.module.functions", func(_ *testing.T, s *plugin.Swap) { s.Limits.Module.Functions = 1 }},
	{plugin.StepCompile, "limits.module.codeBytes", func(_ *testing.T, s *plugin.Swap) { s.Limits.Module.CodeBytes = 1 }},
	{plugin.StepGrants, `needs capability "helm"`, func(t *testing.T, s *plugin.Swap) {
		s.Source, s.Grants = module{version: "3.0.0", fetch: true}.config(t).Source, nil
	}},
	{plugin.StepTemplate, "unreachable", func(t *testing.T, s *plugin.Swap) {
		s.Source = module{version: "3.0.0", start: "(unreachable)"}.config(t).Source
	}},
	{plugin.StepHealth, "bulkhead_health answered with status 503: the disk is full", func(t *testing.T, s *plugin.Swap) {
		s.Source = module{version: "3.0.0", health: "refuses"}.config(t).Source
	}},
	{plugin.StepHealth, "bulkhead_health: module module: bulkhead_health trapped", func(t *testing.T, s *plugin.Swap) {
		s.Source = module{version: "3.0.0", health: "(unreachable)"}.config(t).Source
	}},
	{plugin.StepHealth, "route run answered with status 500", func(t *testing.T, s *plugin.Swap) {
		s.Source = module{version: "3.0.0", status: 500, change: func(m *manifest.Manifest) { m.Health = "run" }}.config(t).Source
	}},
}

// A version that fails at any step leaves the old one serving, says where and why, and
// the next attempt is not hindered. The same holds of a first version.
func TestBadVersionDoesNotBlockRepair(t *testing.T) {
	f := newFixture(t)
	for k, b := range broken {
		s := plugin.Swap{Config: module{version: "2.0.0"}.config(t), Origin: plugin.File}
		b.swap(t, &s)
		for _, try := range []func(context.Context, plugin.Swap) (*plugin.Report, error){f.registry.Check, f.registry.Swap} {
			report, err := try(t.Context(), s)
			if stepOf(err) != b.step || !strings.Contains(err.Error(), b.says) || !strings.HasPrefix(err.Error(), `plugin "module": `+string(b.step)+": ") {
				t.Fatalf("%d %s: %v, want %q", k, b.step, err, b.says)
			}
			if last := report.Steps[len(report.Steps)-1]; report.Outcome != plugin.Failed || last.Step != b.step {
				t.Errorf("%s: %+v", b.step, report)
			}
		}
		if k == 0 {
			f.install(t, module{version: "1.0.0"})
			continue
		}
		if b.step != plugin.StepCheck {
			if st := f.status(t); st.Failed == nil || st.Failed.Step != b.step || !strings.Contains(st.Failed.Reason, b.says) {
				t.Errorf("%s: the status says %+v", b.step, st.Failed)
			}
		}
		if got, err := f.ask(t, "ann"); err != nil || got != "1.0.0" {
			t.Errorf("%s: after it %q serves, %v", b.step, got, err)
		}
	}
	f.install(t, module{version: "1.0.1", health: "fine"})
	if got, err := f.ask(t, "ann"); err != nil || got != "1.0.1" {
		t.Errorf("the repaired version: %q, %v", got, err)
	}
	st := f.until(t, "the replaced one is gone", func(s plugin.Status) bool { return len(s.Generations) == 1 })
	if st.Failed != nil {
		t.Errorf("the status still says %+v", st.Failed)
	}
}

// A name is the file's or the API's, as long as it is taken.
func TestANameHasOneOrigin(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	s := plugin.Swap{Config: module{version: "2.0.0"}.config(t), Origin: plugin.API}
	if _, err := f.registry.Swap(t.Context(), s); host.KindOf(err) != host.Conflict || stepOf(err) != plugin.StepCheck || !strings.Contains(err.Error(), "belongs to the configuration file") {
		t.Errorf("%v", err)
	}
	if err := f.registry.Remove(t.Context(), "module"); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.registry.Lease("module", as("ann")); ok {
		t.Error("what was removed serves")
	}
	if err := f.registry.Remove(t.Context(), "other"); host.KindOf(err) != host.NotFound {
		t.Errorf("%v", err)
	}
	report, err := f.registry.Swap(t.Context(), s)
	if err != nil || report.Outcome != plugin.Waits {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := f.registry.Swap(t.Context(), plugin.Swap{Config: s.Config, Origin: plugin.File}); host.KindOf(err) != host.Conflict {
		t.Errorf("a name that waits is free: %v", err)
	}
}

// What a new version may do beyond the one that serves waits for an administrator's
// consent to exactly that; nothing of the version runs before. Less is taken at once.
func TestConsentIsForMore(t *testing.T) {
	helm := everything["helm"]
	route := func(m *manifest.Manifest) {
		m.Routes = append(m.Routes, manifest.Route{Name: "drop", Method: "POST", Path: "/drop", Action: "drop", Mutates: true})
	}
	page := manifest.UIFiles{"index.js": []byte("let a")}
	narrow := []capability.Grant{{Clusters: []string{"dev"}, Namespaces: []string{"shop-*"}, Actions: []string{"list"}}}
	for name, c := range map[string]struct {
		old, next module
		grants    []capability.Grant // of both; nil: those of the old and of the next
		oldGrants []capability.Grant
		limits    plugin.Limits // of the next
		file, api []string      // fields that wait
	}{
		"the same rights": {module{}, module{version: "2.0.0"}, nil, nil, plugin.Limits{}, nil, nil},
		"a route with a new action": {module{}, module{version: "2.0.0", change: route}, nil, nil, plugin.Limits{},
			[]string{"actions", "routes.drop"}, []string{"actions", "routes.drop"}},
		"a page that changes something": {module{change: route}, module{version: "2.0.0", change: func(m *manifest.Manifest) {
			route(m)
			m.UI = &manifest.UI{Title: "Page", Routes: []string{"run", "drop"}}
		}, page: page}, nil, nil, plugin.Limits{}, []string{"ui.routes"}, []string{"ui.routes"}},
		"a page that reads": {module{}, module{version: "2.0.0", change: func(m *manifest.Manifest) { m.UI = &manifest.UI{Title: "Page", Routes: []string{"run"}} }, page: page},
			nil, nil, plugin.Limits{}, nil, nil},
		"a route and an action less": {module{change: route}, module{version: "2.0.0"}, nil, nil, plugin.Limits{}, nil, nil},
		"a path that moved": {module{}, module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Routes[1].Path = "/go" }}, nil, nil, plugin.Limits{},
			[]string{"routes.wait"}, []string{"routes.wait"}},
		"a capability that was granted already": {module{}, module{version: "2.0.0", fetch: true}, helm, nil, plugin.Limits{},
			[]string{"grants.helm"}, []string{"grants.helm"}},
		"a capability with its grant": {module{}, module{version: "2.0.0", fetch: true}, nil, nil, plugin.Limits{}, nil, []string{"grants.helm"}},
		"a wider grant":               {module{fetch: true}, module{version: "2.0.0", fetch: true}, nil, narrow, plugin.Limits{}, nil, []string{"grants.helm"}},
		"a capability less":           {module{fetch: true}, module{version: "2.0.0"}, helm, nil, plugin.Limits{}, nil, nil},
		"more memory by the operator": {module{}, module{version: "2.0.0"}, nil, nil, plugin.Limits{MemoryMiB: 128}, nil, []string{"limits.memoryMiB"}},
		"more time by the manifest": {module{change: func(m *manifest.Manifest) { m.Limits.Timeout = manifest.Duration(time.Second) }}, module{version: "2.0.0"},
			nil, nil, plugin.Limits{}, []string{"limits.timeout"}, []string{"limits.timeout"}},
		"less fuel": {module{}, module{version: "2.0.0"}, nil, nil, plugin.Limits{Fuel: 1000}, nil, nil},
		"another plugin": {module{}, module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Name = "other" }}, nil, nil, plugin.Limits{},
			[]string{"plugin"}, []string{"plugin"}},
	} {
		for origin, want := range map[plugin.Origin][]string{plugin.File: c.file, plugin.API: c.api} {
			t.Run(name+" by "+string(origin), func(t *testing.T) {
				f := newFixture(t)
				old := plugin.Swap{Config: c.old.config(t), Origin: origin}
				next := plugin.Swap{Config: c.next.config(t), Origin: origin}
				next.Limits = c.limits
				if c.grants != nil {
					old.Grants = map[string][]capability.Grant{"helm": c.grants}
					next.Grants = old.Grants
				}
				if c.oldGrants != nil {
					old.Grants = map[string][]capability.Grant{"helm": c.oldGrants}
				}
				first, err := f.registry.Swap(t.Context(), old)
				if err != nil {
					t.Fatal(err)
				}
				if origin == plugin.API { // for which everything is more
					if first.Outcome != plugin.Waits {
						t.Fatalf("the first version: %+v", first)
					}
					if _, err := f.registry.Approve(t.Context(), "module", first.Comparison.Digest); err != nil {
						t.Fatal(err)
					}
				}
				report, err := f.registry.Swap(t.Context(), next)
				if err != nil {
					t.Fatal(err)
				}
				if len(want) == 0 {
					if got, _ := f.ask(t, "ann"); report.Outcome != plugin.Published || got != "2.0.0" {
						t.Fatalf("%s: %v serves %s", report.Outcome, report.Comparison.More, got)
					}
					return
				}
				var fields []string
				for _, m := range report.Comparison.More {
					fields = append(fields, m.Field)
				}
				if got, _ := f.ask(t, "ann"); report.Outcome != plugin.Waits || !slices.Equal(fields, want) || got != "1.0.0" {
					t.Fatalf("%s for %v, want %v; %s serves", report.Outcome, report.Comparison.More, want, got)
				}
				if st := f.status(t); st.Waiting == nil || st.Waiting.Version != "2.0.0" || len(st.Generations) != 1 {
					t.Errorf("%+v", st)
				}
				// A consent to anything else is none.
				if _, err := f.registry.Approve(t.Context(), "module", first.Comparison.Digest); host.KindOf(err) != host.Conflict {
					t.Errorf("%v", err)
				}
				next.Consent = first.Comparison.Digest
				if _, err := f.registry.Swap(t.Context(), next); host.KindOf(err) != host.Conflict || stepOf(err) != plugin.StepCompare {
					t.Errorf("%v", err)
				}
				// What is approved is what was compared, whatever the source has become.
				if err := os.WriteFile(next.Source, []byte("another"), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := f.registry.Approve(t.Context(), "module", report.Comparison.Digest); err != nil {
					t.Fatal(err)
				}
				if got, _ := f.ask(t, "ann"); got != "2.0.0" || f.status(t).Waiting != nil {
					t.Errorf("with consent %s serves, %+v", got, f.status(t).Waiting)
				}
			})
		}
	}
}

// The files of a page are those of the version that is asked for, as long as it is alive.
func TestAPageBelongsToItsVersion(t *testing.T) {
	f := newFixture(t)
	version := func(v string) module {
		return module{version: v, page: manifest.UIFiles{"index.js": []byte(v)},
			change: func(m *manifest.Manifest) { m.UI = &manifest.UI{Title: "Page " + v} }}
	}
	first := f.install(t, version("1.0.0"))
	info := f.registry.List(nil)[0]
	if info.UI == nil || info.UI.Title != "Page 1.0.0" {
		t.Errorf("%+v", info.UI)
	}
	l, _ := f.registry.Lease("module", as("ann"))
	second := f.install(t, version("2.0.0"))
	for digest, want := range map[string]string{first.Digest: "1.0.0", second.Digest: "2.0.0"} {
		if got, ok := f.registry.Page("module", digest, "index.js"); !ok || string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	l.Return()
	f.until(t, "the first version is gone", func(s plugin.Status) bool { return len(s.Generations) == 1 })
	for _, c := range [][3]string{{"module", first.Digest, "index.js"}, {"module", second.Digest, "other.js"}, {"other", second.Digest, "index.js"}, {"module", "", "index.js"}} {
		if got, ok := f.registry.Page(c[0], c[1], c[2]); ok {
			t.Errorf("%v has %q", c, got)
		}
	}
	bad := version("3.0.0")
	bad.page = nil
	if _, err := f.registry.Swap(t.Context(), plugin.Swap{Config: bad.config(t), Origin: plugin.File}); stepOf(err) != plugin.StepAdmission || !strings.Contains(err.Error(), "no files of a page") {
		t.Errorf("%v", err)
	}
}

// The operator who pins the new module's digest in the file has approved that module.
func TestAPinnedDigestInTheFileIsConsent(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	next := module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Routes[1].Path = "/go" }}
	report := f.install(t, next)
	if report.Outcome != plugin.Waits {
		t.Fatalf("%+v", report)
	}
	if report = f.install(t, next, func(s *plugin.Swap) { s.Digest = report.Digest }); report.Outcome != plugin.Published {
		t.Errorf("%+v", report)
	}
}

// After a restart a version is compared with the one that served before it, which serves
// again while the other waits.
func TestARestartIsNoConsent(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	again := f.restart(t)
	report := again.install(t, module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Routes[1].Path = "/ws" }})
	if got, err := again.ask(t, "ann"); report.Outcome != plugin.Waits || got != "1.0.0" {
		t.Fatalf("%s, %q serves, %v", report.Outcome, got, err)
	}
	if _, err := again.registry.Approve(t.Context(), "module", report.Comparison.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err := again.ask(t, "ann"); got != "2.0.0" {
		t.Errorf("%q serves, %v", got, err)
	}
}

// Rolling back takes what is kept: the source may be gone, and the host restarted.
func TestRollingBackFetchesNothing(t *testing.T) {
	f := newFixture(t)
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		s := plugin.Swap{Config: module{version: version}.config(t), Origin: plugin.File}
		if _, err := f.registry.Swap(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(s.Source); err != nil {
			t.Fatal(err)
		}
	}
	first := f.status(t).Earlier[1]
	if report, err := f.registry.Rollback(t.Context(), "module", ""); err != nil || report.Version != "2.0.0" {
		t.Fatalf("%+v, %v", report, err)
	}
	if report, err := f.registry.Rollback(t.Context(), "module", first.Digest); err != nil || report.Version != "1.0.0" || first.Version != "1.0.0" {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := f.registry.Rollback(t.Context(), "module", "sha256:"+strings.Repeat("0", 64)); host.KindOf(err) != host.NotFound {
		t.Errorf("%v", err)
	}
	again := f.restart(t)
	again.install(t, module{version: "4.0.0"})
	if report, err := again.registry.Rollback(t.Context(), "module", ""); err != nil || report.Version != "1.0.0" {
		t.Errorf("after a restart: %+v, %v", report, err)
	}
	// What no name can roll back to is not kept.
	if err := again.registry.Remove(t.Context(), "module"); err != nil {
		t.Fatal(err)
	}
	again.gone(t)
	again.install(t, module{version: "5.0.0"})
	if left, err := filepath.Glob(filepath.Join(again.dir, "*.wasm")); err != nil || len(left) != 1 {
		t.Errorf("%v are kept, %v", left, err)
	}
}

// A kept module that was changed is not what is rolled back to.
func TestAKeptModuleIsComparedWithItsDigest(t *testing.T) {
	f := newFixture(t)
	s := plugin.Swap{Config: module{}.config(t), Origin: plugin.File}
	if _, err := f.registry.Swap(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	f.install(t, module{version: "2.0.0"})
	digest := f.status(t).Earlier[0].Digest
	kept := filepath.Join(f.dir, strings.TrimPrefix(digest, "sha256:")+".wasm")
	forged := module{version: "6.6.6"}.bytes(t)
	if err := os.WriteFile(kept, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	// The source has it still.
	if report, err := f.registry.Rollback(t.Context(), "module", digest); err != nil || report.Version != "1.0.0" {
		t.Fatalf("%+v, %v", report, err)
	}
	f.install(t, module{version: "3.0.0"})
	for _, path := range []string{kept, s.Source} {
		if err := os.WriteFile(path, forged, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.registry.Rollback(t.Context(), "module", digest); stepOf(err) != plugin.StepVerify {
		t.Errorf("%v", err)
	}
}

// gone waits until module has no generation.
func (f *fixture) gone(t testing.TB) {
	t.Helper()
	for {
		changed := f.registry.Changed()
		if !slices.ContainsFunc(f.registry.Status(), func(s plugin.Status) bool { return s.Name == "module" }) {
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("it is not gone")
		}
	}
}

// A user is on the same side of a canary for all requests; roles, teams and named users
// are on it, and nobody else.
func TestACanaryIsStableByUser(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	report := f.install(t, module{version: "2.0.0"}, func(s *plugin.Swap) {
		s.Canary = &plugin.Canary{Percent: 30, Users: []host.UserID{"bob"}, Roles: []string{"tester"}, Teams: []string{"core"}}
	})
	if report.Outcome != plugin.InCanary {
		t.Fatalf("%+v", report)
	}
	on := func(p *host.Principal) bool {
		l, _ := f.registry.Lease("module", p)
		defer l.Return()
		return l.Info().Version == "2.0.0"
	}
	canary := 0
	for k := range 1000 {
		user := host.UserID(fmt.Sprintf("user%d@example.com", k))
		if on(as(user)) {
			canary++
		}
		if on(as(user)) != on(&host.Principal{User: user, Name: "Another"}) {
			t.Fatalf("%s changes sides", user)
		}
	}
	if canary < 250 || canary > 350 {
		t.Errorf("%d of 1000 users are on the canary, want 30 of 100", canary)
	}
	if !on(as("bob")) || !on(&host.Principal{User: "eve", Roles: []string{"tester"}}) || !on(&host.Principal{User: "eve", Teams: []string{"core"}}) || on(nil) {
		t.Error("named users, roles and teams")
	}
	if infos := f.registry.List(nil); infos[0].Version != "1.0.0" {
		t.Errorf("the list shows %+v", infos)
	}
	if err := f.registry.Promote("module"); err != nil {
		t.Fatal(err)
	}
	if !on(nil) {
		t.Error("a promoted canary serves some only")
	}
	if err := f.registry.Promote("module"); host.KindOf(err) != host.Conflict {
		t.Errorf("%v", err)
	}
	f.install(t, module{version: "3.0.0"}, func(s *plugin.Swap) { s.Canary = &plugin.Canary{Percent: 100} })
	if got, _ := f.ask(t, "ann"); got != "3.0.0" {
		t.Errorf("%s", got)
	}
	if _, err := f.registry.Rollback(t.Context(), "module", ""); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.ask(t, "ann"); got != "2.0.0" {
		t.Errorf("after the canary was dropped %s serves", got)
	}
}

// A canary without a regression serves everybody after its time.
func TestACanaryIsPromotedAfterItsTime(t *testing.T) {
	f := newFixture(t)
	f.registry.WatchEvery(time.Millisecond)
	f.install(t, module{})
	f.install(t, module{version: "2.0.0"}, func(s *plugin.Swap) {
		s.Canary = &plugin.Canary{Users: []host.UserID{"bob"}, PromoteAfter: host.Duration(time.Millisecond)}
	})
	f.until(t, "it is promoted", func(s plugin.Status) bool { return s.Canary == nil })
	if got, _ := f.ask(t, "ann"); got != "2.0.0" {
		t.Errorf("%s serves", got)
	}
}

// A version whose calls fail, take long or compute more than those before it is rolled
// back by the host, says why, and is not what a rollback goes to.
func TestRegressionRollsBack(t *testing.T) {
	rules := func(s *plugin.Swap) { s.Rollout.Regression.Calls = 20 }
	for name, c := range map[string]struct {
		bad  module
		slow bool
		says string
	}{
		"errors":  {module{version: "2.0.0", fetch: true, status: 500}, false, "100.0 of 100 calls fail, 0.0 did before"},
		"traps":   {module{version: "2.0.0", fetch: true, handle: "(unreachable)"}, false, "100.0 of 100 calls fail, 0.0 did before"},
		"latency": {module{version: "2.0.0", fetch: true}, true, "99 of 100 calls take up to"},
		"fuel":    {module{version: "2.0.0", fetch: true, loop: 200_000}, false, "a call takes"},
	} {
		for _, canary := range []bool{false, true} {
			if canary && c.slow {
				continue // the double of helm is slow for both
			}
			t.Run(fmt.Sprintf("%s canary %v", name, canary), func(t *testing.T) {
				f := newFixture(t)
				f.registry.WatchEvery(time.Millisecond)
				f.install(t, module{version: "0.9.0", fetch: true}, rules)
				f.install(t, module{fetch: true}, rules)
				calls := func(user host.UserID) {
					for range 25 {
						_, _ = f.ask(t, user) // whose answer is what this is about
					}
				}
				calls("ann")
				if c.slow {
					f.helm.fetch = func(context.Context) (*abi.Response, error) {
						time.Sleep(100 * time.Millisecond)
						return &abi.Response{Status: 200}, nil
					}
				}
				f.install(t, c.bad, rules, func(s *plugin.Swap) {
					if canary {
						s.Canary = &plugin.Canary{Users: []host.UserID{"bob"}}
					}
				})
				if canary {
					calls("ann")
				}
				calls("bob")
				st := f.until(t, "it is rolled back", func(s plugin.Status) bool {
					return s.Failed != nil && len(s.Generations) == 1 && s.Generations[0].Version == "1.0.0"
				})
				if st.Failed.Step != plugin.StepWatch || !strings.Contains(st.Failed.Reason, c.says) {
					t.Errorf("%+v", st.Failed)
				}
				if len(st.Earlier) != 1 || st.Earlier[0].Version != "0.9.0" {
					t.Errorf("it can be rolled back to %+v", st.Earlier)
				}
			})
		}
	}
}

// A version that is no worse, or has had too few calls, stays.
func TestNoRegressionStays(t *testing.T) {
	f := newFixture(t)
	f.registry.WatchEvery(time.Millisecond)
	rules := func(s *plugin.Swap) {
		s.Rollout.Regression.Calls = 20
		s.Rollout.Regression.Latency = -1 // a busy machine is slow now and then
		s.Rollout.Regression.Watch = host.Duration(10 * time.Millisecond)
	}
	f.install(t, module{}, rules)
	for range 30 {
		_, _ = f.ask(t, "ann")
	}
	f.install(t, module{version: "2.0.0", status: 500}, rules)
	for range 10 {
		_, _ = f.ask(t, "ann")
	}
	f.install(t, module{version: "3.0.0"}, rules)
	for range 30 {
		_, _ = f.ask(t, "ann")
	}
	if got, err := f.ask(t, "ann"); got != "3.0.0" || f.status(t).Failed != nil {
		t.Errorf("%s serves, %v, %+v", got, err, f.status(t).Failed)
	}
}

// bind leases module for a session and returns the cause of its end.
func (f *fixture) bind(t testing.TB) (*plugin.Lease, <-chan error) {
	t.Helper()
	l, ok := f.registry.Lease("module", as("ann"))
	if !ok {
		t.Fatal("nothing serves")
	}
	ended := make(chan error, 1)
	l.Bind(func(cause error) { ended <- cause })
	return l, ended
}

func TestTheDrainDeadlineEndsSessions(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{}, func(s *plugin.Swap) { s.Rollout.Drain = host.Duration(time.Millisecond) })
	l, ended := f.bind(t)
	late, _ := f.registry.Lease("module", as("ann"))
	f.install(t, module{version: "2.0.0"})
	if cause := <-ended; !errors.Is(cause, host.ErrSwapped) {
		t.Errorf("it ends with %v", cause)
	}
	// A session that is bound too late ends at once.
	late.Bind(func(cause error) {
		if !errors.Is(cause, host.ErrSwapped) {
			t.Errorf("it ends with %v", cause)
		}
		late.Return()
	})
	l.Return()
	f.until(t, "the replaced one is gone", func(s plugin.Status) bool { return len(s.Generations) == 1 })
}

// A fourth swap ends the sessions of the oldest generation, and no others.
func TestThreeGenerationsAreAliveAtMost(t *testing.T) {
	f := newFixture(t)
	var ends []<-chan error
	var leases []*plugin.Lease
	for k := range 3 {
		f.install(t, module{version: fmt.Sprintf("1.0.%d", k)})
		l, ended := f.bind(t)
		leases, ends = append(leases, l), append(ends, ended)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cause := <-ends[0]; !errors.Is(cause, host.ErrSwapped) {
			t.Errorf("the oldest session ends with %v", cause)
		}
		if n := len(f.status(t).Generations); n != 3 {
			t.Errorf("%d generations are alive", n)
		}
		leases[0].Return()
	}()
	f.install(t, module{version: "2.0.0"})
	<-done
	if n := len(f.status(t).Generations); n != 3 {
		t.Errorf("%d generations are alive", n)
	}
	select {
	case cause := <-ends[1]:
		t.Errorf("another session ends with %v", cause)
	case cause := <-ends[2]:
		t.Errorf("another session ends with %v", cause)
	default:
	}
	leases[1].Return()
	leases[2].Return()
}

// While a swap waits for its turn, its generations or its module, it can be cancelled;
// nothing has changed, and the next one is not hindered.
func TestASwapThatIsCancelledChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	canceled := errors.New("the administrator has left")
	fetching, release := make(chan struct{}), make(chan struct{})
	f.fetch = func(ctx context.Context) error {
		close(fetching)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-release:
			return nil
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := f.registry.Swap(ctx, plugin.Swap{Config: module{version: "2.0.0"}.config(t), Origin: plugin.File})
		first <- err
	}()
	<-fetching
	f.fetch = nil
	waiting, leave := context.WithCancelCause(t.Context())
	go func() { // waits for its turn
		_, err := f.registry.Swap(waiting, plugin.Swap{Config: module{version: "3.0.0"}.config(t), Origin: plugin.File})
		second <- err
	}()
	leave(canceled)
	if err := <-second; !errors.Is(err, canceled) || stepOf(err) != plugin.StepCheck {
		t.Errorf("%v", err)
	}
	cancel(canceled)
	if err := <-first; !errors.Is(err, canceled) || stepOf(err) != plugin.StepFetch {
		t.Errorf("%v", err)
	}
	if got, _ := f.ask(t, "ann"); got != "1.0.0" || len(f.status(t).Generations) != 1 {
		t.Errorf("%s serves", got)
	}
	f.install(t, module{version: "2.0.0"})
}

// Swaps of one name take turns, and each is whole; the last one serves.
func TestTwoSwapsAtOnceTakeTurns(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	var all sync.WaitGroup
	var mu sync.Mutex
	numbers := map[uint64]string{}
	for k := range 4 {
		all.Go(func() {
			version := fmt.Sprintf("2.0.%d", k)
			report, err := f.registry.Swap(t.Context(), plugin.Swap{Config: module{version: version}.config(t), Origin: plugin.File})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			numbers[report.Generation] = version
		})
	}
	all.Wait()
	var last uint64
	for n := range numbers {
		last = max(last, n)
	}
	if got, _ := f.ask(t, "ann"); len(numbers) != 4 || got != numbers[last] {
		t.Errorf("%v, %s serves", numbers, got)
	}
}

func TestClosingEndsASwap(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	fetching := make(chan struct{})
	f.fetch = func(ctx context.Context) error {
		close(fetching)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		_, err := f.registry.Swap(context.Background(), plugin.Swap{Config: module{version: "2.0.0"}.config(t), Origin: plugin.File})
		done <- err
	}()
	<-fetching
	l, ended := f.bind(t)
	closing := make(chan error, 1)
	go func() { closing <- f.registry.Close(context.Background()) }()
	if err := <-done; host.KindOf(err) != host.Unavailable {
		t.Errorf("%v", err)
	}
	if cause := <-ended; !errors.Is(cause, host.ErrShutdown) {
		t.Errorf("a session ends with %v", cause)
	}
	l.Return()
	if err := <-closing; err != nil {
		t.Error(err)
	}
	if _, err := f.registry.Swap(context.Background(), plugin.Swap{Config: module{}.config(t), Origin: plugin.File}); host.KindOf(err) != host.Unavailable {
		t.Errorf("%v", err)
	}
	if _, ok := f.registry.Lease("module", as("ann")); ok {
		t.Error("a closed registry serves")
	}
}

// A broker that is replaced reaches the next generation, which is of the same code.
func TestRenewTakesTheNewBroker(t *testing.T) {
	f := newFixture(t)
	first := f.install(t, module{fetch: true})
	old := &releases{}
	f.registry.SetBroker(capability.NewBroker(func(context.Context, *host.Question) host.Decision { return host.Decision{Allow: true} }, slog.New(slog.DiscardHandler), old, f.exec))
	asked := make(chan struct{}, 1)
	old.fetch = func(context.Context) (*abi.Response, error) {
		asked <- struct{}{}
		return &abi.Response{Status: 200}, nil
	}
	report, err := f.registry.Renew(t.Context(), "module")
	if err != nil || report.Generation == first.Generation || report.Digest != first.Digest {
		t.Fatalf("%+v, %v", report, err)
	}
	if got, err := f.ask(t, "ann"); got != "1.0.0" || err != nil || len(asked) != 1 {
		t.Errorf("%s, %v, %d calls of the new broker", got, err, len(asked))
	}
	if st := f.status(t); len(st.Earlier) != 0 {
		t.Errorf("%+v", st.Earlier)
	}
}

// A health call that does not come back is refused after 5 s.
func TestAHealthCallIsBounded(t *testing.T) {
	f := newFixture(t)
	_, err := f.registry.Swap(t.Context(), plugin.Swap{Config: module{health: "(loop $l (br $l)) (i64.const 0)"}.config(t), Origin: plugin.File})
	if stepOf(err) != plugin.StepHealth || !strings.Contains(err.Error(), "bulkhead_health did not answer in 5s") {
		t.Errorf("%v", err)
	}
}

// Options.Hold is called under the lock of all swaps: a lease that needed it would never be
// had.
func TestALeaseWaitsForNoSwap(t *testing.T) {
	f := newFixture(t)
	held := 0
	f.options.Hold = func(*capability.Broker) func() {
		had := make(chan struct{})
		go func() {
			defer close(had)
			if l, ok := f.registry.Lease("module", as("ann@example.com")); ok {
				l.Return()
				held++
			}
		}()
		select {
		case <-had:
		case <-time.After(10 * time.Second):
			t.Error("a lease waits for the lock of swaps")
		}
		return func() {}
	}
	f.restart(t) // with this Hold
	f.install(t, module{version: "1.0.0"})
	f.install(t, module{version: "2.0.0"})
	if held != 1 {
		t.Errorf("%d leases were had while another version was swapped in", held)
	}
}
