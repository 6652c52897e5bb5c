//go:build linux

package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
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

	// grace is how much processor time a guest may use between two points at which
	// it can be stopped. Elapsed time says nothing: the machine does other things.
	grace = 250 * time.Millisecond
	// lastChecks is how often the host may look at a context that has ended before
	// its guest is gone: where it notices, and where it makes the error.
	lastChecks = 8
	// mostError is the most bytes of an error's text.
	mostError = 8 << 10
	// tries is how often a module may be measured, of which the least counts.
	tries = 4
	// patience ends a test that would hang. It is not what is asserted.
	patience = time.Minute
)

// hostile is one module under testdata/hostile/FAMILY, and what its head says
// has to come of it.
type hostile struct {
	name, family string
	fuel         uint64
	memory       uint64 // of an instance, in MiB
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
		if err != nil {
			break
		}
		key, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, ";;")), ": ")
		switch key {
		case "refused":
			h.refused = value
		case "fuel":
			h.fuel, err = strconv.ParseUint(value, 10, 64)
		case "memory":
			h.memory, err = strconv.ParseUint(value, 10, 12)
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

// TestHostileModules loads and runs everything under testdata/hostile; while a guest runs,
// a goroutine collects garbage all the time. Each module is refused with
// its reason, or ended at the first check after its deadline, and costs the host no
// more than its family may (see bounds).
func TestHostileModules(t *testing.T) {
	paths, err := filepath.Glob("testdata/hostile/*/*.wat")
	if err != nil {
		t.Fatal(err)
	}
	watch := newWatch()
	families := map[string]int{}
	var refused, ended int
	var longest time.Duration
	var longestName string
	for _, path := range paths {
		name, family := hostileName(path)
		families[family]++
		t.Run(name, func(t *testing.T) {
			h := readHostile(t, path)
			spent := h.measure(t, watch)
			spent.check(t, family)
			if h.refused != "" {
				refused++
			} else {
				ended++
			}
			if spent.pause > longest {
				longest, longestName = spent.pause, h.name
			}
		})
	}
	gap, grown := watch.stop()
	t.Logf("%d modules of %d families: %d refused, %d ended", len(paths), len(families), refused, ended)
	t.Logf("longest pause: %s, %v of processor time", longestName, longest.Round(time.Microsecond))
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
}

// measure loads and calls the module until one run stays within its family's bounds on
// what other load of the machine can add to.
func (h *hostile) measure(t *testing.T, watch *watch) (spent *costs) {
	runtime.LockOSThread() // whose clock measures
	defer runtime.UnlockOSThread()
	for range tries {
		last := spent
		spent = startCosts()
		before := watch.restart()
		if h.refused != "" {
			h.refuse(t, watch, spent)
		} else {
			h.run(t, watch, spent)
		}
		spent.peak = watch.peak() - before
		spent.keepWorst(last)
		if t.Failed() || spent.quiet(bounds[h.family].orUsual()) {
			break
		}
	}
	return spent
}

// load is Sandbox.Load. Once the children are done, whose work no guest can hold up, garbage
// is collected until stop is called.
func (h *hostile) load(t *testing.T, watch *watch, spec sandbox.Spec) (m *sandbox.Module, stop func(), err error) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {}
	a, err := box.Admit(t.Context(), h.module, spec.Name, spec.Limits)
	if err != nil {
		return nil, stop, err
	}
	defer a.Close()
	if err := a.Compile(t.Context()); err != nil {
		return nil, stop, err
	}
	stop = watch.collect()
	m, err = a.Link(t.Context(), spec)
	return m, stop, err
}

// refuse fails the test unless the module is refused for its reason.
func (h *hostile) refuse(t *testing.T, watch *watch, spent *costs) {
	began := time.Now()
	m, stop, err := h.load(t, watch, h.spec(nil, spent))
	stop()
	spent.keep()
	if err == nil {
		m.Close(context.Background())
		t.Fatal("it was loaded")
	}
	if !strings.Contains(err.Error(), h.refused) {
		t.Errorf("refused with %q, want %q", err, h.refused)
	}
	if n := len(err.Error()); n > mostError {
		t.Errorf("refused with %d bytes of text", n)
	}
	t.Logf("refused after %v: %.300v", time.Since(began).Round(time.Microsecond), err)
}

// run loads the module and calls it.
func (h *hostile) run(t *testing.T, watch *watch, spent *costs) {
	var held *sandbox.Instance
	m, stop, err := h.load(t, watch, h.spec(&held, spent))
	defer stop()
	if err != nil {
		t.Fatal(err)
	}
	h.call(t, m, &held, spent)
	stop()
	spent.keep() // the module is loaded and its instances idle
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if n := m.Live(); n != 0 {
		t.Errorf("%d instances are left after Close", n)
	}
}

func (h *hostile) call(t *testing.T, m *sandbox.Module, held **sandbox.Instance, spent *costs) {
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
	checks := spent.checks(ctx)
	_, err = i.Call(checks, "run")
	checks.mark()
	took := time.Since(began)
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != h.fault || !strings.Contains(err.Error(), h.cause) {
		t.Fatalf("after %v: %v, want the fault %q because of %q", took, err, h.fault, h.cause)
	}
	if n := len(err.Error()); n > mostError {
		t.Errorf("ended with %d bytes of text", n)
	}
	if checks.late > lastChecks {
		t.Errorf("checked %d times after its deadline before it was ended", checks.late)
	}
	t.Logf("ended after %v: %.300v", took.Round(time.Microsecond), err)
}

// spec offers what hostile modules import. held is the instance that reenter
// enters again; spent counts what is logged.
func (h *hostile) spec(held **sandbox.Instance, spent *costs) sandbox.Spec {
	memory, total := uint64(hostileMemory), uint64(hostileTotal)
	if h.memory > 0 {
		memory = h.memory << 20
		total = memory*2 + memory/8 // an instance and its image
	}
	init := patience
	if h.refused != "" {
		init = hostileInit // some are refused because they take longer
	}
	return sandbox.Spec{
		Name: h.name,
		Limits: sandbox.Limits{
			MemoryBytes: memory, TotalBytes: total, Instances: 4,
			Module: sandbox.ModuleLimits{RewrittenBytes: hostileRewrite},
			Init:   init, LogBytes: 4 << 10, Fuel: h.fuel,
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
		Context: func(ctx context.Context) context.Context { return spent.checks(ctx) },
		Log:     spent.record,
	}
}
