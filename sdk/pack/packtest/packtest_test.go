package packtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

func TestManyTestsShareOneBuild(t *testing.T) {
	dir := filepath.Join("sdk", "pack", "testdata", "hello")
	var wg sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		wg.Go(func() { paths[i] = Build(t, dir) })
	}
	wg.Wait()
	for _, path := range paths {
		if path != paths[0] {
			t.Errorf("got %s and %s", path, paths[0])
		}
	}
	before, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	Build(t, dir)
	after, err := os.Stat(paths[0])
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was built again: %v", err)
	}
	wasm, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Extract(wasm); err != nil {
		t.Error(err)
	}
}
