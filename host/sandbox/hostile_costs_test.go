//go:build linux

package sandbox_test

import (
	"context"
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
}

// usual bounds every family that bounds does not mention, and each field that it
// leaves zero. Processor time is bounded for what grows faster than the module
// does, which takes many times as much: it says nothing about speed. A module
// may be called up to tries times.
var usual = cost{
	// Beside the instances' own memory there are the collector's slack and the
	// race detector.
	peak: hostileTotal + 128<<20,
	kept: 24 << 20, host: 3 * time.Second, child: 30 * time.Second, records: 100,
}

// bounds are those of the families under testdata/hostile that differ.
var bounds = map[string]cost{
	"call-graph": {kept: 32 << 20}, // machine code of many calls
	"log-flood":  {records: 260},   // lines of no bytes are lines
	"names":      {kept: 56 << 20}, // Limits.Module.AllNameBytes, several times
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
	}
}

// costs measures one module. What is resident is sampled once collections have
// freed what they can, before and by keep.
type costs struct {
	cost
	before  int64
	records atomic.Int64
}

// startCosts is called by the goroutine that will load and call, which keeps
// its thread until check.
func startCosts() *costs {
	runtime.LockOSThread()
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

// check holds the measurements against the family's bounds.
func (c *costs) check(t *testing.T, family string) {
	runtime.UnlockOSThread()
	most := bounds[family].orUsual()
	t.Logf("peak %d KiB, keeps %d KiB; %v of processor time here, %v in children; %d records",
		c.peak>>10, c.kept>>10, c.host.Round(time.Millisecond), c.child.Round(time.Millisecond), c.cost.records)
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
	worst := familyCosts[family]
	familyCosts[family] = cost{
		peak: max(worst.peak, c.peak), kept: max(worst.kept, c.kept), host: max(worst.host, c.host),
		child: max(worst.child, c.child), records: max(worst.records, c.cost.records),
	}
}

// familyCosts are the worst of each family.
var familyCosts = map[string]cost{}

func logCosts(t *testing.T) {
	for _, family := range slices.Sorted(maps.Keys(familyCosts)) {
		c := familyCosts[family]
		t.Logf("%-14s peak %6d, keeps %6d KiB; processor %6d ms here, %6d ms in children; %5d records",
			family, c.peak>>10, c.kept>>10, c.host.Milliseconds(), c.child.Milliseconds(), c.records)
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
