package rewrite_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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
	{"go-walk", "walk", []uint64{100}, workGuest},
	{"go-hash", "hash", []uint64{10_000}, workGuest},
	{"go-fib", "fib", []uint64{15}, workGuest},
	{"go-trees", "trees", []uint64{8}, workGuest},
}

// place is how far this process shifts the code of guests. Identical code at two places has
// differed by a factor of two, so a comparison takes the medians of several processes.
var place = rand.IntN(64)

// displaced returns the module with loads before the code of its first function, which moves the
// machine code of the others.
func displaced(b *testing.B, module []byte) []byte {
	m, err := wasm.Decode(module, wasm.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	if len(m.Memories) == 0 {
		return module
	}
	var code []byte
	for range place {
		for _, i := range []wasm.Instr{{Op: wasm.OpI32Const}, {Op: opI32Load}, {Op: opDrop}} {
			code = i.Append(code)
		}
	}
	m.Code[0].Code = append(code, m.Code[0].Code...)
	return m.Encode()
}

const (
	opDrop    wasm.Op = 0x1a
	opI32Load wasm.Op = 0x28
)

// BenchmarkRewritten measures the same call in plain wazero, with
// close-on-done, and rewritten with different choices of what counts fuel, in
// turns, so that all see the same machine. It reports medians: plain in
// nanoseconds, the others as ratios to it.
func BenchmarkRewritten(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			m, err := w.module()
			if err != nil {
				b.Fatal(err)
			}
			m = displaced(b, m)
			contenders := []contender{
				plainCall(b, w, m, "plain", false),
				plainCall(b, w, m, "close-on-done", true),
				rewrittenCall(b, w, m, "rewritten", rewrite.Options{}),
				rewrittenCall(b, w, m, "every-entry", rewrite.Options{Free: -1}),
			}
			for b.Loop() {
				for i := range contenders {
					contenders[i].run(b)
				}
			}
			base := contenders[0].median()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(base, "plain-ns")
			for i := range contenders[1:] {
				b.ReportMetric(contenders[i+1].median()/base, contenders[i+1].name+"/plain")
			}
			if n := contenders[2].meter; n != nil {
				b.ReportMetric(float64(n.pauses)/float64(2*len(contenders[2].times)), "pauses/op")
			}
		})
	}
}

// contender is one way to run a workload.
type contender struct {
	name  string
	call  func() ([]uint64, error)
	meter *meter
	times []float64 // nanoseconds
}

// run makes two calls and times the second: the first has the caches that
// another contender left.
func (c *contender) run(b *testing.B) {
	if _, err := c.call(); err != nil {
		b.Fatal(c.name, err)
	}
	began := time.Now()
	if _, err := c.call(); err != nil {
		b.Fatal(c.name, err)
	}
	c.times = append(c.times, float64(time.Since(began)))
}

func (c *contender) median() float64 {
	slices.Sort(c.times)
	return c.times[len(c.times)/2]
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

func plainCall(b *testing.B, w workload, m []byte, name string, closeOnDone bool) contender {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	mod, err := runtimeFor(b, closeOnDone).InstantiateWithConfig(ctx, m, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		b.Fatal(err)
	}
	initialize(b, mod)
	f := mod.ExportedFunction(w.export)
	return contender{name: name, call: func() ([]uint64, error) { return f.Call(ctx, w.args...) }}
}

// slice is the fuel between two pauses in the benchmarks.
const slice = 1_000_000

func rewrittenCall(b *testing.B, w workload, m []byte, name string, o rewrite.Options) contender {
	ctx := context.Background()
	r, meter := runtimeFor(b, false), &meter{slice: slice}
	if err := meter.link(ctx, r); err != nil {
		b.Fatal(err)
	}
	i, err := instantiate(ctx, r, mustRewrite(b, m, wasm.Limits{}, o), "", meter)
	if err != nil {
		b.Fatal(err)
	}
	i.ready()
	initialize(b, i.Module)
	f := i.ExportedFunction(w.export)
	meter.pauses, meter.spent = 0, 0
	return contender{name: name, meter: meter, call: func() ([]uint64, error) { return f.Call(ctx, w.args...) }}
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
