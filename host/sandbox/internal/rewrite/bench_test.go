package rewrite_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// tightLoop counts its argument down: local.get, add, br_if.
var tightLoop = module(
	types("\x60\x01\x7f\x01\x7f"), functions(0), exports("run", 0),
	code("\x01\x01\x7f"+"\x03\x40"+"\x20\x01\x20\x00\x6a\x21\x01"+
		"\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x20\x01\x0b"))

// fibonacci calls itself twice.
var fibonacci = module(
	types("\x60\x01\x7f\x01\x7f"), functions(0), exports("run", 0),
	code("\x00"+"\x20\x00\x41\x02\x48\x04\x7f\x20\x00\x05"+
		"\x20\x00\x41\x01\x6b\x10\x00\x20\x00\x41\x02\x6b\x10\x00\x6a\x0b\x0b"))

type workload struct {
	name, export string
	args         []uint64
	module       func() ([]byte, error)
}

func is(m []byte) func() ([]byte, error) { return func() ([]byte, error) { return m, nil } }

var workloads = []workload{
	{"loop", "run", []uint64{100_000}, is(tightLoop)},
	{"fib", "run", []uint64{20}, is(fibonacci)},
	{"go-json", "decode", nil, workGuest},
	{"go-split", "split", []uint64{10}, workGuest},
	{"go-hash", "hash", []uint64{10_000}, workGuest},
	{"go-fib", "fib", []uint64{15}, workGuest},
	{"go-trees", "trees", []uint64{8}, workGuest},
}

// BenchmarkRewritten measures the same call in plain wazero, with
// close-on-done, and rewritten with different choices of what counts fuel.
func BenchmarkRewritten(b *testing.B) {
	for _, w := range workloads {
		m, err := w.module()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(w.name+"/plain", func(b *testing.B) { benchPlain(b, w, m, false) })
		b.Run(w.name+"/close-on-done", func(b *testing.B) { benchPlain(b, w, m, true) })
		for _, free := range []int{-1, 32, 64, 256} {
			b.Run(fmt.Sprintf("%s/free=%d", w.name, free), func(b *testing.B) {
				benchRewritten(b, w, m, rewrite.Options{Free: free})
			})
		}
	}
}

func runtimeFor(tb testing.TB, closeOnDone bool) wazero.Runtime {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(closeOnDone))
	tb.Cleanup(func() { r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	return r
}

func initialize(tb testing.TB, m api.Module) {
	if f := m.ExportedFunction("_initialize"); f != nil {
		if _, err := f.Call(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}

func benchPlain(b *testing.B, w workload, m []byte, closeOnDone bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mod, err := runtimeFor(b, closeOnDone).InstantiateWithConfig(ctx, m, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		b.Fatal(err)
	}
	initialize(b, mod)
	f := mod.ExportedFunction(w.export)
	for b.Loop() {
		if _, err := f.Call(ctx, w.args...); err != nil {
			b.Fatal(err)
		}
	}
}

// slice is the fuel between two pauses in the benchmarks.
const slice = 200_000

func benchRewritten(b *testing.B, w workload, m []byte, o rewrite.Options) {
	ctx := context.Background()
	r, meter := runtimeFor(b, false), &meter{slice: slice}
	if err := meter.link(ctx, r); err != nil {
		b.Fatal(err)
	}
	res := mustRewrite(b, m, wasm.Limits{}, o)
	i, err := instantiate(ctx, r, res, "", meter)
	if err != nil {
		b.Fatal(err)
	}
	i.ready()
	initialize(b, i.Module)
	f := i.ExportedFunction(w.export)
	i.ready()
	meter.pauses, meter.spent = 0, 0
	for b.Loop() {
		if _, err := f.Call(ctx, w.args...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(meter.pauses)/float64(b.N), "pauses/op")
	b.ReportMetric(float64(meter.spent)/float64(b.N), "fuel/op")
}

// BenchmarkRewrite measures the rewriting of a Go guest.
func BenchmarkRewrite(b *testing.B) {
	m, err := workGuest()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(m)))
	var res *rewrite.Result
	for b.Loop() {
		res = mustRewrite(b, m, wasm.Limits{}, rewrite.Options{})
	}
	b.ReportMetric(float64(res.Report.RewrittenBytes)/float64(res.Report.Bytes), "size-ratio")
}
