package guest

import "unsafe"

//go:wasmimport bulkhead:abi/v1 take
//go:noescape
func hostTake(ptr unsafe.Pointer, size uint32) int64

//go:wasmimport bulkhead:log/v1 write
//go:noescape
func hostWrite(level int32, ptr unsafe.Pointer, n uint32)

func take(buf []byte) int64 { return hostTake(Pointer(buf), uint32(len(buf))) }

func write(level int32, text string) {
	hostWrite(level, unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

// Pointer is where b begins, for an import.
func Pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

//go:wasmexport bulkhead_alloc
func exportAlloc(n uint32) unsafe.Pointer { return Pointer(Alloc(n)) }

//go:wasmexport bulkhead_start
func exportStart(ptr unsafe.Pointer, n uint32) uint64 {
	defer prepare()
	return Enter(Start, ptr, n)
}

// prepare makes the state in which requests begin.
func prepare() {
	warm()
	mark()
}

//go:wasmexport bulkhead_handle
func exportHandle(ptr unsafe.Pointer, n uint32) uint64 { return Enter(Handle, ptr, n) }

//go:wasmexport bulkhead_routes
func exportRoutes() uint64 { return result(Handlers()) }

// Enter runs an entry on the frame that the host wrote at ptr, which must be
// what Alloc returned last, and returns where its answer is as ptr<<32|len.
func Enter(entry func([]byte) []byte, ptr unsafe.Pointer, n uint32) uint64 {
	var frame []byte
	if ptr == Pointer(inbound) && int(n) <= len(inbound) {
		frame = inbound[:n]
	}
	return result(entry(frame))
}

func result(out []byte) uint64 {
	return uint64(uintptr(Pointer(out)))<<32 | uint64(len(out))
}
