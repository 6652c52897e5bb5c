package image

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

var kinds = map[string]Kind{"native": Native, "scanning": Scanning, "portable": Portable}

func anySize(int64) bool { return true }

// pattern has no two equal pages, but zero pages among them and at the end.
func pattern(pages int) []byte {
	data := make([]byte, pages*hostPage)
	for p := 0; p < pages*3/4; p += 1 + p%3 {
		for k := range 64 {
			data[p*hostPage+k*61] = byte(p + k + 1)
		}
	}
	return data
}

func instance(t testing.TB, kind Kind, data []byte, max uint64) (*Image, *Memory) {
	t.Helper()
	img, err := New(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	m, err := NewMemory(kind, img, max, anySize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Unmap() })
	return img, m
}

func TestAMemoryStartsAsItsImageAndIsRestoredToIt(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			data := pattern(64)
			_, m := instance(t, kind, data, 1<<20)
			rng := rand.New(rand.NewPCG(1, 2))
			for round := range 200 {
				buf := m.Reallocate(uint64(len(data)))
				if !bytes.Equal(buf, data) {
					t.Fatalf("round %d does not start as the image", round)
				}
				for range rng.IntN(400) {
					buf[rng.IntN(len(buf))]++
				}
				if _, err := m.Restore(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestMemoriesOfOneImageAreApart(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			data := pattern(16)
			img, a := instance(t, kind, data, wasmPage)
			b, err := NewMemory(kind, img, wasmPage, anySize)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Unmap()
			a.Reallocate(wasmPage)[5000] = 99
			if !bytes.Equal(b.Reallocate(wasmPage), data) || !bytes.HasPrefix(data, img.data) {
				t.Fatal("a write to one memory shows elsewhere")
			}
		})
	}
}

// An image that ends in megabytes of zeros is mapped with large pages.
func TestALongTailOfZerosIsRestored(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			const size = 24 << 20
			data := append(pattern(16), make([]byte, size-16*hostPage)...)
			_, m := instance(t, kind, data, size)
			rng := rand.New(rand.NewPCG(5, 6))
			for round := range 20 {
				buf := m.Reallocate(size)
				for range 1 + rng.IntN(40) {
					buf[rng.IntN(size)] = 1
				}
				if _, err := m.Restore(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(buf, data) {
					t.Fatalf("round %d is not restored", round)
				}
			}
		})
	}
}

