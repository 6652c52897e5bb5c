package compile

import (
	"context"
	"errors"
	"sync"
	"time"
)

// keyed is a set of locks by name, within this process.
type keyed struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	token chan struct{}
	users int // holder and waiters
}

func (k *keyed) join(key string) *turn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]*turn{}
	}
	t := k.held[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		k.held[key] = t
	}
	t.users++
	return t
}

func (k *keyed) leave(key string, t *turn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(k.held, key)
	}
}

// lock waits for its turn until ctx ends.
func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	t := k.join(key)
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; k.leave(key, t) }, nil
	case <-ctx.Done():
		k.leave(key, t)
		return nil, context.Cause(ctx)
	}
}

// tryLock does not wait.
func (k *keyed) tryLock(key string) (unlock func(), ok bool) {
	t := k.join(key)
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; k.leave(key, t) }, true
	default:
		k.leave(key, t)
		return nil, false
	}
}

// errBusy is a file that another process, or another Compiler, has locked.
var errBusy = errors.New("locked elsewhere")

// lockPoll is how often a lock of another process is tried.
const lockPoll = 20 * time.Millisecond

// lock locks the entry against all others, in this process and in other processes.
func (c *Compiler) lock(ctx context.Context, e entry) (unlock func(), err error) {
	leave, err := c.keys.lock(ctx, e.digest)
	if err != nil {
		return nil, &Error{Canceled, err}
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		release, err := lockFile(e.lockFile())
		if err == nil {
			return func() { release(); leave() }, nil
		}
		if !errors.Is(err, errBusy) {
			leave()
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			leave()
			return nil, &Error{Canceled, context.Cause(ctx)}
		}
	}
}

// tryLock is lock without waiting.
func (c *Compiler) tryLock(e entry) (unlock func(), ok bool) {
	leave, ok := c.keys.tryLock(e.digest)
	if !ok {
		return nil, false
	}
	release, err := lockFile(e.lockFile())
	if err != nil {
		leave()
		return nil, false
	}
	return func() { release(); leave() }, true
}
