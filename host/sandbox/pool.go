package sandbox

import (
	"sync"
	"time"
)

// pool keeps idle instances. The most recently used is taken first, so that instances
// beyond the demand grow old and are freed.
type pool struct {
	lifetime time.Duration // 0: for ever

	mu     sync.Mutex
	idle   []parked // oldest first
	timer  *time.Timer
	closed bool
	sweeps sync.WaitGroup
}

type parked struct {
	*Instance
	since time.Time
}

// take returns an idle instance or nil.
func (p *pool) take() *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	i := p.idle[last].Instance
	p.idle[last] = parked{}
	p.idle = p.idle[:last]
	return i
}

// put adds i, which must be ready for any caller. It returns false if the pool is closed.
func (p *pool) put(i *Instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.idle = append(p.idle, parked{i, time.Now()})
	if p.lifetime > 0 && p.timer == nil {
		p.timer = time.AfterFunc(p.lifetime, p.sweep)
	}
	return true
}

func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// sweep frees the instances that have been idle for the lifetime.
func (p *pool) sweep() {
	for _, i := range p.expired() {
		i.discard()
		p.sweeps.Done()
	}
}

// expired removes the instances that are too old and sets the timer for the others.
func (p *pool) expired() []*Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.closed {
		return nil
	}
	var old []*Instance
	for len(p.idle) > 0 {
		age := time.Since(p.idle[0].since)
		if age < p.lifetime {
			p.timer = time.AfterFunc(p.lifetime-age, p.sweep)
			break
		}
		old = append(old, p.idle[0].Instance)
		p.idle = append(p.idle[:0], p.idle[1:]...)
	}
	p.sweeps.Add(len(old))
	return old
}

// close frees all idle instances; put refuses from then on.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, i := range idle {
		i.discard()
	}
	p.sweeps.Wait()
}
