package guest

import "runtime"

// warm leaves the allocator as an ordinary request wants to find it. Every
// request may begin in the state that Start left, and Go's allocator gets
// memory for each size of object when it is first asked: that, done by every
// request again, took longer than all else it did. So the garbage of the start
// is collected and one object of each small size allocated, with pointers and
// without.
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

// sizes are Go's size classes up to 2 KiB, in bytes. From there on each object
// has memory of its own, or almost.
var sizes = [...]int{
	8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448,
	480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048,
}

// Where the objects go, lest they be put on the stack.
var (
	plain    []byte
	pointers []*byte
)
