package plugin_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// An entry that differs only in how its versions are replaced makes no generation, and
// counts from the next swap, also after a restart.
func TestAChangeOfTheRolloutTakesEffect(t *testing.T) {
	f := newFixture(t)
	m := module{}
	first := f.install(t, m)
	drain := func(s *plugin.Swap) { s.Rollout.Drain = host.Duration(time.Millisecond) }
	report := f.install(t, m, drain)
	if report.Outcome != plugin.Unchanged || report.Generation != first.Generation {
		t.Errorf("%+v", report)
	}
	l, _ := f.registry.Lease("module", as("ann"))
	defer l.Return()
	ended := make(chan error, 1)
	l.Bind(func(cause error) { ended <- cause })
	f.install(t, module{version: "2.0.0"})
	select {
	case cause := <-ended:
		if cause != host.ErrSwapped {
			t.Error(cause)
		}
	case <-time.After(time.Minute):
		t.Fatal("the session does not end at the deadline that the entry has now")
	}
}

// What a rollback takes is verified as the entry said last.
func TestAChangeOfTheVerificationIsKept(t *testing.T) {
	f := newFixture(t)
	m := module{}
	f.install(t, m)
	report := f.install(t, m, func(s *plugin.Swap) {
		s.Verification = artifact.Verification{AnyOf: []artifact.Identity{{Key: "ops.pub"}}}
	})
	if report.Outcome != plugin.Unchanged {
		t.Errorf("%+v", report)
	}
	text, err := os.ReadFile(filepath.Join(f.dir, "module.json"))
	if err != nil || !strings.Contains(string(text), "ops.pub") {
		t.Errorf("%s, %v", text, err)
	}
}

// What was removed while the host was away is forgotten, for its origin alone: a later
// plugin of the name is a new one.
func TestWhatWasRemovedWhileTheHostWasAwayIsForgotten(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	kept := func() int {
		list, err := filepath.Glob(filepath.Join(f.dir, "*.*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	f.restart(t)
	f.registry.Retain(plugin.API, nil)
	f.registry.Retain(plugin.File, []string{"module"})
	if kept() != 2 {
		t.Errorf("%d files are kept of a plugin that is there", kept())
	}
	f.registry.Retain(plugin.File, []string{"other"})
	if kept() != 0 {
		t.Errorf("%d files are kept of a plugin that was removed", kept())
	}
	wide := module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Routes[1].Path = "/ws" }}
	if report := f.install(t, wide); report.Outcome != plugin.Published || report.Comparison.From != "" {
		t.Errorf("a later plugin: %+v", report)
	}
	f.registry.Retain(plugin.File, nil) // it serves
	if kept() != 2 {
		t.Errorf("%d files are kept of what serves", kept())
	}
}

// Several plugins are replaced all or none: one that waits for consent does so only once
// the others are published, and what served before a restart serves meanwhile.
func TestAPreparedVersionWaitsOnceItIsPublished(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{})
	f.restart(t)
	wide := module{version: "2.0.0", change: func(m *manifest.Manifest) { m.Routes[1].Path = "/ws" }}
	prepare := func() *plugin.Prepared {
		t.Helper()
		p, err := f.registry.Prepare(t.Context(), plugin.Swap{Config: wide.config(t), Origin: plugin.File}, f.options.Broker, plugin.Limits{})
		if err != nil || p.Report().Outcome != plugin.Waits {
			t.Fatalf("%+v, %v", p, err)
		}
		return p
	}
	prepare().Discard()
	if list := f.registry.Status(); slices.ContainsFunc(list, func(s plugin.Status) bool { return s.Waiting != nil }) {
		t.Errorf("after it was given up: %+v", list)
	}
	if _, err := prepare().Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := f.status(t)
	if got, err := f.ask(t, "ann"); st.Waiting == nil || got != "1.0.0" {
		t.Fatalf("%+v; %q serves, %v", st, got, err)
	}
	if _, err := f.registry.Approve(t.Context(), "module", st.Waiting.Comparison.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ask(t, "ann"); got != "2.0.0" {
		t.Errorf("%q serves, %v", got, err)
	}
}

func TestAnOlderVersionSaysSo(t *testing.T) {
	f := newFixture(t)
	f.install(t, module{version: "1.10.0"})
	for version, want := range map[string]bool{"1.9.0": true, "1.10.1": false} {
		report, err := f.registry.Check(t.Context(), plugin.Swap{Config: module{version: version}.config(t), Origin: plugin.File})
		says := slices.Contains(report.Warnings, "version "+version+" is older than 1.10.0, which serves: this goes back")
		if err != nil || says != want {
			t.Errorf("%s: %v, %v", version, report.Warnings, err)
		}
	}
}

// A signature for one plugin does not count for another.
func TestASignatureCountsForThePluginThatItNames(t *testing.T) {
	f := newFixture(t)
	signed := artifact.Verification{AnyOf: []artifact.Identity{{Key: "ops.pub"}}}
	for plugins, ok := range map[string]bool{"": true, "module": true, "*": true, "gitops": false} {
		s := plugin.Swap{Config: module{}.config(t), Origin: plugin.File}
		s.Verification = signed
		s.Verification.Plugin = plugins
		report, err := f.registry.Check(t.Context(), s)
		if (err == nil) != ok || err != nil && (stepOf(err) != plugin.StepVerify || !strings.Contains(err.Error(), `what was signed is the plugin "module", and not "gitops"`)) {
			t.Errorf("%q: %+v, %v", plugins, report, err)
		}
	}
	other := plugin.Swap{Config: module{}.config(t), Origin: plugin.File}
	other.Name, other.Verification = "gitops", signed
	if _, err := f.registry.Check(t.Context(), other); stepOf(err) != plugin.StepVerify {
		t.Errorf("under another name: %v", err)
	}
}
