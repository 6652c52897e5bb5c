package session

import (
	"unsafe"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

//go:wasmimport bulkhead:session/v1 next
//go:noescape
func hostNext(ptr unsafe.Pointer, size, timeoutMS uint32) int64

//go:wasmimport bulkhead:session/v1 send
//go:noescape
func hostSend(ptr unsafe.Pointer, n uint32) int32

//go:wasmimport bulkhead:session/v1 close
//go:noescape
func hostClose(code uint32, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport bulkhead:session/v1 splice
func splice(stream uint32) int32

func next(buf []byte, timeoutMS uint32) int64 {
	return hostNext(guest.Pointer(buf), uint32(len(buf)), timeoutMS)
}

func send(frame []byte) int32 { return hostSend(guest.Pointer(frame), uint32(len(frame))) }

func closeWith(code uint32, reason []byte) int32 {
	return hostClose(code, guest.Pointer(reason), uint32(len(reason)))
}

//go:wasmexport bulkhead_session
func exportSession(ptr unsafe.Pointer, n uint32) uint64 { return guest.Enter(guest.Session, ptr, n) }
