package log

import (
	"unsafe"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

//go:wasmimport bulkhead:log/v1 record
//go:noescape
func hostRecord(level int32, ptr unsafe.Pointer, n uint32, attributes unsafe.Pointer, size uint32)

func record(level int32, text string, attributes []byte) {
	hostRecord(level, unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)), guest.Pointer(attributes), uint32(len(attributes)))
}
