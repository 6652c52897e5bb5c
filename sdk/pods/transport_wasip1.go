package pods

import (
	"unsafe"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

//go:wasmimport bulkhead:pods/v1 open
//go:noescape
func host(req unsafe.Pointer, n uint32, resp unsafe.Pointer, size uint32) int64

func open(req, resp []byte) int64 {
	return host(guest.Pointer(req), uint32(len(req)), guest.Pointer(resp), uint32(len(resp)))
}
