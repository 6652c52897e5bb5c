package plugin_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func BenchmarkHandle(b *testing.B) {
	g := newFixture(b).echo(b)
	c := call(b, g, &authority{}, "POST", "/echo?a=b")
	c.Body = make([]byte, 64)
	for b.Loop() {
		if _, err := g.Handle(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParkedSessions has a thousand people in echo's socket, each of whom
// has sent one message and says nothing more. It reports what each costs:
// resident memory, and how much of that is on Go's heap.
func BenchmarkParkedSessions(b *testing.B) {
	const n = 1000
	for b.Loop() {
		f := newFixture(b)
		g := f.load(b, plugin.Config{
			Name: "echo", Source: packtest.Build(b, "plugins/echo"),
			Limits: plugin.Limits{Instances: n, TotalMiB: 16 << 10}, // counts what instances share, too
		})
		heap, resident := usage(b)
		ends := make([]func() error, n)
		for k := range ends {
			s, end, err := open(b, g, host.UserID(fmt.Sprintf("person%d@example.com", k)))
			if err != nil {
				b.Fatal(err)
			}
			if got := s.say(b, "hello"); got != "hello" {
				b.Fatalf("the answer is %q", got)
			}
			ends[k] = end
		}
		heap2, resident2 := usage(b)
		b.ReportMetric(float64(resident2-resident)/n/1024, "resident-KiB/session")
		b.ReportMetric(float64(heap2-heap)/n/1024, "heap-KiB/session")
		for _, end := range ends {
			_ = end() // the cause is the test's own
		}
	}
	b.ReportMetric(0, "ns/op")
}

// usage is the bytes in use on Go's heap and the process's resident memory,
// without what is mapped from files.
func usage(b *testing.B) (heap, resident int) {
	b.Helper()
	debug.FreeOSMemory() // what an earlier round left would be used again, and not be seen
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc")
	}
	fields := strings.Fields(string(text))
	all, _ := strconv.Atoi(fields[1])
	shared, _ := strconv.Atoi(fields[2])
	return int(stats.HeapAlloc), (all - shared) * os.Getpagesize()
}
