package rewrite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

type command struct {
	Type       string  `json:"type"`
	Line       int     `json:"line"`
	Name       string  `json:"name"`
	Filename   string  `json:"filename"`
	As         string  `json:"as"`
	ModuleType string  `json:"module_type"`
	Text       string  `json:"text"`
	Expected   []value `json:"expected"`
	Action     struct {
		Type   string  `json:"type"`
		Field  string  `json:"field"`
		Module string  `json:"module"`
		Args   []value `json:"args"`
	} `json:"action"`
}

// world is one engine in which a test file runs.
type world struct {
	ctx     context.Context
	runtime wazero.Runtime
	meter   *meter // nil: modules run as they are
	named   map[string]*instance
	last    *instance
}

func newWorld(t *testing.T, features api.CoreFeatures, host []byte, m *meter) *world {
	ctx := context.Background()
	w := &world{ctx: ctx, meter: m, named: make(map[string]*instance)}
	w.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	t.Cleanup(func() { w.runtime.Close(ctx) })
	if _, err := w.runtime.Instantiate(ctx, host); err != nil {
		t.Fatal(err)
	}
	if m != nil {
		if err := m.link(ctx, w.runtime); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// everything admits what the specification's tests declare: admission is not
// what they are about.
var everything = wasm.Limits{ImportedState: true, MemoryPages: 1 << 16, TableEntries: 1<<32 - 1, Tables: 100, BranchTargets: 100_000, Params: 1000, Results: 1000}

func (w *world) instantiate(module []byte, name string) (*instance, error) {
	if w.meter == nil {
		mod, err := w.runtime.InstantiateWithConfig(w.ctx, module, wazero.NewModuleConfig().WithName(name))
		return &instance{Module: mod}, err
	}
	res, err := rewrite.Rewrite(module, everything, rewrite.Options{Piece: 16, Ahead: 8, Stack: stackBudget})
	if err != nil {
		return nil, err
	}
	return instantiate(w.ctx, w.runtime, res, name, w.meter)
}

// act performs an action and describes what came of it; met says whether the
// specification's expectation was.
func (w *world) act(c *command) (outcome string, met bool) {
	i := w.last
	if c.Action.Module != "" {
		i = w.named[c.Action.Module]
	}
	if c.Action.Type == "get" {
		g := i.ExportedGlobal(c.Action.Field)
		results := normal([]uint64{g.Get()}, []api.ValueType{g.Type()})
		return describe(results, nil), meets(results, c.Expected)
	}
	if i.meter != nil {
		i.ready()
	}
	var args []uint64
	for _, a := range c.Action.Args {
		bits, _ := a.bits()
		args = append(args, bits...)
	}
	f := i.ExportedFunction(c.Action.Field)
	results, err := f.Call(w.ctx, args...)
	if err != nil {
		return describe(nil, err), c.Type == "assert_trap"
	}
	results = normal(results, f.Definition().ResultTypes())
	return describe(results, nil), c.Type == "action" || c.Type == "assert_return" && meets(results, c.Expected)
}

// tally counts what a suite showed.
type tally struct{ compared, met, refused, refusedEarly, textual, exhausted, excepted int }

func (n *tally) add(m tally) {
	n.compared += m.compared
	n.met += m.met
	n.refused += m.refused
	n.refusedEarly += m.refusedEarly
	n.textual += m.textual
	n.exhausted += m.exhausted
	n.excepted += m.excepted
}

// TestSpecSuiteUnchanged runs the specification's tests that wazero ships in
// its own engine, as they are and rewritten: each action must come to the same.
//
// Two kinds of cases are exceptions. assert_exhaustion expects the engine's own
// stack overflow: rewritten, the module asks for a deeper stack before, with its
// stack global below zero, and that is what is checked. The other kind is in exceptions.
// Cases in the text format are skipped, as no part of Bulkhead reads it.
func TestSpecSuiteUnchanged(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("locating wazero's source: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	host, err := os.ReadFile(filepath.Join(root, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	suites := []struct {
		name     string
		features api.CoreFeatures
		least    int // actions to compare, lest the suite is silently empty
	}{{"v1", api.CoreFeaturesV1, 16_000}, {"v2", api.CoreFeaturesV2, 48_000}}
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(root, s.name, "testdata", "*.json"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no tests: %v", err)
			}
			var total tally
			for _, file := range files {
				base := strings.TrimSuffix(filepath.Base(file), ".json")
				f := specFile{dir: filepath.Dir(file), name: s.name + "/" + base}
				t.Run(base, func(t *testing.T) {
					f.plain = newWorld(t, s.features, host, nil)
					f.rewritten = newWorld(t, s.features, host, &meter{slice: slice})
					f.run(t, file)
				})
				total.add(f.tally)
			}
			t.Logf("%d actions came to the same, %d of them as the specification expects", total.compared, total.met)
			t.Logf("%d modules were refused in both, %d of them before the engine saw them; %d cases in the text format were skipped",
				total.refused, total.refusedEarly, total.textual)
			t.Logf("exceptions: %d assert_exhaustion, which trapped earlier for want of stack; %d with Wasm 1.0's bounds checks",
				total.exhausted, total.excepted)
			if total.compared < s.least {
				t.Errorf("only %d actions were compared, want %d", total.compared, s.least)
			}
		})
	}
}

