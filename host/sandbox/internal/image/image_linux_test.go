package image

import (
	"slices"
	"testing"
)

// The test machines have the calls; without this, the native half of the other
// tests could pass on ordinary copies.
func TestThisKernelIsNative(t *testing.T) {
	if err := try(nil); err != nil {
		t.Fatal(err)
	}
	if theTracker() == nil {
		t.Log("without tracking: this kernel has none, or does not permit it")
	}
}

func TestAllScansFindExactlyWhatWasWritten(t *testing.T) {
	const pages = 512
	for name, scan := range scans(t) {
		t.Run(name, func(t *testing.T) {
			kind := Scanning
			if name == "tracked" {
				kind = Native
			}
			data := pattern(pages)
			img, m := instance(t, kind, data, 4<<20)
			buf := m.Reallocate(uint64(len(data)))
			sum := 0
			for p := range len(img.data) / hostPage {
				sum += int(buf[p*hostPage]) // read all of the file, write some
			}
			var want []span
			for p := 0; p < pages; p += 2 + p%5 { // more runs than one request returns
				buf[p*hostPage+p] ^= 0xff
				if last := len(want) - 1; last >= 0 && want[last].to == p*hostPage {
					want[last].to += hostPage
					continue
				}
				want = append(want, span{p * hostPage, (p + 1) * hostPage})
			}
			c := scanner{regions: make([]region, 16), base: uintptr(m.space.base)}
			if err := scan(&c, len(buf)); err != nil || !slices.Equal(c.ranges, want) {
				t.Errorf("%v, %d runs of %d (sum %d)", err, len(c.ranges), len(want), sum)
			}
		})
	}
}

// scans are those that this kernel has.
func scans(t testing.TB) map[string]func(c *scanner, n int) error {
	t.Helper()
	file, err := pagemap()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]func(*scanner, int) error{
		"read": func(c *scanner, n int) error { return c.read(file, 0, n) },
	}
	if hasIoctl() {
		all["ioctl"] = func(c *scanner, n int) error { return c.ioctl(file, private, 0, n) }
	}
	if theTracker() != nil {
		all["tracked"] = func(c *scanner, n int) error { return c.ioctl(file, written, 0, n) }
	}
	return all
}

// Where writes are not marked, nothing would be found to be unwritten or, worse,
// written: the kernel is made to say so.
func TestATrackedScanOfUntrackedMemoryFails(t *testing.T) {
	if theTracker() == nil {
		t.Skip("this kernel has no tracking, or does not permit it")
	}
	_, m := instance(t, Scanning, pattern(16), wasmPage)
	c := scanner{regions: make([]region, 16)}
	if err := c.scan(m.space.base, wasmPage, wasmPage); err == nil {
		t.Error("untracked memory was scanned")
	}
}

func BenchmarkScan(b *testing.B) {
	for name, scan := range scans(b) {
		b.Run(name, func(b *testing.B) {
			kind := Scanning
			if name == "tracked" {
				kind = Native
			}
			data := pattern(640)
			_, m := instance(b, kind, data, 64<<20)
			buf := m.Reallocate(uint64(len(data)))
			for p := range 50 {
				buf[p*7*hostPage]++
			}
			c := scanner{regions: make([]region, 128), base: uintptr(m.space.base)}
			for b.Loop() {
				c.ranges = c.ranges[:0]
				if err := scan(&c, len(buf)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
