package plugin_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"golang.org/x/sys/unix"
)

// delays reads how long the calling thread, which must be locked, has been kept from running
// by others that had the processor (proc(5), schedstat).
type delays struct{ file *os.File }

func openDelays() (delays, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/schedstat", unix.Gettid()))
	return delays{f}, err
}

func (d delays) read() time.Duration {
	var text [96]byte
	n, _ := d.file.ReadAt(text[:], 0)
	_, rest, _ := bytes.Cut(text[:n], []byte(" "))
	field, _, _ := bytes.Cut(rest, []byte(" "))
	ns, _ := strconv.ParseInt(string(field), 10, 64)
	return time.Duration(ns)
}

// What a request does while versions change, by what the swap does at its end.
const (
	calm = iota
	preparing
	publishing
	phases
)

// waits are the longest times of one kind of request, by phase, without the time in which the
// kernel ran something else on the processor.
type waits [phases]time.Duration

// observe calls request again and again on a thread of its own until stop.
func observe(phase *atomic.Int32, stop <-chan struct{}, request func()) (w waits, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d, err := openDelays()
	if err != nil {
		return w, err
	}
	defer d.file.Close()
	for {
		select {
		case <-stop:
			return w, nil
		default:
		}
		before, delayed, began := phase.Load(), d.read(), time.Now()
		request()
		took := time.Since(began)
		own := took - (d.read() - delayed)
		for _, k := range []int32{before, phase.Load()} {
			w[k] = max(w[k], own)
		}
	}
}

// BenchmarkPublish reports the longest that a lease takes, and the longest whole call,
// while a version is published; beside them, while one is prepared, and between swaps.
// Time in which the kernel ran other threads or processes instead is not counted: the
// swap's own and its children's are among them, but so is everything else on the machine. Each Go thread
// has a turn of its own, so that this is all the competition there is.
//
// What is left is mostly Go's collector, which stops all threads twice in a collection: see the
// second run, in which it collects between swaps only.
func BenchmarkPublish(b *testing.B) {
	b.Run("collector=on", func(b *testing.B) { benchmarkPublish(b, func() {}) })
	b.Run("collector=between", func(b *testing.B) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		benchmarkPublish(b, runtime.GC)
	})
}

func benchmarkPublish(b *testing.B, between func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2*runtime.NumCPU() + 2))
	f := newFixture(b)
	list := []plugin.Config{module{version: "1.0.0"}.config(b), module{version: "2.0.0"}.config(b)}
	if err := f.swap(list[1]); err != nil {
		b.Fatal(err)
	}
	var phase atomic.Int32
	stop := make(chan struct{})
	requests := map[string]func(){
		"lease": func() {
			l, _ := f.registry.Lease("module", nil)
			l.Return()
		},
		"call": func() {
			if _, err := f.ask(b, "ann"); err != nil {
				b.Error(err)
			}
		},
	}
	type result struct {
		name string
		waits
		error
	}
	results := make(chan result, len(requests))
	for name, request := range requests {
		go func() {
			w, err := observe(&phase, stop, request)
			results <- result{name, w, err}
		}()
	}
	var published time.Duration
	for k := 0; b.Loop(); k++ {
		between()
		phase.Store(preparing)
		p, err := f.registry.Prepare(b.Context(), plugin.Swap{Config: list[k%2], Origin: plugin.File}, f.options.Broker, plugin.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		phase.Store(publishing)
		began := time.Now()
		if _, err := p.Publish(b.Context()); err != nil {
			b.Fatal(err)
		}
		published += time.Since(began)
		phase.Store(calm)
	}
	close(stop)
	for range requests {
		r := <-results
		if r.error != nil {
			b.Skip(r.error)
		}
		for k, name := range []string{"calm", "preparing", "publishing"} {
			b.ReportMetric(float64(r.waits[k].Microseconds()), "µs-"+r.name+"-"+name)
		}
	}
	b.ReportMetric(float64(published.Microseconds())/float64(b.N), "µs-publish")
}
