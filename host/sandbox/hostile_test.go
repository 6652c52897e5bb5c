package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

	// grace is how soon after its deadline a guest has to be gone. On a machine
	// that does other things a module gets tries to show it, and is never given
	// more than patience.
	grace    = 250 * time.Millisecond
	tries    = 4
	patience = 5 * time.Second

	// overhead is what a module may cost beside its own memory: compiled code,
	// the collector's slack, the race detector.
	overhead = 128 << 20
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

func readHostile(t *testing.T, path string) (h hostile) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h.module = wattest.Must(string(text))
	h.family = filepath.Base(filepath.Dir(path))
	h.name = h.family + "/" + strings.TrimSuffix(filepath.Base(path), ".wat")
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
// its reason, or ended soon after its deadline, and takes no more memory than
// it may.
func TestHostileModules(t *testing.T) {
	paths, err := filepath.Glob("testdata/hostile/*/*.wat")
	if err != nil {
		t.Fatal(err)
	}
	var list []hostile
	for _, path := range paths {
		list = append(list, readHostile(t, path))
	}
	watch := newWatch()
	families := map[string]int{}
	var refused, ended int
	var slowest time.Duration
	var slowestName string
	for _, h := range list {
		families[h.family]++
		t.Run(h.name, func(t *testing.T) {
			before := watch.restart()
			if h.refused != "" {
				h.load(t)
				refused++
			} else if late := h.run(t); true {
				ended++
				if late > slowest {
					slowest, slowestName = late, h.name
				}
			}
			if grown := watch.peak() - before; grown > hostileTotal+overhead {
				t.Errorf("resident memory grew by %d MiB", grown>>20)
			}
		})
	}
	gap, grown := watch.stop()
	t.Logf("%d modules of %d families: %d refused, %d ended", len(paths), len(families), refused, ended)
	t.Logf("last to end: %s, %v after its deadline", slowestName, slowest.Round(time.Microsecond))
	t.Logf("longest gap between heartbeats: %v; most resident memory while a module ran: %d MiB more than before", gap.Round(time.Microsecond), grown>>20)
	if len(paths) < 60 || len(families) < 15 {
		t.Errorf("%d modules in %d families, want at least 60 in 15", len(paths), len(families))
	}
	if gap > patience {
		t.Errorf("the host stood still for %v", gap)
	}
}

// load fails the test unless Load refuses the module for its reason.
func (h *hostile) load(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m, err := box.Load(t.Context(), h.module, h.spec(nil))
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
func (h *hostile) run(t *testing.T) (late time.Duration) {
	var held *sandbox.Instance
	m := loadBytes(t, sandbox.Config{}, h.module, h.spec(&held))
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
// enters again.
func (h *hostile) spec(held **sandbox.Instance) sandbox.Spec {
	return sandbox.Spec{
		Name: h.name,
		Limits: sandbox.Limits{
			MemoryBytes: hostileMemory, TotalBytes: hostileTotal, Instances: 4,
			Init: hostileInit, LogBytes: 4 << 10, Fuel: h.fuel,
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
		Log:     func(context.Context, string) {},
	}
}

// watch collects garbage all the time, and measures how long other goroutines
// do not run and how much memory is resident. A guest that cannot be paused
// stops all of it.
type watch struct {
	done      atomic.Bool
	wg        sync.WaitGroup
	gap       time.Duration
	top, most atomic.Int64 // resident bytes since restart; the most that they grew by
	base      int64
}

func newWatch() *watch {
	w := &watch{}
	w.wg.Go(func() {
		for !w.done.Load() {
			runtime.GC()
		}
	})
	w.wg.Go(func() {
		last := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !w.done.Load() {
			<-tick.C
			now := time.Now()
			w.gap, last = max(w.gap, now.Sub(last)), now
			w.sample()
		}
	})
	return w
}

func (w *watch) sample() {
	now := residentBytes()
	for top := w.top.Load(); now > top && !w.top.CompareAndSwap(top, now); top = w.top.Load() {
	}
}

func (w *watch) restart() (resident int64) {
	w.base = residentBytes()
	w.top.Store(w.base)
	return w.base
}

func (w *watch) peak() int64 {
	w.sample()
	top := w.top.Load()
	w.most.Store(max(w.most.Load(), top-w.base))
	return top
}

func (w *watch) stop() (gap time.Duration, grown int64) {
	w.done.Store(true)
	w.wg.Wait()
	return w.gap, w.most.Load()
}

// residentBytes is the process's resident memory without what is mapped from
// files; 0 where there is no /proc.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	resident, _ := strconv.ParseInt(fields[1], 10, 64)
	shared, _ := strconv.ParseInt(fields[2], 10, 64)
	return (resident - shared) * int64(os.Getpagesize())
}
