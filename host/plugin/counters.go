package plugin

import (
	"errors"
	"math/bits"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// counters count the unary calls of one generation. Counting allocates nothing and
// takes no lock.
type counters struct {
	calls, failed, fuel atomic.Uint64
	times               [timeBuckets]atomic.Uint64
}

// Durations are counted in buckets, four to each doubling, from 16 µs to some minutes.
const (
	timeUnit    = 14 // as a shift, of nanoseconds
	timeBuckets = 96
)

func (c *counters) add(took time.Duration, fuel uint64, failed bool) {
	c.calls.Add(1)
	c.fuel.Add(fuel)
	if failed {
		c.failed.Add(1)
	}
	c.times[bucket(took)].Add(1)
}

func bucket(d time.Duration) int {
	n := uint64(max(d, 0)) >> timeUnit
	if n < 4 {
		return int(n)
	}
	e := bits.Len64(n) - 1
	return min(4*(e-1)+int(n>>(e-2)&3), timeBuckets-1)
}

// bucketEnd is the longest duration of a bucket.
func bucketEnd(k int) time.Duration {
	if k < 4 {
		return time.Duration(k+1) << timeUnit
	}
	return time.Duration(k%4+5) << (k/4 - 1 + timeUnit)
}

// counts are what counters had at one time, or between two.
type counts struct {
	calls, failed, fuel uint64
	times               [timeBuckets]uint64
}

func (c *counters) read() (n counts) {
	n.calls, n.failed, n.fuel = c.calls.Load(), c.failed.Load(), c.fuel.Load()
	for k := range n.times {
		n.times[k] = c.times[k].Load()
	}
	return n
}

func (n counts) since(before counts) counts {
	n.calls -= before.calls
	n.failed -= before.failed
	n.fuel -= before.fuel
	for k := range n.times {
		n.times[k] -= before.times[k]
	}
	return n
}

// p99 is the time within which 99 of 100 calls were answered, to a quarter.
func (n *counts) p99() time.Duration {
	var all, sum uint64
	for _, c := range n.times {
		all += c
	}
	for k, c := range n.times {
		if sum += c; all > 0 && sum*100 >= all*99 {
			return bucketEnd(k)
		}
	}
	return 0
}

func (n *counts) errorRate() float64   { return ratio(n.failed, n.calls) }
func (n *counts) fuelPerCall() float64 { return ratio(n.fuel, n.calls) }

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// verdict is whether a call counts, and whether it counts as failed: what the plugin
// failed at, not what its upstream, the client or a limit of the user did.
func verdict(resp *abi.Response, err error) (counted, failed bool) {
	if err == nil {
		return true, resp.Status >= http.StatusInternalServerError
	}
	if e, ok := errors.AsType[*abi.Error](err); ok {
		return true, e.Status >= http.StatusInternalServerError && e.Origin != abi.OriginUpstream
	}
	if e, ok := errors.AsType[*sandbox.Error](err); ok && e.Fault == sandbox.Canceled || errors.Is(err, sandbox.ErrHolder) {
		return false, false
	}
	return true, true
}

// sourceOf is who caused a call's failure, "" if it did not fail; see Options.Counted. A
// refusal that the plugin passes on is that of its origin, and one with a status below 500
// of its own is an answer.
func sourceOf(alive bool, resp *abi.Response, err error) string {
	if !alive {
		return "client" // what became of it has nobody to see it
	}
	if e, ok := errors.AsType[*abi.Error](err); ok && e.Origin != abi.OriginPlugin {
		return e.Origin.String()
	}
	counted, failed := verdict(resp, err)
	switch {
	case !counted && errors.Is(err, sandbox.ErrHolder):
		return "host" // a limit of the user
	case !counted:
		return "client"
	case failed:
		return "plugin"
	}
	return ""
}
