package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// A version that served before is started again under the rules of now, not under those with
// which it was kept: by hand, by the host, and when its capabilities are renewed.
func TestAnEarlierVersionIsVerifiedAsTheConfigurationSaysNow(t *testing.T) {
	f := newFixture(t)
	withdrawn := errors.New("its key was withdrawn")
	var asked []string
	f.options.Policy = func(o plugin.Origin, c *plugin.Config) error {
		asked = append(asked, fmt.Sprint(o, " ", c.Name))
		return withdrawn
	}
	f.restart(t)
	f.install(t, module{version: "1.0.0"})
	f.install(t, module{version: "2.0.0"})
	if asked != nil {
		t.Errorf("asked about what is new: %q", asked)
	}
	for name, again := range map[string]func(context.Context) (*plugin.Report, error){
		"rolled back": func(ctx context.Context) (*plugin.Report, error) { return f.registry.Rollback(ctx, "module", "") },
		"renewed":     func(ctx context.Context) (*plugin.Report, error) { return f.registry.Renew(ctx, "module") },
		"verified": func(ctx context.Context) (*plugin.Report, error) {
			return nil, f.registry.Verify(ctx, "module")
		},
	} {
		asked = nil
		if _, err := again(t.Context()); !errors.Is(err, withdrawn) || stepOf(err) != plugin.StepVerify || len(asked) != 1 || asked[0] != "file module" {
			t.Errorf("%s: %v, asked %q", name, err, asked)
		}
		if got, err := f.ask(t, "ann"); got != "2.0.0" || err != nil {
			t.Errorf("after it was %s: %q, %v", name, got, err)
		}
	}
	withdrawn = nil
	if err := f.registry.Verify(t.Context(), "module"); err != nil {
		t.Errorf("what passes: %v", err)
	}
	if report, err := f.registry.Rollback(t.Context(), "module", ""); err != nil || report.Version != "1.0.0" {
		t.Errorf("allowed again: %+v, %v", report, err)
	}
}

func TestVerifyFetchesWhatRuns(t *testing.T) {
	f := newFixture(t)
	if err := f.registry.Verify(t.Context(), "module"); err != nil {
		t.Errorf("nothing runs: %v", err)
	}
	f.install(t, module{version: "1.0.0"})
	f.install(t, module{version: "2.0.0"}, func(s *plugin.Swap) {
		s.Canary = &plugin.Canary{Percent: 10}
		s.Verification.Unsigned = true // so that it is fetched each time
	})
	gone := errors.New("the source is gone")
	f.fetch = func(context.Context) error { return gone }
	if err := f.registry.Verify(t.Context(), "module"); !errors.Is(err, gone) {
		t.Errorf("the canary cannot be fetched: %v", err)
	}
	if s := f.status(t); len(s.Generations) != 2 || s.Failed != nil {
		t.Errorf("the status is %+v", s)
	}
}

func TestASuspendedPluginServesAgainWithTheNextSwap(t *testing.T) {
	f := newFixture(t)
	f.registry.Suspend("module") // which is not there
	f.install(t, module{version: "1.0.0"})
	f.install(t, module{version: "2.0.0"})
	lease, ended := f.bind(t)
	f.registry.Suspend("module")
	if err := <-ended; !errors.Is(err, host.ErrSwapped) {
		t.Errorf("the session ends with %v", err)
	}
	lease.Return()
	if _, ok := f.registry.Lease("module", nil); ok {
		t.Error("it has a lease")
	}
	f.until(t, "its memory is given back", func(s plugin.Status) bool { return len(s.Generations) == 0 && len(s.Earlier) == 1 })
	if report := f.install(t, module{version: "2.0.0"}); report.Outcome != plugin.Published {
		t.Errorf("the next swap: %+v", report)
	}
	if got, err := f.ask(t, "ann"); got != "2.0.0" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
