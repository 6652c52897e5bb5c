package sandbox_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// BenchmarkSandbox compares what a caller gets: a fresh instance, a restored
// one, or one that others have used, which is never given to anybody and
// stands here as the price of doing nothing. "plain" is the same module in
// wazero as it comes, not rewritten and not to be stopped.
func BenchmarkSandbox(b *testing.B) {
	for name, config := range map[string]sandbox.Config{
		"fresh": sandbox.Config{}.NeverReuse(), "restored": {}, "restored-portable": sandbox.Config{}.Portable(),
	} {
		b.Run(name, func(b *testing.B) {
			m := loadWith(b, config, spec(&lines{}, identity))
			for b.Loop() {
				if _, err := call(b.Context(), m, "work", 10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("reused", func(b *testing.B) {
		m := load(b, spec(&lines{}, identity))
		i, err := m.Acquire(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer m.Release(i)
		for b.Loop() {
			if _, err := i.Call(b.Context(), "work", 10); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plain", func(b *testing.B) {
		fn := plain(b).ExportedFunction("work")
		for b.Loop() {
			stack := [1]uint64{10}
			if err := fn.CallWithStack(b.Context(), stack[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGuest is guest code alone: rewritten against plain.
func BenchmarkGuest(b *testing.B) {
	for _, c := range []struct {
		export string
		n      uint64
	}{{"work", 1000}, {"loop", 1_000_000}} {
		b.Run(c.export+"/rewritten", func(b *testing.B) {
			m := load(b, spec(&lines{}, identity))
			i, err := m.Acquire(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Release(i)
			for b.Loop() {
				if _, err := i.Call(b.Context(), c.export, c.n); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.export+"/plain", func(b *testing.B) {
			fn := plain(b).ExportedFunction(c.export)
			for b.Loop() {
				stack := [1]uint64{c.n}
				if err := fn.CallWithStack(b.Context(), stack[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plain is the guest in wazero as it comes.
func plain(b *testing.B) api.Module {
	b.Helper()
	ctx := b.Context()
	r := wazero.NewRuntime(ctx)
	b.Cleanup(func() { r.Close(context.Background()) })
	code, err := r.CompileModule(ctx, guest)
	if err != nil {
		b.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	test := r.NewHostModuleBuilder("test").NewFunctionBuilder()
	if _, err := test.WithFunc(func(v uint32) uint32 { return v }).Export("v1").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	mod, err := r.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		b.Fatal(err)
	}
	return mod
}

// BenchmarkIdle reports what an instance costs that has served a call and
// waits for the next: resident memory, and how much of it is on Go's heap.
func BenchmarkIdle(b *testing.B) {
	const n = 256
	for range b.N {
		s := spec(&lines{}, identity)
		s.Limits.Instances = n
		m := load(b, s)
		heap, resident := usage(b)
		held := make([]*sandbox.Instance, n)
		for k := range held {
			var err error
			if held[k], err = m.Acquire(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
			if _, err := held[k].Call(b.Context(), "work", 10); err != nil {
				b.Fatal(err)
			}
		}
		for _, i := range held {
			m.Release(i)
		}
		heap2, resident2 := usage(b)
		b.ReportMetric(float64(resident2-resident)/n, "resident-B/instance")
		b.ReportMetric(float64(heap2-heap)/n, "heap-B/instance")
	}
}

// usage is the bytes in use on Go's heap and the process's resident memory.
func usage(b *testing.B) (heap, resident int) {
	b.Helper()
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs /proc")
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			resident = kb << 10
		}
	}
	return int(stats.HeapAlloc), resident
}