// exceptions are cases that must come to something else, by file and line.
//
// Wasm 1.0 checks the bounds of all segments before it writes any. Wasm 2.0
// writes those before the one that does not fit, and so does the host, to
// which it falls to write them.
var exceptions = map[string]bool{
	"v1/linking:248": true, "v1/linking:342": true, "v1/linking:354": true,
}

// specFile runs one file of the suite.
type specFile struct {
	dir, name        string // name is suite and file
	plain, rewritten *world
	tally            tally
}

func (f *specFile) run(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var suite struct{ Commands []command }
	if err := json.Unmarshal(text, &suite); err != nil {
		t.Fatal(err)
	}
	for i := range suite.Commands {
		c := &suite.Commands[i]
		switch c.Type {
		case "module":
			as := ""
			if i+1 < len(suite.Commands) && suite.Commands[i+1].Type == "register" {
				as = suite.Commands[i+1].As
			}
			f.module(t, c, as)
		case "register": // done with its module
		case "assert_return", "action", "assert_trap":
			f.compare(t, c)
		case "assert_exhaustion":
			f.exhaust(t, c)
		case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
			f.refuse(t, c)
		default:
			t.Fatalf("line %d: unknown command %s", c.Line, c.Type)
		}
	}
}

func (f *specFile) read(t *testing.T, c *command) []byte {
	module, err := os.ReadFile(filepath.Join(f.dir, c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func (f *specFile) module(t *testing.T, c *command, as string) {
	module := f.read(t, c)
	for _, w := range []*world{f.plain, f.rewritten} {
		i, err := w.instantiate(module, as)
		if err != nil {
			t.Fatalf("line %d: %s: rewritten %v: %v", c.Line, c.Filename, w.meter != nil, err)
		}
		w.last = i
		if c.Name != "" {
			w.named[c.Name] = i
		}
	}
}

func (f *specFile) compare(t *testing.T, c *command) {
	plain, met := f.plain.act(c)
	rewritten, metToo := f.rewritten.act(c)
	if exceptions[fmt.Sprint(f.name, ":", c.Line)] {
		if plain == rewritten {
			t.Errorf("line %d is no exception any more", c.Line)
		}
		f.tally.excepted++
		return
	}
	if plain != rewritten || met != metToo {
		t.Errorf("line %d: %s %s: plain %s (as expected: %v), rewritten %s (%v)",
			c.Line, c.Type, c.Action.Field, plain, met, rewritten, metToo)
	}
	f.tally.compared++
	if met {
		f.tally.met++
	} else {
		t.Logf("line %d: %s %s: not as expected in either: %s", c.Line, c.Type, c.Action.Field, plain)
	}
}

func (f *specFile) exhaust(t *testing.T, c *command) {
	outcome, _ := f.rewritten.act(c)
	if left := f.rewritten.last.stackLeft(); left >= 0 || !strings.Contains(outcome, errDeep.Error()) {
		t.Errorf("line %d: %s: %s with %d bytes of stack left", c.Line, c.Action.Field, outcome, left)
	}
	f.tally.exhausted++
}

func (f *specFile) refuse(t *testing.T, c *command) {
	if c.ModuleType == "text" {
		f.tally.textual++
		return
	}
	module := f.read(t, c)
	_, plain := f.plain.instantiate(module, "")
	_, rewritten := f.rewritten.instantiate(module, "")
	if (plain == nil) != (rewritten == nil) {
		t.Errorf("line %d: %s %s: plain %v, rewritten %v", c.Line, c.Type, c.Filename, plain, rewritten)
	}
	f.tally.refused++
	if _, err := wasm.Decode(module, everything); err != nil {
		f.tally.refusedEarly++
	}
}
