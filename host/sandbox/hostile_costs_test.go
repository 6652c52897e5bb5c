//go:build linux

package sandbox_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what one hostile module takes from the host, from before Load until
// its last call has ended.
type cost struct {
	peak    int64         // resident bytes at any time, more than before
	kept    int64         // resident bytes that stay after a collection: the module loaded, its instances idle
	host    time.Duration // processor time of the goroutine that loads and calls
	child   time.Duration // processor time of the compiler's children
	records int           // calls of Spec.Log
	pause   time.Duration // most processor time between two points at which the guest can be stopped
	faults  int64         // most page faults there
}

// usual bounds every family that bounds does not mention, and each field that it
// leaves zero. Processor time is bounded for what grows faster than the module
// does, which takes many times as much: it says nothing about speed.
var usual = cost{
	// Beside the instances' own memory there are the collector's slack and the
	// race detector.
	peak: hostileTotal + 128<<20,
	kept: 24 << 20, host: 3 * time.Second, child: 30 * time.Second, records: 100,
	pause: grace, faults: 5000,
}

// bounds are those of the families under testdata/hostile that differ.
var bounds = map[string]cost{
	"call-graph": {kept: 32 << 20}, // machine code of many calls
	"log-flood":  {records: 260},   // lines of no bytes are lines
	"names":      {kept: 56 << 20}, // Limits.Module.AllNameBytes, several times
	"pauses":     {peak: 200 << 20, faults: 15_000},
	"recursion":  {peak: hostileTotal + 40<<20, kept: 8 << 20},
	"references": {peak: hostileTotal + 40<<20, kept: 12 << 20},
	"types":      {kept: 40 << 20}, // Limits.Module.AllParams, and 16 MiB of export names
}

func (c cost) orUsual() cost {
	def := func(n, d int64) int64 {
		if n == 0 {
			return d
		}
		return n
	}
	return cost{
		peak: def(c.peak, usual.peak), kept: def(c.kept, usual.kept), records: int(def(int64(c.records), int64(usual.records))),
		host: time.Duration(def(int64(c.host), int64(usual.host))), child: time.Duration(def(int64(c.child), int64(usual.child))),
		pause: time.Duration(def(int64(c.pause), int64(usual.pause))), faults: def(c.faults, usual.faults),
	}
}

// quiet reports whether c is within most in what other load of the machine can add to:
// garbage that waits for its collection, and caches that others use.
func (c cost) quiet(most cost) bool {
	return c.peak <= most.peak && c.kept <= most.kept && c.host <= most.host && c.pause <= most.pause
}

// costs measures one module. What is resident is sampled once collections have
// freed what they can, before and by keep.
type costs struct {
	cost
	before  int64
	records atomic.Int64
}

// startCosts is called by the goroutine that will load and call, which keeps its thread.
func startCosts() *costs {
	c := &costs{before: settled()}
	c.host, c.child = -processorTime(unix.RUSAGE_THREAD), -processorTime(unix.RUSAGE_CHILDREN)
	return c
}

func (c *costs) record(context.Context, string) { c.records.Add(1) }

// keep takes the measurements. What is to be familyCosts still exists.
func (c *costs) keep() {
	c.host += processorTime(unix.RUSAGE_THREAD)
	c.child += processorTime(unix.RUSAGE_CHILDREN)
	c.cost.records = int(c.records.Load())
	c.kept = settled() - c.before
}

// keepWorst keeps what an earlier run of the same module took, where only the first run
// takes it (the compilation, which is cached) or no run may take more.
func (c *costs) keepWorst(earlier *costs) {
	if earlier != nil {
		c.child = max(c.child, earlier.child)
		c.cost.records, c.faults = max(c.cost.records, earlier.cost.records), max(c.faults, earlier.faults)
	}
}

