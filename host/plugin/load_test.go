package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// swaps is how many TestSwapUnderLoad makes: 1000 in make soak.
var swaps = map[bool]int{true: 1000, false: 40}[os.Getenv("BULKHEAD_SOAK") != ""]

// mappings is how many memory mappings this process has; 0 where the system does not say.
func mappings(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// One name is replaced again and again while users call it, every tenth version broken in
// another step. No request is lost or gets half a version, sessions of another plugin
// lose no message and none ends, and there are three generations at most, which give
// their memory back.
func TestSwapUnderLoad(t *testing.T) {
	f := newFixture(t)
	steady := module{}.config(t)
	steady.Name = "steady"
	if err := f.swap(steady); err != nil {
		t.Fatal(err)
	}
	f.install(t, module{version: "0.0.0"})
	var versions []plugin.Config
	for k := range 10 {
		versions = append(versions, module{version: fmt.Sprintf("1.0.%d", k)}.config(t))
	}

	stop := make(chan struct{})
	var load sync.WaitGroup
	var calls, messages atomic.Int64
	g := f.registry.Get("steady")
	for k := range 2 { // canary streams
		s, end, err := begin(g, request(g, true, "/", host.UserID(fmt.Sprintf("stream%d", k))))
		if err != nil {
			t.Fatal(err)
		}
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if err := end(); !errors.Is(err, host.ErrDone) {
						t.Errorf("stream %d ends with %v", k, err)
					}
					return
				default:
				}
				want := fmt.Sprintf("%d.%d", k, n)
				select {
				case s.in <- want:
				case <-s.ended:
					t.Errorf("stream %d has ended", k)
					return
				}
				if got := <-s.out; got != want {
					t.Errorf("stream %d got %q instead of %q", k, got, want)
					return
				}
				messages.Add(1)
			}
		})
	}
	for k := range 2 {
		load.Go(func() {
			user := host.UserID(fmt.Sprintf("user%d", k))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := f.ask(t, user); err != nil || got != "0.0.0" && !strings.HasPrefix(got, "1.0.") {
					t.Errorf("a request got %q, %v", got, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	most, warm := 0, 0
	for k := range swaps {
		s := plugin.Swap{Config: versions[k%len(versions)], Origin: plugin.File}
		if k%10 == 9 {
			b := broken[k/10%len(broken)]
			b.swap(t, &s)
			if _, err := f.registry.Swap(context.Background(), s); stepOf(err) != b.step {
				t.Errorf("swap %d should fail at %s: %v", k, b.step, err)
			}
		} else if report, err := f.registry.Swap(context.Background(), s); err != nil || report.Outcome != plugin.Published {
			t.Errorf("swap %d: %+v, %v", k, report, err)
		}
		most = max(most, len(f.status(t).Generations))
		if k == 19 {
			f.until(t, "the others are gone", func(s plugin.Status) bool { return len(s.Generations) == 1 })
			warm = mappings(t)
		}
	}
	f.until(t, "the others are gone", func(s plugin.Status) bool { return len(s.Generations) == 1 })
	if now := mappings(t); now > warm+warm/4+50 {
		t.Errorf("%d mappings, %d after 20 swaps", now, warm)
	}
	close(stop)
	load.Wait()
	if most > 3 {
		t.Errorf("%d generations were alive", most)
	}
	t.Logf("%d swaps, %d calls, %d messages, at most %d generations", swaps, calls.Load(), messages.Load(), most)
}

// BenchmarkSwap replaces a plugin by another version that is compiled already: from the
// call to the first answer.
func BenchmarkSwap(b *testing.B) {
	f := newFixture(b)
	list := []plugin.Config{module{version: "1.0.0"}.config(b), module{version: "2.0.0"}.config(b)}
	for k := range list {
		if err := f.swap(list[k]); err != nil {
			b.Fatal(err)
		}
	}
	for k := 0; b.Loop(); k++ {
		if err := f.swap(list[k%2]); err != nil {
			b.Fatal(err)
		}
		if _, err := f.ask(b, "ann"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstallCold installs a plugin of some megabytes whose code is not in the
// cache: from the call to the generation that serves.
func BenchmarkInstallCold(b *testing.B) {
	source := packtest.Build(b, "plugins/gitops")
	log := slog.New(slog.DiscardHandler)
	for b.Loop() {
		box, err := sandbox.New(sandbox.Config{CacheDir: b.TempDir(), Logger: log})
		if err != nil {
			b.Fatal(err)
		}
		f := newFixture(b)
		f.options.Sandbox = box
		f.open(b)
		f.load(b, plugin.Config{Name: "gitops", Source: source, Grants: everything})
	}
}

// BenchmarkLease is what a request pays for being on a generation.
func BenchmarkLease(b *testing.B) {
	f := newFixture(b)
	f.install(b, module{})
	f.install(b, module{version: "2.0.0"}, func(s *plugin.Swap) { s.Canary = &plugin.Canary{Percent: 10} })
	ann := as("ann@example.com")
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			l, _ := f.registry.Lease("module", ann)
			l.Return()
		}
	})
}
