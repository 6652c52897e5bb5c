//go:build linux

package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// What hostile modules get, and what is asked of the sandbox.
const (
	hostileDeadline = 50 * time.Millisecond
	hostileInit     = 500 * time.Millisecond
	hostileMemory   = 16 << 20 // of an instance
	hostileTotal    = 24 << 20 // of a module's instances together
	hostileRewrite  = 8 << 20  // a twelfth of the default, so that the race detector has a twelfth to do

	// grace is how soon after its deadline a guest has to be gone. On a machine
	// that does other things a module gets tries to show it, and is never given
	// more than patience.
	grace    = 250 * time.Millisecond
	tries    = 4
	patience = 5 * time.Second
)

// hostile is one module under testdata/hostile/FAMILY, and what its head says
// has to come of it.
type hostile struct {
	name, family string
	fuel         uint64
	refused      string // by Load, for a reason that contains this
	fault        sandbox.Fault
	cause        string
	module       []byte
}

var hostileFaults = map[string]sandbox.Fault{
	"deadline": sandbox.Deadline, "trapped": sandbox.Trapped, "exited": sandbox.Exited,
	"exhausted": sandbox.Exhausted, "stopped": sandbox.Stopped,
}

func hostileName(path string) (name, family string) {
	family = filepath.Base(filepath.Dir(path))
	return family + "/" + strings.TrimSuffix(filepath.Base(path), ".wat"), family
}

func readHostile(t *testing.T, path string) (h hostile) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h.module = wattest.Must(string(text))
	h.name, h.family = hostileName(path)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, ";;")), ": ")
		switch key {
		case "refused":
			h.refused = value
		case "fuel":
			h.fuel, err = strconv.ParseUint(value, 10, 64)
		case "ends":
			fault, cause, _ := strings.Cut(value, ", ")
			var ok bool
			if h.fault, ok = hostileFaults[fault]; !ok {
				t.Fatalf("%s: ends: %q is no fault", path, fault)
			}
			h.cause = cause
			return h
		}
	}
	if h.refused == "" || err != nil {
		t.Fatalf("%s does not say what comes of it (%v)", path, err)
	}
	return h
}

// TestHostileModules loads and runs everything under testdata/hostile beside a
// goroutine that collects garbage all the time: each module is refused with
// its reason, or ended soon after its deadline, and costs the host no more than
// its family may (see bounds).
func TestHostileModules(t *testing.T) {
	paths, err := filepath.Glob("testdata/hostile/*/*.wat")
	if err != nil {
		t.Fatal(err)
	}
	watch := newWatch()
	families := map[string]int{}
	var refused, ended int
	var slowest time.Duration
	var slowestName string
	for _, path := range paths {
		name, family := hostileName(path)
		families[family]++
		t.Run(name, func(t *testing.T) {
			h := readHostile(t, path)
			spent := startCosts()
			before := watch.restart()
			if h.refused != "" {
				h.load(t, spent)
				refused++
			} else if late := h.run(t, spent); true {
				ended++
				if late > slowest {
					slowest, slowestName = late, h.name
				}
			}
			spent.peak = watch.peak() - before
			spent.check(t, family)
		})
	}
	gap, grown := watch.stop()
	t.Logf("%d modules of %d families: %d refused, %d ended", len(paths), len(families), refused, ended)
	t.Logf("last to end: %s, %v after its deadline", slowestName, slowest.Round(time.Microsecond))
	t.Logf("longest gap between heartbeats: %v; most resident memory while a module ran: %d MiB more than before", gap.Round(time.Microsecond), grown>>20)
	logCosts(t)
	if len(paths) < 60 || len(families) < 15 {
		t.Errorf("%d modules in %d families, want at least 60 in 15", len(paths), len(families))
	}
	for family := range bounds {
		if families[family] == 0 {
			t.Errorf("bounds for the family %s, which has no module", family)
		}
	}
	if gap > patience {
		t.Errorf("the host stood still for %v", gap)
	}
}

// load fails the test unless Load refuses the module for its reason.
func (h *hostile) load(t *testing.T, spent *costs) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m, err := box.Load(t.Context(), h.module, h.spec(nil, spent))
	spent.keep()
	if err == nil {
		m.Close(context.Background())
		t.Fatal("it was loaded")
	}
	if !strings.Contains(err.Error(), h.refused) {
		t.Errorf("refused with %q, want %q", err, h.refused)
	}
	t.Logf("refused after %v: %v", time.Since(began).Round(time.Microsecond), err)
}

// run loads the module, calls it until it was ended in time, and returns how
// long after its deadline that was.
func (h *hostile) run(t *testing.T, spent *costs) (late time.Duration) {
	var held *sandbox.Instance
	m := loadBytes(t, sandbox.Config{}, h.module, h.spec(&held, spent))
	defer spent.keep() // the module is loaded and its instances idle
	for range tries {
		if late = h.call(t, m, &held); late <= grace || t.Failed() {
			return late
		}
	}
	t.Errorf("ended %v after its deadline, and no sooner in %d calls", late, tries)
	return late
}

func (h *hostile) call(t *testing.T, m *sandbox.Module, held **sandbox.Instance) (late time.Duration) {
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	*held = i
	given := hostileDeadline
	if h.fault != sandbox.Deadline {
		given = patience // it ends itself
	}
	ctx, cancel := context.WithTimeout(t.Context(), given)
	defer cancel()
	began := time.Now()
	_, err = i.Call(ctx, "run")
	took := time.Since(began)
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != h.fault || !strings.Contains(err.Error(), h.cause) {
		t.Fatalf("after %v: %v, want the fault %q because of %q", took, err, h.fault, h.cause)
	}
	if took > patience {
		t.Fatalf("ended after %v", took)
	}
	t.Logf("ended after %v: %v", took.Round(time.Microsecond), err)
	return max(0, took-given)
}

// spec offers what hostile modules import. held is the instance that reenter
// enters again; spent counts what is logged.
func (h *hostile) spec(held **sandbox.Instance, spent *costs) sandbox.Spec {
	return sandbox.Spec{
		Name: h.name,
		Limits: sandbox.Limits{
			MemoryBytes: hostileMemory, TotalBytes: hostileTotal, Instances: 4,
			Module: sandbox.ModuleLimits{RewrittenBytes: hostileRewrite},
			Init:   hostileInit, LogBytes: 4 << 10, Fuel: h.fuel,
		},
		Imports: []sandbox.Import{
			{Module: "test", Name: "echo", Signature: sandbox.Signature{Params: i32, Results: i32}, Call: identity},
			{Module: "test", Name: "block", Call: func(ctx context.Context, _ sandbox.Memory, _ []uint64) {
				select {
				case <-make(chan int):
				case <-ctx.Done():
					sandbox.Stop(context.Cause(ctx))
				}
			}},
			{Module: "test", Name: "reenter", Call: func(ctx context.Context, _ sandbox.Memory, _ []uint64) {
				_, err := (*held).Call(ctx, "run")
				sandbox.Stop(err)
			}},
		},
		Exports: map[string]sandbox.Signature{"run": {}},
		Log:     spent.record,
	}
}
