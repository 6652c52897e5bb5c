package conformance

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

// podList is a list of n pods as an API server answers it.
func podList(t testing.TB, n int) []byte {
	t.Helper()
	pod, err := os.ReadFile("testdata/json/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"81300"},"items":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.Replace(strings.TrimSpace(string(pod)), "NUMBER", strconv.Itoa(i), 1))
	}
	return []byte(b.String() + "]}")
}

// jsonWorld is the plugin of testdata/json, compiled with the environment.
func jsonWorld(t testing.TB, env ...string) *world {
	t.Helper()
	wasm := filepath.Join(t.TempDir(), "json.wasm")
	if err := pack.Build(t.Context(), "testdata/json", wasm, pack.Options{Env: env}); err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(t, wasm, `{}`, plugin.Limits{MemoryMiB: 256})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// All ways of reading a list give the same.
func TestEveryWayOfReadingAListReadsTheSame(t *testing.T) {
	w, body := jsonWorld(t), podList(t, 20)
	for _, way := range []string{"/unmarshal", "/each", "/decode", "/hand"} {
		want(t, way, string(w.post(t, way, body)), "20 40")
	}
	want(t, "the encoded list", w.get(t, "/append"), w.get(t, "/marshal"))
}

// BenchmarkJSON reads a list of 100 pods, of which a plugin shows some fields, and writes a
// list of 200 rows. Fuel, about one for each instruction, does not depend on the machine.
func BenchmarkJSON(b *testing.B) {
	for _, engine := range []struct {
		name string
		env  []string
	}{{"v1", nil}, {"v2", []string{"GOEXPERIMENT=jsonv2"}}} {
		w, body := jsonWorld(b, engine.env...), podList(b, 100)
		for _, way := range []string{"POST /unmarshal", "POST /each", "POST /decode", "POST /hand", "GET /marshal", "GET /append"} {
			method, target, _ := strings.Cut(way, " ")
			r := request{method: method, target: target}
			if method == "POST" {
				r.body = body
			}
			b.Run(engine.name+target, func(b *testing.B) {
				c := w.call(b, r)
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				b.SetBytes(int64(len(r.body)))
				for b.Loop() {
					if _, err := w.plugin.Handle(ctx, c); err != nil {
						b.Fatal(err)
					}
					c.Release()
				}
				b.ReportMetric(float64(w.fuel.Load()), "fuel")
			})
		}
	}
}
