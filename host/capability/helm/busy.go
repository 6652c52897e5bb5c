package helm

import (
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// busy is the set of releases on which this replica has an operation in progress. Safe
// for concurrent use.
type busy struct {
	mu sync.Mutex
	on map[[3]string]*claim // by cluster, namespace, release
}

// begin marks q's release as claimed until done is called. The error is of kind Conflict if an
// operation is in progress: the second does not wait, since its request may be outdated
// by then.
func (b *busy) begin(q *request, c *claim) (done func(), err error) {
	at := [3]string{q.cluster, q.namespace, q.release}
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.on[at]; other != nil {
		return nil, inProgress(other.String())
	}
	if b.on == nil {
		b.on = map[[3]string]*claim{}
	}
	b.on[at] = c
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.on, at)
	}, nil
}

// inProgress is the error of an operation that another one prevents. detail says which
// one, whose it is and since when it runs.
func inProgress(detail string) error {
	return &host.Error{Kind: host.Conflict, Op: name, Message: "another operation on the release is in progress", Detail: detail}
}