func TestGrowing(t *testing.T) {
	for name, kind := range kinds {
		for _, from := range []int{0, 16} {
			t.Run(fmt.Sprint(name, from), func(t *testing.T) {
				data := pattern(from)
				img, err := New(kind, data)
				if err != nil {
					t.Fatal(err)
				}
				defer img.Close()
				var used, limit int64 = 0, 4 * wasmPage
				m, err := NewMemory(kind, img, 8*wasmPage, func(delta int64) bool {
					if used+delta > limit {
						return false
					}
					used += delta
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				buf := m.Reallocate(3 * wasmPage)
				if len(buf) != 3*wasmPage || !bytes.Equal(buf[:len(data)], data) || bytes.ContainsFunc(buf[len(data):], func(r rune) bool { return r != 0 }) {
					t.Fatal("growing lost the contents or did not add zeros")
				}
				buf[len(buf)-1] = 1
				if m.Reallocate(5*wasmPage) != nil || used != 3*wasmPage {
					t.Fatalf("grew beyond the budget, or was charged for a refusal: %d", used)
				}
				limit = 100 * wasmPage
				if m.Reallocate(9*wasmPage) != nil {
					t.Fatal("grew beyond the maximum")
				}
				if got := m.Reallocate(8 * wasmPage); len(got) != 8*wasmPage || got[3*wasmPage-1] != 1 {
					t.Fatal("a refusal changed the memory")
				}
				if !m.Grown() {
					t.Fatal("has not grown")
				}
				if _, err := m.Restore(); err == nil {
					t.Fatal("a grown memory was restored")
				}
				if err := m.Unmap(); err != nil || used != 0 {
					t.Fatalf("Unmap: %v, %d bytes still charged", err, used)
				}
			})
		}
	}
}

func TestABudgetThatIsSpentRefusesAMemory(t *testing.T) {
	img, err := New(Native, pattern(16))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := NewMemory(Native, img, wasmPage, func(int64) bool { return false }); !errors.Is(err, ErrBudget) {
		t.Fatalf("error is %v", err)
	}
	if _, err := NewMemory(Native, img, wasmPage/2, anySize); err == nil {
		t.Fatal("an image larger than the memory was accepted")
	}
	if _, err := New(Native, make([]byte, 5)); err == nil {
		t.Fatal("a part of a page was accepted")
	}
}

func BenchmarkRestore(b *testing.B) {
	data := pattern(600)[:9*wasmPage*4]
	for name, kind := range kinds {
		for _, dirty := range []int{0, 1, 16, 64, 128, 512} {
			b.Run(fmt.Sprintf("%s/dirty=%d", name, dirty), func(b *testing.B) {
				_, m := instance(b, kind, data, 64<<20)
				buf := m.Reallocate(uint64(len(data)))
				for b.Loop() {
					for p := range dirty {
						buf[p*hostPage]++
					}
					if _, err := m.Restore(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestChangedCountsThePagesThatDiffer(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			data := pattern(64)
			_, m := instance(t, kind, data, 1<<20)
			buf := m.Reallocate(uint64(len(data)))
			if n := m.Changed(); n != 0 {
				t.Errorf("%d bytes of a new memory differ", n)
			}
			buf[0]++
			buf[1]++
			buf[len(buf)-1]++ // a page of zeros, which the image leaves out
			same := buf[5*hostPage:][:1]
			copy(same, bytes.Clone(same)) // written, but with the same content
			if n := m.Changed(); n != 2*hostPage {
				t.Errorf("%d bytes differ, want two pages", n)
			}
			grown := m.Reallocate(uint64(len(data) + wasmPage))
			grown[len(data)+hostPage] = 1
			if n := m.Changed(); n != 3*hostPage {
				t.Errorf("%d bytes differ after growth, want three pages", n)
			}
		})
	}
	m, err := NewMemory(Portable, nil, 1<<20, anySize)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmap()
	if m.Changed() != -1 {
		t.Error("a memory without an image has nothing to differ from")
	}
}

// sparse is data of the given length in which one page of each of the places is not zero.
func sparse(size int, places ...int) []byte {
	data := make([]byte, size)
	for k, at := range places {
		data[at] = byte(k + 1)
	}
	return data
}

// TestHolesAreRestored writes before, into and behind each run of an image with long holes.
func TestHolesAreRestored(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			const size = 6 << 20
			data := sparse(size, 100, 2<<20+5, 2<<20+hostPage, 4<<20-1, size-70_000)
			_, m := instance(t, kind, data, size)
			buf := m.Reallocate(size)
			rng := rand.New(rand.NewPCG(3, 4))
			for round := range 20 {
				if !bytes.Equal(buf, data) {
					t.Fatalf("round %d does not start as the image", round)
				}
				for range 30 {
					from := rng.IntN(size)
					for k := range buf[from:min(size, from+rng.IntN(40_000))] {
						buf[from+k] = 0xee
					}
				}
				if _, err := m.Restore(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestAnyPartOfAnImageIsShown: whole pages from anywhere, in the middle of a run or across its
// ends.
func TestAnyPartOfAnImageIsShown(t *testing.T) {
	data := append(append(pattern(64), make([]byte, 2*leastHole)...), pattern(64)...)
	for name, kind := range kinds {
		img, err := New(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(5, 6))
		pages := len(data) / hostPage
		for range 200 {
			from := rng.IntN(pages)
			to := from + 1 + rng.IntN(min(pages-from, 1+rng.IntN(600)))
			got, want := bytes.Repeat([]byte{0xee}, (to-from)*hostPage), data[from*hostPage:to*hostPage]
			if img.show(got, from*hostPage); !bytes.Equal(got, want) {
				t.Fatalf("%s: pages %d to %d differ", name, from, to)
			}
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAnImageHoldsItsRuns: pages of long holes do not count, those of short ones do, and
// there are few runs.
func TestAnImageHoldsItsRuns(t *testing.T) {
	if !native() {
		t.Skip("this kernel has no mapped images")
	}
	held := func(data []byte) (int64, int) {
		img, err := New(Native, data)
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		return img.Held(), len(img.runs)
	}
	const size = 400 << 20
	if n, runs := held(make([]byte, size)); n != 0 || runs != 0 {
		t.Errorf("zeros: %d bytes in %d runs", n, runs)
	}
	if n, runs := held(sparse(size, 0, 300<<20)); n != 2*hostPage || runs != 2 {
		t.Errorf("two pages far apart: %d bytes in %d runs", n, runs)
	}
	if n, runs := held(sparse(size, 0, 900<<10)); n != 900<<10+hostPage || runs != 1 {
		t.Errorf("two pages near each other: %d bytes in %d runs", n, runs)
	}
	var places []int
	for at := 0; at < size; at += 2 << 20 {
		places = append(places, at)
	}
	if n, runs := held(sparse(size, places...)); n < size/2 || runs > maxRuns {
		t.Errorf("%d pages apart: %d bytes in %d runs", len(places), n, runs)
	}
	if img, err := New(Portable, sparse(size/100, 0, 2<<20)); err != nil || img.Held() != 2<<20+hostPage {
		t.Errorf("an ordinary copy holds %d bytes, %v", img.Held(), err)
	}
}

// TestCopyIsCopy: any lengths, around those of a piece.
func TestCopyIsCopy(t *testing.T) {
	from := make([]byte, 3*pieceSize+1)
	for k := range from {
		from[k] = byte(k % 251)
	}
	for _, to := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3 * pieceSize} {
		for _, n := range []int{0, 1, pieceSize, pieceSize + 1, 3*pieceSize + 1} {
			got, want := make([]byte, to), make([]byte, to)
			Copy(got, from[:n])
			copy(want, from[:n])
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes to %d", n, to)
			}
		}
	}
}
