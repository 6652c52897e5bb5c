package helm

import (
	"strconv"
	"testing"
)

// What has ended keeps up to 16 MiB of its request and 8 MiB of its answer in no budget.
func TestFewEndedOperationsOfAUserAreKept(t *testing.T) {
	var o operations
	begin := func(id, user string) *ongoing {
		x := &ongoing{claim: &claim{ID: id, User: user}, done: make(chan struct{})}
		if err := o.add(x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	o.end(begin("bobs", "bob"), nil, nil)
	runs := begin("runs", "ann")
	last := ""
	for n := range maxEnded + 5 {
		last = strconv.Itoa(n)
		o.end(begin(last, "ann"), nil, nil)
	}
	if len(o.by) != maxEnded+2 || o.by["runs"] != runs || o.by["bobs"] == nil || o.by[last] == nil || o.by["0"] != nil {
		t.Errorf("%d operations are kept", len(o.by))
	}
}