// check holds the measurements against the family's bounds.
func (c *costs) check(t *testing.T, family string) {
	most := bounds[family].orUsual()
	t.Logf("peak %d KiB, keeps %d KiB; %v of processor time here, %v in children; %d records; pauses of %v and %d faults",
		c.peak>>10, c.kept>>10, c.host.Round(time.Millisecond), c.child.Round(time.Millisecond), c.cost.records,
		c.pause.Round(time.Microsecond), c.faults)
	if c.peak > most.peak {
		t.Errorf("took %d MiB of the host's memory, at most %d are allowed", c.peak>>20, most.peak>>20)
	}
	if c.kept > most.kept {
		t.Errorf("keeps %d MiB of the host's memory, at most %d may stay", c.kept>>20, most.kept>>20)
	}
	if c.host > most.host || c.child > most.child {
		t.Errorf("took %v of processor time here and %v in children, at most %v and %v", c.host, c.child, most.host, most.child)
	}
	if c.cost.records > most.records {
		t.Errorf("%d records, at most %d", c.cost.records, most.records)
	}
	if c.pause > most.pause || c.faults > most.faults {
		t.Errorf("not to be stopped for %v of processor time and %d page faults, at most %v and %d", c.pause, c.faults, most.pause, most.faults)
	}
	worst := familyCosts[family]
	familyCosts[family] = cost{
		peak: max(worst.peak, c.peak), kept: max(worst.kept, c.kept), host: max(worst.host, c.host),
		child: max(worst.child, c.child), records: max(worst.records, c.cost.records),
		pause: max(worst.pause, c.pause), faults: max(worst.faults, c.faults),
	}
}

// familyCosts are the worst of each family.
var familyCosts = map[string]cost{}

func logCosts(t *testing.T) {
	for _, family := range slices.Sorted(maps.Keys(familyCosts)) {
		c := familyCosts[family]
		t.Logf("%-14s peak %6d, keeps %6d KiB; processor %6d ms here, %6d ms in children; %5d records; pauses of %6d µs, %5d faults",
			family, c.peak>>10, c.kept>>10, c.host.Milliseconds(), c.child.Milliseconds(), c.records, c.pause.Microseconds(), c.faults)
	}
}

// settled is what is resident after collections. Finalizers free machine code,
// in a goroutine of their own, after the first.
func settled() int64 {
	for range 2 {
		runtime.GC()
		done := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, done)
		runtime.GC()
		<-done
	}
	debug.FreeOSMemory()
	return residentBytes()
}

func processorTime(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// checks is the context of a hostile call. The host asks it wherever the guest can be
// stopped, on the guest's thread, whose clock runs only while the guest does.
type checks struct {
	context.Context
	spent *costs        // gets the longest pause
	at    time.Duration // the thread's clock at the last check
	seen  int64         // the thread's page faults then
	late  int           // checks after the deadline
}

func (c *costs) checks(ctx context.Context) *checks {
	k := &checks{Context: ctx, spent: c}
	k.at, k.seen = threadUse()
	return k
}

func (c *checks) Err() error {
	c.mark()
	if d, ok := c.Deadline(); ok && !time.Now().Before(d) {
		c.late++
	}
	return c.Context.Err()
}

func (c *checks) mark() {
	at, seen := threadUse()
	c.spent.pause, c.spent.faults = max(c.spent.pause, at-c.at), max(c.spent.faults, seen-c.seen)
	c.at, c.seen = at, seen
}

// threadUse is the processor time and the page faults of the calling thread. The times of
// getrusage advance by clock ticks only.
func threadUse() (time.Duration, int64) {
	var u unix.Rusage
	var t unix.Timespec
	if err := errors.Join(unix.Getrusage(unix.RUSAGE_THREAD, &u), unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano()), u.Minflt
}

// watch measures how long other goroutines do not run and how much memory is resident.
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

// collect collects garbage until stop, which may be called repeatedly. A guest that
// cannot be paused stops it, and what allocates then.
func (w *watch) collect() (stop func()) {
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			runtime.GC()
		}
	})
	return func() { done.Store(true); wg.Wait() }
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
