package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// large has a memory of so many pages, and counts at its start and its end.
func large(pages string) []byte {
	return wattest.Must(`(module (memory (export "memory") ` + pages + `)
		(func (export "init") (i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 0xfffefffc) (i32.const 700)))
		(func (export "grow") (result i32) (memory.grow (i32.const 1)))
		(func (export "count") (result i32)
			(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
			(i32.store (i32.const 0xfffefffc) (i32.add (i32.load (i32.const 0xfffefffc)) (i32.const 1)))
			(i32.add (i32.load (i32.const 0)) (i32.load (i32.const 0xfffefffc)))))`)
}

var largeSpec = sandbox.Spec{
	Name:    "large",
	Limits:  sandbox.Limits{MemoryBytes: 4 << 30, TotalBytes: 16 << 30, Instances: 2},
	Exports: map[string]sandbox.Signature{"count": {Results: i32}, "grow": {Results: i32}, "init": {}},
	Init:    func(ctx context.Context, i *sandbox.Instance) error { _, err := i.Call(ctx, "init"); return err },
}

// TestTheLargestMemoryKeepsItsState: what Init left is there for each caller, at
// both ends, and nothing of the caller before.
func TestTheLargestMemoryKeepsItsState(t *testing.T) {
	m := loadBytes(t, sandbox.Config{}, large("65535"), largeSpec)
	for range 2 {
		if n, err := call(t.Context(), m, "count"); err != nil || n != 1702 {
			t.Errorf("got %d, %v; want 1702", n, err)
		}
		// The length of one page more is 0 in 32 bits.
		if n, err := call(t.Context(), m, "grow"); err != nil || int32(n) != -1 {
			t.Errorf("growing gave %d, %v", n, err)
		}
	}
	if n := m.Bytes(); n < 65535<<16 || n >= 5<<30 {
		t.Errorf("the instance that is left counts %d bytes", n)
	}
}

// TestAMemoryOf4GiBIsRefused, because machine code and host would take its length
// for 0: under the limit's name, also when the operator allows 4 GiB.
func TestAMemoryOf4GiBIsRefused(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = box.Load(t.Context(), large("65536"), largeSpec)
	if e, ok := errors.AsType[*sandbox.Refused](err); !ok || e.Limit != "memory" || !strings.Contains(err.Error(), "at most 65535") {
		t.Errorf("error is %v", err)
	}
}
