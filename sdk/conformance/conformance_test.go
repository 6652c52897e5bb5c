package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	goleak.VerifyTestMain(m)
}

// promise is one line of PROMISES.md and its test.
type promise struct {
	name  string
	check func(*testing.T, *subject)
}

// subject is the conformance plugin of one SDK.
type subject struct {
	wasm   string
	shared *world // for promises that change nothing in it
	raw    *raw
}

// alone is the module alone in the sandbox, with an instance of the promise's own.
func (s *subject) alone(t *testing.T) *raw {
	t.Helper()
	i, err := s.raw.module.Acquire(t.Context(), sandbox.NewBudget(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.raw.module.Release(i) })
	return &raw{s.raw.module, i}
}

// ordinary are the limits of most worlds: bodies of 8 MiB are there several times.
var ordinary = plugin.Limits{MemoryMiB: 256, TotalMiB: 2048}

// world is the shared host, in its first state.
func (s *subject) world(t *testing.T) *world {
	w := s.shared
	w.kube.answer(nil)
	w.exec.open = nil
	w.allow.Store(true)
	w.log.take(t)
	return w
}

// load makes a host of its own for a promise.
func (s *subject) load(t *testing.T, config string, limits plugin.Limits) (*world, error) {
	t.Helper()
	limits.MemoryMiB = cmp.Or(limits.MemoryMiB, ordinary.MemoryMiB)
	limits.TotalMiB = cmp.Or(limits.TotalMiB, ordinary.TotalMiB)
	return newWorld(t, s.wasm, config, limits)
}

// TestConformance holds the conformance plugin of each SDK to each promise.
func TestConformance(t *testing.T) {
	run := func(name string, wasm func(*testing.T) string) {
		t.Run(name, func(t *testing.T) {
			s := &subject{wasm: wasm(t)}
			var err error
			if s.shared, err = s.load(t, `{"call": true}`, ordinary); err != nil {
				t.Fatal(err)
			}
			s.raw = newRaw(t, s.wasm)
			for _, area := range areas {
				for _, p := range area.promises {
					t.Run(p.name, func(t *testing.T) { p.check(t, s) })
				}
			}
		})
	}
	for _, l := range languages {
		run(l.name, func(t *testing.T) string { return l.plugin(t, l.conformance) })
	}
	if *module != "" {
		run("yours", func(t *testing.T) string { return yours(t) })
	}
}

// yours packs the module of an SDK that is not of this repository.
func yours(t *testing.T) string {
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	if err := packModule(*module, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// areas are the promises in the order of PROMISES.md.
var areas = []struct {
	name     string
	promises []promise
}{
	{"Frames", frames},
	{"Limits", limits},
	{"Errors", failures},
	{"Start and freshness", freshness},
	{"Cancellation", cancellation},
	{"Sessions", sessions},
	{"Streams", spliced},
}

// The list of promises in words is that of the tests.
func TestPromisesInWordsAreThoseThatAreTested(t *testing.T) {
	text, err := os.ReadFile("PROMISES.md")
	if err != nil {
		t.Fatal(err)
	}
	var written, tested []string
	for _, m := range regexp.MustCompile("(?m)^(?:## (.+)|- `([A-Za-z0-9]+)`: .+)").FindAllStringSubmatch(string(text), -1) {
		written = append(written, cmp.Or(m[1], m[2]))
	}
	for _, area := range areas {
		tested = append(tested, area.name)
		for _, p := range area.promises {
			tested = append(tested, p.name)
		}
	}
	if at := slices.IndexFunc(written, func(s string) bool { return s == "Frames" }); at >= 0 {
		written = written[at:]
	}
	if !slices.Equal(written, tested) {
		t.Errorf("PROMISES.md has\n%s\nthe suite\n%s", strings.Join(written, "\n"), strings.Join(tested, "\n"))
	}
}

// want fails the test if got differs.
func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, short(got), short(want))
	}
}

func short(v any) string {
	s := fmt.Sprintf("%#v", v)
	if len(s) > 400 {
		return fmt.Sprintf("%s… (%d bytes)", s[:400], len(s))
	}
	return s
}

// as is err as an error of type E; the test ends if it is none.
func as[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got %v, which is no %T", err, e)
	}
	return e
}

// ending is a context that ends with a cause.
func ending(t *testing.T) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}

func repeat(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
