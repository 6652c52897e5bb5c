package image

import (
	"slices"
	"testing"
)

// The test machines have the calls; without this, the native half of the other
// tests could pass on ordinary copies.
func TestThisKernelIsNative(t *testing.T) {
	if err := tryNative(); err != nil {
		t.Fatal(err)
	}
}

func TestBothScansFindExactlyWhatWasWritten(t *testing.T) {
	data := pattern(512)
	img, m := instance(t, Native, data, 4<<20)
	buf := m.Reallocate(uint64(len(data)))
	sum := 0
	for p := range len(img.data) / hostPage {
		sum += int(buf[p*hostPage]) // read all of the file, write some
	}
	var want []span
	for p := 0; p < 512; p += 2 + p%5 { // more runs than one request returns
		buf[p*hostPage+p] ^= 0xff
		if last := len(want) - 1; last >= 0 && want[last].to == p*hostPage {
			want[last].to += hostPage
			continue
		}
		want = append(want, span{p * hostPage, (p + 1) * hostPage})
	}
	file, err := pagemap()
	if err != nil {
		t.Fatal(err)
	}
	c := scanner{regions: make([]region, 16)}
	if err := c.read(file, uintptr(m.space.base), len(buf)); err != nil || !slices.Equal(c.ranges, want) {
		t.Errorf("page map: %v, %d runs of %d (sum %d)", err, len(c.ranges), len(want), sum)
	}
	if !hasIoctl() {
		t.Skip("the kernel has no PAGEMAP_SCAN")
	}
	c.ranges = nil
	if err := c.ioctl(file, uintptr(m.space.base), len(buf)); err != nil || !slices.Equal(c.ranges, want) {
		t.Errorf("ioctl: %v, %d runs of %d", err, len(c.ranges), len(want))
	}
}

func BenchmarkScan(b *testing.B) {
	data := pattern(640)
	_, m := instance(b, Native, data, 64<<20)
	buf := m.Reallocate(uint64(len(data)))
	for p := range 50 {
		buf[p*7*hostPage]++
	}
	file, err := pagemap()
	if err != nil {
		b.Fatal(err)
	}
	c := scanner{regions: make([]region, 128)}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			c.ranges = c.ranges[:0]
			if err := c.read(file, uintptr(m.space.base), len(buf)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ioctl", func(b *testing.B) {
		for b.Loop() {
			c.ranges = c.ranges[:0]
			if err := c.ioctl(file, uintptr(m.space.base), len(buf)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
