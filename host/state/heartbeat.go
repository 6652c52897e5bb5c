package state

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	beatEvery = 2 * time.Second
	// defaultFence is how long writes may fail to come back. The embedded store
	// shares this process's fate, so only a sick disk or a defect gets here.
	defaultFence = 10 * time.Second
)

var errStale = &host.Error{Kind: host.Unavailable, Op: "state", Message: "the state store does not answer"}

// heartbeat measures freshness: a beat counts from when it was sent, once the
// watch brought it back. That proves the write path and the watch together.
// Times are of the monotonic clock.
type heartbeat struct {
	base  time.Time
	fence time.Duration
	fresh atomic.Int64 // the newest beat that came back was sent at base + fresh
	alive atomic.Bool

	mu     sync.Mutex
	beat   string // the newest one sent
	sentAt int64
}

func newHeartbeat(fence time.Duration) *heartbeat {
	if fence == 0 {
		fence = defaultFence
	}
	return &heartbeat{base: time.Now(), fence: fence}
}

func (h *heartbeat) start() {
	h.fresh.Store(int64(time.Since(h.base)))
	h.alive.Store(true)
}

func (h *heartbeat) halt() { h.alive.Store(false) }

func (h *heartbeat) stale() bool {
	return !h.alive.Load() || int64(time.Since(h.base))-h.fresh.Load() > int64(h.fence)
}

func (h *heartbeat) next() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beat, h.sentAt = rand.Text(), int64(time.Since(h.base))
	return h.beat
}

// seen takes note of a beat that the watch brought. A reload shows the last one
// ever written, which proves nothing unless it is ours.
func (h *heartbeat) seen(beat string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if beat == h.beat {
		h.fresh.Store(h.sentAt)
	}
}

func (s *Store) keepBeating(ctx context.Context) {
	every := min(beatEvery, s.beat.fence/5)
	for ctx.Err() == nil {
		if _, err := s.commit(ctx, "state.beat", clientv3.OpPut(s.at.beat, s.beat.next())); err != nil && ctx.Err() == nil {
			s.log.Warn("the state store does not take writes", "error", err)
		}
		pause(ctx, every)
	}
}

// Ready returns nil while the store takes writes and the watch brings them
// back, otherwise an error of kind Unavailable; then Revoked admits nobody.
func (s *Store) Ready() error {
	if s.beat.stale() {
		return errStale
	}
	return nil
}
