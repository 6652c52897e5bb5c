package stream

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"
)

// BenchmarkIdleStreams reports what the pump of one idle stream takes, without its
// connections: 10,000 streams are open at once.
func BenchmarkIdleStreams(b *testing.B) {
	const streams = 10_000
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for b.Loop() {
		before := memory()
		ctx, cancel := context.WithCancel(context.Background())
		clients := make([]*client, streams)
		var running sync.WaitGroup
		auth := &authority{idle: time.Hour}
		for i := range clients {
			clients[i] = newClient()
			running.Go(func() {
				_ = Run(ctx, Options{Op: "bench", Client: clients[i], Authority: auth, MaxSession: time.Hour}, &echo{})
			})
			clients[i].in <- "a keystroke" // it runs now
		}
		b.ReportMetric(float64(memory()-before)/streams, "B/stream")
		cancel()
		running.Wait()
		for _, c := range clients {
			_ = c.Close(0, "")
		}
	}
}
