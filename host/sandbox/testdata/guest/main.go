// Command guest is the module that the sandbox's tests run: one export for
// each way in which a guest can behave.
package main

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	rand1 "math/rand"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/seed-a3fb47d6/bulkhead/sdk/random"
)

func main() {}

var buffer [64 << 10]byte

//go:wasmimport test v1
func hostEcho(v uint32) uint32

//go:wasmexport buffer_at
func bufferAt() uint32 { return uint32(uintptr(unsafe.Pointer(&buffer[0]))) }

//go:wasmexport add
func add(a, b uint32) uint32 { return a + b }

//go:wasmexport call_host
func callHost(v uint32) uint32 { return hostEcho(v) }

var sink uint32

//go:wasmexport spin
func spin() {
	for {
		sink++
	}
}

//go:wasmexport sleep
func sleep(ms uint32) { time.Sleep(time.Duration(ms) * time.Millisecond) }

//go:wasmexport crash
func crash() { panic("crash on purpose") }

//go:wasmexport exit
func exit(code uint32) { os.Exit(int(code)) }

//go:wasmexport block
func block() { <-make(chan int) }

var hoard [][]byte

//go:wasmexport grow
func grow() {
	for {
		b := make([]byte, 1<<20)
		b[0] = 1
		hoard = append(hoard, b)
	}
}

//go:wasmexport flood
func flood(lines uint32) {
	for i := range lines {
		fmt.Printf("line %d %s\n", i, strings.Repeat("x", 100))
	}
}

var visits uint32

//go:wasmexport visit
func visit() uint32 { visits++; return visits }

// work is a bit of everything that handlers do: allocate, hash, format.
//
//go:wasmexport work
func work(n uint32) uint32 {
	m := make(map[string]int)
	for i := range n {
		m["key-"+strconv.Itoa(int(i%100))] += int(i)
	}
	return uint32(len(m))
}

// loop is a tight loop.
//
//go:wasmexport loop
func loop(n uint32) uint32 {
	var v uint32 = 1
	for i := range n {
		v = v*1664525 + i
	}
	return v
}

// Places where a secret can hide.
var (
	hidden  uint64
	hiddenM = map[uint64]uint64{}
	hiddenS []uint64
	hiddenC = make(chan uint64, 8)
	hiddenP = sync.Pool{New: func() any { return new(uint64) }}
)

//go:wasmexport hide
func hide(place uint32, secret uint64) {
	switch place {
	case 0:
		hidden = secret
	case 1:
		hiddenM[1] = secret
	case 2:
		hiddenS = slices.Repeat([]uint64{secret}, 100_000)
	case 3:
		select {
		case hiddenC <- secret:
		default:
		}
	case 4:
		p := new(uint64)
		*p = secret
		hiddenP.Put(p)
	case 5: // in freed memory, most of it grown
		sink = uint32(len(slices.Repeat([]uint64{secret}, 1<<20)))
		runtime.GC()
	}
}

//go:wasmexport seek
func seek(place uint32) uint64 {
	switch place {
	case 0:
		return hidden
	case 1:
		return hiddenM[1]
	case 2:
		if len(hiddenS) > 0 {
			return hiddenS[0]
		}
	case 3:
		select {
		case v := <-hiddenC:
			return v
		default:
		}
	case 4:
		p := hiddenP.Get().(*uint64)
		defer hiddenP.Put(p)
		return *p
	}
	return 0
}

//go:wasmexport crypto_random
func cryptoRandom() uint64 {
	var b [8]byte
	crand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

//go:wasmexport math_random
func mathRandom() uint64 { return rand.Uint64() }

//go:wasmexport math_random_v1
func mathRandomV1() uint64 { return rand1.Uint64() }

//go:wasmexport seeded_random
func seededRandom() uint64 { return random.New().Uint64() }

//go:wasmexport map_hash
func mapHash() uint64 { return maphash.String(maphash.MakeSeed(), "x") }

//go:wasmexport now
func now() uint64 { return uint64(time.Now().UnixNano()) }

// map_order is a hash of the order in which a map is walked.
//
//go:wasmexport map_order
func mapOrder() uint64 {
	m := map[int]bool{}
	for i := range 64 {
		m[i] = true
	}
	var h uint64
	for k := range m {
		h = h*131 + uint64(k)
	}
	return h
}
