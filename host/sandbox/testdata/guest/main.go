// Command guest is the module that the sandbox's tests run: one export for
// each way in which a guest can behave.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"
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
