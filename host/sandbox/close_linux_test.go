package sandbox_test

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

// held is what the process holds: memory mappings, open files, and bytes of Go's heap.
func held(t *testing.T) (mappings, files int, heap int64) {
	t.Helper()
	for range 3 { // what a finalizer releases may have one of its own
		ran := make(chan struct{})
		runtime.SetFinalizer(new([64]byte), func(*[64]byte) { close(ran) })
		runtime.GC()
		<-ran
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "\n"), len(list), int64(m.HeapAlloc)
}

// A module that was closed has given back its code, its template and its instances.
func TestAClosedModuleGivesItsMemoryBack(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	use := func() {
		m, err := box.Load(t.Context(), guest, spec(&lines{}, identity))
		if err != nil {
			t.Fatal(err)
		}
		var list []*sandbox.Instance
		for range 3 {
			i, err := m.Acquire(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, i)
		}
		if m.Used() == 0 {
			t.Error("three instances use no memory")
		}
		for _, i := range list {
			m.Release(i)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m.Used() != 0 || m.Live() != 0 {
			t.Errorf("closed, it has %d instances of %d bytes", m.Live(), m.Used())
		}
	}
	for range 3 {
		use()
	}
	mappings, files, heap := held(t)
	const rounds = 10
	for range rounds {
		use()
	}
	nowMappings, nowFiles, nowHeap := held(t)
	if nowMappings > mappings+rounds || nowFiles > files+2 || nowHeap > heap+2<<20 {
		t.Errorf("after %d modules: %d mappings, %d files, %d KiB of heap; before %d, %d, %d", rounds,
			nowMappings, nowFiles, nowHeap>>10, mappings, files, heap>>10)
	}
}

// A module whose Close has waited in vain is freed when its last instance is released.
func TestAClosedModuleIsFreedWhenItsLastInstanceIs(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := box.Load(t.Context(), guest, spec(&lines{}, identity))
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Close(ended); err == nil {
		t.Error("it is closed with an instance in use")
	}
	m.Release(i)
	if err := m.Close(t.Context()); err != nil || m.Used() != 0 {
		t.Errorf("%v, %d bytes", err, m.Used())
	}
}
