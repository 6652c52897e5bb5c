package sandbox_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// BenchmarkSandbox measures the same call of each guest
//
//   - plain: in wazero as it comes, in one instance, not to be stopped;
//   - close-on-done: the same with wazero's own way of stopping guests;
//   - reused: rewritten, in one instance, which is never given to anybody and
//     stands here as the price of doing nothing;
//   - restored: what a caller gets, in an instance that was put back;
//   - portable: the same without the calls that only Linux has;
//   - fresh: what a caller gets where instances cannot be put back.
//
// in turns, so that all see the same machine. Times are medians; a table of
// them is printed at the end.
func BenchmarkSandbox(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			m := s.module(b)
			contenders := []*contender{
				s.plain(b, m, "plain", false), s.plain(b, m, "close-on-done", true), s.reused(b, m),
				s.acquired(b, m, "restored", sandbox.Config{}), s.acquired(b, m, "portable", sandbox.Config{}.Portable()),
			}
			for b.Loop() {
				for _, c := range contenders {
					c.run(b)
				}
			}
			// It has a goroutine that makes instances ahead, and so comes alone.
			fresh := s.acquired(b, m, "fresh", sandbox.Config{}.NeverReuse())
			for range 30 {
				fresh.run(b)
			}
			measured.add(b, s, append(contenders, fresh))
		})
	}
	b.Run("dirty-pages", dirtyPages)
}

// contender is one way to make a call.
type contender struct {
	name  string
	call  func(context.Context) error
	times []float64 // nanoseconds
}

// run makes two calls and times the second: the first has the caches that
// another contender left.
func (c *contender) run(b *testing.B) {
	if err := c.call(b.Context()); err != nil {
		b.Fatal(c.name, err)
	}
	began := time.Now()
	if err := c.call(b.Context()); err != nil {
		b.Fatal(c.name, err)
	}
	c.times = append(c.times, float64(time.Since(began)))
}

func (c *contender) median() float64 {
	slices.Sort(c.times)
	return c.times[len(c.times)/2]
}

func (s *subject) spec() sandbox.Spec {
	spec := sandbox.Spec{Name: s.name, Imports: s.imports, Exports: s.exports}
	if s.start != nil {
		spec.Init = func(ctx context.Context, i *sandbox.Instance) error { return s.start(ctx, inSandbox{i}) }
	}
	return spec
}

func (s *subject) reused(b *testing.B, m []byte) *contender {
	module := loadBytes(b, sandbox.Config{}, m, s.spec())
	i, err := module.Acquire(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { module.Release(i) })
	return &contender{name: "reused", call: func(ctx context.Context) error { return s.call(ctx, inSandbox{i}) }}
}

func (s *subject) acquired(b *testing.B, m []byte, name string, config sandbox.Config) *contender {
	module := loadBytes(b, config, m, s.spec())
	return &contender{name: name, call: func(ctx context.Context) error {
		i, err := module.Acquire(ctx, nil)
		if err != nil {
			return err
		}
		defer module.Release(i)
		return s.call(ctx, inSandbox{i})
	}}
}

