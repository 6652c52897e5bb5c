package image

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// counter is a budget.
type counter struct{ used int64 }

func (c *counter) grow(delta int64) bool { c.used += delta; return true }

func TestAnImageIsWholeWasmPages(t *testing.T) {
	for _, size := range []int{1, hostPage, wasmPage - 1, wasmPage + hostPage} {
		if _, err := New(Native, make([]byte, size)); err == nil {
			t.Errorf("%d bytes were accepted", size)
		}
	}
}

// TestAMemoryThatCannotBeMadeIsNotCounted asks for more address space than
// there is.
func TestAMemoryThatCannotBeMadeIsNotCounted(t *testing.T) {
	img, err := New(Native, pattern(16))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	var c counter
	if _, err := NewMemory(Native, img, 1<<60, c.grow); err == nil || c.used != 0 {
		t.Errorf("error %v, %d bytes counted", err, c.used)
	}
}

// TestAGrowthThatFailsIsNotCounted: the kernel lets nobody write to a file that
// was opened for reading.
func TestAGrowthThatFailsIsNotCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "read-only")
	if err := os.WriteFile(path, make([]byte, 2*wasmPage), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	base, err := unix.MmapPtr(int(f.Fd()), 0, nil, 2*wasmPage, unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	var c counter
	m := &Memory{space: &space{base: base, size: 2 * wasmPage}, max: 2 * wasmPage, grow: c.grow}
	defer m.Unmap()
	if m.Reallocate(wasmPage) != nil || c.used != 0 || len(m.Bytes()) != 0 {
		t.Errorf("%d bytes counted, the memory has %d", c.used, len(m.Bytes()))
	}
}

func TestWhatIsFreedIsGivenBackOnce(t *testing.T) {
	var c counter
	m, err := NewMemory(Portable, nil, wasmPage, c.grow)
	if err != nil {
		t.Fatal(err)
	}
	m.Reallocate(wasmPage)
	for range 2 {
		if err := m.Unmap(); err != nil || c.used != 0 {
			t.Errorf("%v, %d bytes counted", err, c.used)
		}
	}
}

// TestAMemoryWithoutAnImageCannotBeRestored: there is nothing to restore it to.
func TestAMemoryWithoutAnImageCannotBeRestored(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			m, err := NewMemory(kind, nil, wasmPage, anySize)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Unmap()
			m.Reallocate(wasmPage)
			if _, err := m.Restore(); !m.Grown() || err == nil {
				t.Errorf("grown is %v, restoring %v", m.Grown(), err)
			}
		})
	}
}

func TestAClosedImageHasNoContent(t *testing.T) {
	for name, kind := range kinds {
		img, err := New(kind, pattern(16))
		if err != nil {
			t.Fatal(err)
		}
		if err := img.Close(); err != nil || img.data != nil {
			t.Errorf("%s: %v, %d bytes are there, which may be unmapped", name, err, len(img.data))
		}
	}
}

// TestNobodyCanChangeAnImage: neither through its file nor by appending to a
// memory, behind which other addresses lie.
func TestNobodyCanChangeAnImage(t *testing.T) {
	img, m := instance(t, Native, pattern(16), 4*wasmPage)
	if _, err := img.mapped.file.WriteAt([]byte("changed"), 0); err == nil {
		t.Error("the file was written")
	}
	if err := img.mapped.file.Truncate(0); err == nil {
		t.Error("the file was cut off")
	}
	if n := cap(m.Bytes()); n != wasmPage {
		t.Errorf("appending reaches %d bytes, want %d", n, wasmPage)
	}
	if n := cap(m.Reallocate(2 * wasmPage)); n != 2*wasmPage {
		t.Errorf("after growing it reaches %d bytes", n)
	}
}

// TestAMemoryThatWritesMuchGivesItsPagesUp: the pages above keepPages of all its
// calls count, so that an idle memory does not hold them for ever.
func TestAMemoryThatWritesMuchGivesItsPagesUp(t *testing.T) {
	for _, kind := range []Kind{Native, Scanning} {
		data := pattern(256)
		_, m := instance(t, kind, data, 4<<20)
		gaveUp := 0
		for range 2 * excessPages / 64 {
			for p := range keepPages + 64 {
				m.Bytes()[p*hostPage] ^= 0xff
			}
			before := m.space.excess
			if _, err := m.Restore(); err != nil {
				t.Fatal(err)
			}
			if m.space.excess < before {
				gaveUp++
			}
			// Only these pages: some kernels count zeros that were only read as written.
			if n := (keepPages + 64) * hostPage; !bytes.Equal(m.Bytes()[:n], data[:n]) {
				t.Fatal("it is not restored")
			}
		}
		if gaveUp != 1 {
			t.Errorf("kind %d: it gave its pages up %d times, want once in twice the excess", kind, gaveUp)
		}
	}
}

// TestAPageThatWasSwappedOutWasWritten, as one that is present and of no file.
func TestAPageThatWasSwappedOutWasWritten(t *testing.T) {
	var entries []byte
	for _, e := range []uint64{entryPresent, entrySwapped, entryPresent | entryFile, 0, entrySwapped | entryFile, entrySwapped} {
		entries = binary.NativeEndian.AppendUint64(entries, e)
	}
	path := filepath.Join(t.TempDir(), "pagemap")
	if err := os.WriteFile(path, entries, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c scanner
	want := []span{{0, 2 * hostPage}, {5 * hostPage, 6 * hostPage}}
	if err := c.read(f, 0, 6*hostPage); err != nil || !slices.Equal(c.ranges, want) || c.pages != 3 {
		t.Errorf("%v, %v, %d pages; want %v", err, c.ranges, c.pages, want)
	}
}

// TestAKernelThatTracksIsUsed: if what it marks is not understood, memories are
// searched instead, which is right but slow, and nothing else would show it.
func TestAKernelThatTracksIsUsed(t *testing.T) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 || !hasIoctl() {
		t.Skip("this kernel has no tracking, or does not permit it")
	}
	defer unix.Close(int(fd))
	if err := (&tracker{fd}).ioctl(uffdHandshake, uffdAPI, uffdWriteProtected|uffdUnpopulated|uffdAsync); err != nil {
		t.Skip(err)
	}
	if theTracker() == nil {
		t.Errorf("the kernel tracks writes, but trying it out failed: %v", try(&tracker{fd}))
	}
}
