package plugin

import (
	"errors"
	"runtime"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// What streams, decisions and the audit keep of a call is some names. The frame that they
// came in is counted no longer then, so they must not keep it.
func TestANameOfARequestDoesNotKeepItsFrame(t *testing.T) {
	frame := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "kube://dev/api/v1/pods", Body: make([]byte, 4<<20)})
	c := &call{caller: &capability.Caller{}}
	var kept []string
	before := heap()
	for range 16 {
		reply(c, frame, func(_ *call, r *abi.Request) (*abi.Response, error) {
			kept = append(kept, r.Method, r.URL)
			return nil, errors.New("refused")
		}).free()
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("the names of %d requests keep %d MiB", len(kept)/2, grown>>20)
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(frame)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