func (s *subject) plain(b *testing.B, m []byte, name string, closeOnDone bool) *contender {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(closeOnDone))
	b.Cleanup(func() { r.Close(context.Background()); cancel() })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	modules := map[string]wazero.HostModuleBuilder{}
	for _, i := range s.imports {
		if modules[i.Module] == nil {
			modules[i.Module] = r.NewHostModuleBuilder(i.Module)
		}
		modules[i.Module].NewFunctionBuilder().
			WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), kinds(i.Params), kinds(i.Results)).Export(i.Name)
	}
	for _, h := range modules {
		if _, err := h.Instantiate(ctx); err != nil {
			b.Fatal(err)
		}
	}
	mod, err := r.InstantiateWithConfig(ctx, m, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		b.Fatal(err)
	}
	in := inWazero{mod, map[string]api.Function{}}
	if s.start != nil {
		if err := s.start(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
	return &contender{name: name, call: func(context.Context) error { return s.call(ctx, in) }}
}

func kinds(list []sandbox.Type) (out []api.ValueType) {
	for _, t := range list {
		out = append(out, api.ValueType(t))
	}
	return out
}

// dirtyPages reports what Release takes by how many pages of 4 KiB the call
// has written, of 4,096.
func dirtyPages(b *testing.B) {
	module := wattest.Must(`(module (memory (export "memory") 256)
		(data (i32.const 0) "not empty")
		(func (export "touch") (param $n i32)
			(block $done (loop $l
				(br_if $done (i32.eqz (local.get $n)))
				(local.set $n (i32.sub (local.get $n) (i32.const 1)))
				(i32.store (i32.mul (local.get $n) (i32.const 4096)) (i32.const 1))
				(br $l)))))`)
	for _, kind := range []string{"native", "portable"} {
		for _, n := range []uint64{0, 1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				m := loadBytes(b, configs[kind], module, sandbox.Spec{Name: "pages", Exports: map[string]sandbox.Signature{"touch": {Params: i32}}})
				c := &contender{name: kind}
				for b.Loop() {
					i, err := m.Acquire(b.Context(), nil)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := i.Call(b.Context(), "touch", n); err != nil {
						b.Fatal(err)
					}
					began := time.Now()
					m.Release(i)
					c.times = append(c.times, float64(time.Since(began)))
				}
				b.ReportMetric(c.median(), "release-ns")
				measured.release(kind, n, c.median())
			})
		}
	}
}

// results is what BenchmarkSandbox has measured.
type results struct {
	rows     []string
	releases map[string]map[uint64]float64
}

var measured = results{releases: map[string]map[uint64]float64{}}

func (r *results) add(b *testing.B, s subject, list []*contender) {
	t := map[string]float64{}
	for _, c := range list {
		t[c.name] = c.median()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(t["plain"], "plain-ns")
	b.ReportMetric(t["restored"], "restored-ns")
	b.ReportMetric(t["close-on-done"]/t["plain"], "close-on-done/plain")
	b.ReportMetric(t["reused"]/t["plain"], "rewritten/plain")
	b.ReportMetric(t["restored"]/t["reused"], "restored/reused")
	r.rows = append(r.rows, fmt.Sprintf("%s\t%s\t%.2f×\t%.2f×\t%.2f×\t%.2f×\t%.1f×\t%s\t%s",
		s.name, micros(t["plain"]), t["close-on-done"]/t["plain"], t["reused"]/t["plain"],
		t["restored"]/t["reused"], t["portable"]/t["reused"], t["fresh"]/t["reused"], micros(t["restored"]), s.about))
}

func (r *results) release(kind string, pages uint64, ns float64) {
	if r.releases[kind] == nil {
		r.releases[kind] = map[uint64]float64{}
	}
	r.releases[kind][pages] = ns
}

func micros(ns float64) string { return fmt.Sprintf("%.1f µs", ns/1000) }

// print writes the tables, if anything was measured. A guest that was run
// several times has several rows, the last of which ran longest.
func (r *results) print(out io.Writer) {
	if len(r.rows) > 0 {
		fmt.Fprintf(out, "\n%s, %d CPUs\n", machine(), runtime.NumCPU())
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "guest\tplain\tclose-on-done\trewritten\trestored\tportable\tfresh\ta caller's call\t")
		fmt.Fprintln(w, "\t\tof plain\tof plain\tof reused\tof reused\tof reused\t\t")
		for _, row := range r.rows {
			fmt.Fprintln(w, row)
		}
		w.Flush()
	}
	if len(r.releases) > 0 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\npages written\t0\t1\t10\t100\t1000\t(of 4,096)")
		for _, kind := range []string{"native", "portable"} {
			fmt.Fprintf(w, "released, %s", kind)
			for _, n := range []uint64{0, 1, 10, 100, 1000} {
				fmt.Fprintf(w, "\t%s", micros(r.releases[kind][n]))
			}
			fmt.Fprintln(w)
		}
		w.Flush()
	}
}

// machine names the processor.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t: "))
		}
	}
	return runtime.GOARCH
}
