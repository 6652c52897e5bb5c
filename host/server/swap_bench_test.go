package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
)

// calmFor is how long the clients of BenchmarkSwapsOverHTTP call before each swap.
const calmFor = 100 * time.Millisecond

// BenchmarkSwapsOverHTTP replaces a plugin through the administration's API while clients
// call it over HTTP, and reports the calls during swaps beside those between them, of the
// same clients in the same run. A call that is not answered in full fails it. For 1,000
// swaps: -benchtime 1000x.
func BenchmarkSwapsOverHTTP(b *testing.B) {
	w := prepare(b, "")
	w.write(b, "bulkhead.yaml", "listen: 127.0.0.1:0\ndata: ./data\nauth: {dev: {}}\ndirectory: {files: ./directory}\nlimits: {rates: {client: -1, account: -1}}\nlog: {level: error}\n")
	w.open(b)
	var digests []string
	var at int64 // revision
	swap := func(digest string) {
		b.Helper()
		text, err := json.Marshal(fleet.Request{Digest: digest, Revision: at})
		if err == nil {
			err = w.admin(b, "PUT", "/plugins/echo", bytes.NewReader(text), nil)
		}
		for tag := ""; err == nil; {
			var p fleet.Plugin
			if err = w.admin(b, "GET", "/plugins/echo?after="+tag, nil, &p); err == nil && p.State == fleet.Active && p.Revision > at && p.Serve.Digest == digest {
				at = p.Revision
				return
			}
			tag = p.Tag
		}
		b.Fatal(err)
	}
	for i, version := range []string{"0.1.1", "0.1.2"} { // both are compiled then
		if i == 0 {
			w.install(b, "echo", echoAs(b, version), 0)
			p := w.activeOn(b, "echo", version, 1)
			digests, at = append(digests, p.Serve.Digest), p.Revision
			continue
		}
		var u struct{ Digest string }
		if err := w.admin(b, "POST", "/uploads", bytes.NewReader(echoAs(b, version)), &u); err != nil {
			b.Fatal(err)
		}
		digests = append(digests, u.Digest)
		swap(u.Digest)
	}

	eve := w.as(b, "eve")
	var phase atomic.Int64 // odd while a swap goes on
	var mu sync.Mutex
	took := map[bool][]time.Duration{} // by whether a swap went on
	stop, clients := make(chan struct{}), sync.WaitGroup{}
	for range benchClients / 2 {
		clients.Go(func() {
			mine := map[bool][]time.Duration{}
			for {
				select {
				case <-stop:
					mu.Lock()
					for swapping, list := range mine {
						took[swapping] = append(took[swapping], list...)
					}
					mu.Unlock()
					return
				default:
				}
				before, began := phase.Load(), time.Now()
				if err := echoOnce(eve.http, w.url+"/api/echo/echo", nil); err != nil {
					b.Error(err)
					return
				}
				swapping := before%2 == 1 || phase.Load() != before
				mine[swapping] = append(mine[swapping], time.Since(began))
			}
		})
	}
	var swaps []time.Duration
	for n := 0; b.Loop(); n++ {
		time.Sleep(calmFor)
		phase.Add(1)
		began := time.Now()
		swap(digests[n%2])
		swaps = append(swaps, time.Since(began))
		phase.Add(1)
	}
	close(stop)
	clients.Wait()
	at99 := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)*99/100].Microseconds())
	}
	if len(took[false]) == 0 || len(took[true]) == 0 {
		b.Fatal("no call was measured")
	}
	slices.SortFunc(swaps, cmp.Compare[time.Duration])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(swaps[len(swaps)/2].Milliseconds()), "swap-p50-ms")
	b.ReportMetric(float64(len(took[false])+len(took[true])), "calls")
	b.ReportMetric(at99(took[false]), "calm-p99-µs")
	b.ReportMetric(at99(took[true]), "swapping-p99-µs")
	b.ReportMetric(at99(took[true])/at99(took[false]), "p99-ratio")
}
