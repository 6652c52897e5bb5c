package sandbox_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
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
