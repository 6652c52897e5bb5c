package helm

import (
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// busy holds the releases that an operation of this replica is under way on. Safe
// for concurrent use.
type busy struct {
	mu sync.Mutex
	on map[[3]string]bool // cluster, namespace, release
}

// begin marks q's release until done is called. host.Conflict if an operation is
// under way: the second does not wait, since what it was asked for may be stale
// by then.
func (b *busy) begin(q *request) (done func(), err error) {
	at := [3]string{q.cluster, q.namespace, q.release}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on[at] {
		return nil, underWay("try again when it has ended")
	}
	if b.on == nil {
		b.on = map[[3]string]bool{}
	}
	b.on[at] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.on, at)
	}, nil
}

// underWay is the error of an operation that another one is in the way of.
func underWay(detail string) error {
	return &host.Error{Kind: host.Conflict, Op: name, Message: "another operation on the release is under way", Detail: detail}
}
