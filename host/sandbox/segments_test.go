package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

// TestALargeGoGuestIsWithinItsDataSegments: Go's linker makes a segment of each run of data
// between eight zeros, 100,000 at most, so no Go guest has more than the default allows.
func TestALargeGoGuestIsWithinItsDataSegments(t *testing.T) {
	const most, runs, distance = 100_000, 120_000, 88 // 10 MB of data
	data := bytes.Repeat(append([]byte{1, 2, 3}, make([]byte, distance-3)...), runs)
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"go.mod": []byte("module large\n\ngo 1.26\n"),
		"data":   data,
		"main.go": []byte("package main\n\nimport _ \"embed\"\n\n//go:embed data\nvar data string\n\nfunc main() {}\n\n" +
			"//go:wasmexport at\nfunc at(k int32) int32 { return int32(data[k]) }\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "large.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	found, err := sandbox.Inspect(module, sandbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if found.Counts.DataSegments != most {
		t.Errorf("%d data segments, want %d: has Go's linker another limit?", found.Counts.DataSegments, most)
	}
	m := loadBytes(t, sandbox.Config{}, module, sandbox.Spec{
		Name:    "large",
		Exports: map[string]sandbox.Signature{"_initialize": {}, "at": {Params: i32, Results: i32}},
		Init: func(ctx context.Context, i *sandbox.Instance) error {
			_, err := i.Call(ctx, "_initialize")
			return err
		},
	})
	for _, k := range []int{0, 1, 50, (runs-1)*distance + 2, len(data) - 1} {
		if got, err := call(t.Context(), m, "at", uint64(k)); err != nil || got != uint64(data[k]) {
			t.Errorf("the byte at %d is %d, %v; want %d", k, got, err, data[k])
		}
	}
	t.Logf("%d bytes of module, %d of data in %d segments", len(module), found.DataBytes, found.Counts.DataSegments)
}
