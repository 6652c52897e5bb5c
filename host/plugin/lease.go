package plugin

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Lease is one request's or session's hold on the generation that it began on: the
// generation is closed only when the last lease is returned.
type Lease struct {
	*Generation
	returned atomic.Bool
	end      func(cause error) // of a session that was bound; guarded by Generation.drainMu
}

// Lease returns the generation that serves name to p, held until Return. ok is false if
// nothing serves name. p may be nil, for a request without a user, which gets no
// canary. It takes no lock.
func (r *Registry) Lease(name string, p *host.Principal) (_ *Lease, ok bool) {
	s := r.slot(name)
	if s == nil {
		return nil, false
	}
	for {
		l := s.live.Load()
		if l == nil {
			return nil, false
		}
		if g := l.pick(p); g.hold() {
			return &Lease{Generation: g}, true
		}
		// It was replaced after it was picked; the pointer has moved on.
	}
}

// Return gives the lease back. It may be called repeatedly.
func (l *Lease) Return() {
	if l.returned.Swap(true) {
		return
	}
	l.drainMu.Lock()
	if l.end != nil {
		delete(l.bound, l)
	}
	l.drainMu.Unlock()
	l.unhold()
}

// Bind ties a session to the lease: when the generation's drain deadline passes, end is
// called with host.ErrSwapped, possibly before Bind returns. A call needs none: it has
// its own time limit.
func (l *Lease) Bind(end func(cause error)) {
	l.drainMu.Lock()
	cause := l.forced
	if cause == nil {
		l.end = end
		l.bound[l] = struct{}{}
	}
	l.drainMu.Unlock()
	if cause != nil {
		end(cause)
	}
}

// drain is how a generation ends. It begins with one hold, that of being published.
type drain struct {
	holds atomic.Int64
	gone  chan struct{} // closed once its memory is given back
	close func() error  // called once, without locks, when the last hold is gone

	drainMu sync.Mutex
	bound   map[*Lease]struct{} // leases with a session
	timer   *time.Timer
	forced  error // why bound sessions are ended
	failed  error // of close, after gone
}

func (d *drain) begin(close func() error) {
	d.gone, d.close, d.bound = make(chan struct{}), close, map[*Lease]struct{}{}
	d.holds.Store(1)
}

// hold adds a lease; it reports false once the last one is gone.
func (d *drain) hold() bool {
	for {
		n := d.holds.Load()
		if n == 0 {
			return false
		}
		if d.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *drain) unhold() {
	if d.holds.Add(-1) > 0 {
		return
	}
	d.drainMu.Lock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.drainMu.Unlock()
	go func() { // giving memory back is not for the last caller to wait for
		d.failed = d.close()
		close(d.gone)
	}()
}

// retire ends being published. Sessions that are bound then are ended at the deadline.
func (d *drain) retire(deadline time.Duration) {
	d.drainMu.Lock()
	d.timer = time.AfterFunc(deadline, func() { d.force(host.ErrSwapped) })
	d.drainMu.Unlock()
	d.unhold()
}

// force ends all bound sessions, and those that will be, with cause.
func (d *drain) force(cause error) {
	d.drainMu.Lock()
	if d.forced == nil {
		d.forced = cause
	}
	bound := d.bound
	d.bound = map[*Lease]struct{}{}
	d.drainMu.Unlock()
	for l := range bound {
		l.end(cause)
	}
}
