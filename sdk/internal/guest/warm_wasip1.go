package guest

import "runtime"

// warm prepares the allocator for requests. Every request begins in the state that Start
// left, and Go's allocator reserves memory for each size of object at the first allocation
// of that size. If every request had to do that, it would take longer than the rest of the
// request. So warm collects the garbage of the start and allocates one object of each
// small size, with pointers and without.
func warm() {
	runtime.GC()
	for _, n := range sizes {
		words := n / 8
		if n > 512 {
			words-- // such an object has a header
		}
		plain, pointers = make([]byte, n), make([]*byte, words)
	}
	plain, pointers = nil, nil
}

// sizes are Go's size classes up to 2 KiB, in bytes. Larger objects have almost their own
// memory each.
var sizes = [...]int{
	8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448,
	480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048,
}

// The objects are stored here, so that they are not allocated on the stack.
var (
	plain    []byte
	pointers []*byte
)
