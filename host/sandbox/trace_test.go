package sandbox_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
)

// A guest chooses the names in its stack, and the stack goes to the log.
func TestAStackForTheLogIsShort(t *testing.T) {
	m := loadBytes(t, sandbox.Config{}, sandboxtest.Assemble(t, "testdata/hostile/names/in-a-deep-trap.wat"),
		sandbox.Spec{Name: "names", Exports: runs})
	_, err := call(t.Context(), m, "run")
	e, ok := errors.AsType[*sandbox.Error](err)
	if !ok {
		t.Fatal(err)
	}
	if len(e.Stack) > 16<<10 || len(e.Stack) < 5000 || !utf8.ValidString(e.Stack) {
		t.Errorf("the stack has %d bytes", len(e.Stack))
	}
	for line := range strings.Lines(e.Stack) {
		if strings.Contains(line, "omitted frames") {
			continue
		}
		if len(line) > 300 || !strings.Contains(line, "0123456789abcdef") {
			t.Errorf("a line of %d bytes: %.100s", len(line), line)
		}
	}
	if len(err.Error()) > 300 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// Each call may write as many lines as the one before.
func TestLinesAreCountedForEachCall(t *testing.T) {
	var log lines
	m := load(t, spec(&log, identity))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	for range 20 {
		if _, err := i.Call(t.Context(), "flood", 20); err != nil {
			t.Fatal(err)
		}
	}
	if n := log.count(); n != 20*20 {
		t.Errorf("%d lines of 400 were passed on", n)
	}
}

// Each function of this recursion waits in a stub while the host is asked for fuel: a loop takes
// most of a slice before the next call. The trace has the guest's own frames only, each once.
func TestAStackShowsNoStubs(t *testing.T) {
	m := loadBytes(t, sandbox.Config{}, wattest.Must(`(module (memory (export "memory") 1)
		(func $leaf (param $n i32) (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
		(func $f (export "run") (param $n i32)
			(if (i32.eqz (local.get $n)) (then (unreachable)))
			(call $leaf (i32.const 19000))
			(call $f (i32.sub (local.get $n) (i32.const 1)))))`),
		sandbox.Spec{Name: "waiting", Exports: map[string]sandbox.Signature{"run": {Params: i32}}})
	for _, levels := range []uint64{0, 1, 2, 8} {
		_, err := call(t.Context(), m, "run", levels)
		e, ok := errors.AsType[*sandbox.Error](err)
		if !ok || e.Fault != sandbox.Trapped {
			t.Fatal(err)
		}
		frames := strings.Split(e.Stack, "\n")
		if len(frames) != int(levels)+1 || strings.Contains(e.Stack, "bulkhead:") {
			t.Errorf("%d levels:\n%s", levels, e.Stack)
		}
	}
}
