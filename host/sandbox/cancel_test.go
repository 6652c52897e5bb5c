package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// Why a call's context ends while it runs.
var (
	errLeft      = errors.New("the client left")
	errLoggedOut = errors.New("logged out")
	errSwapped   = errors.New("the module is closed")
)

// fate counts how calls ended.
type fate struct{ left, loggedOut, swapped, finished, refused atomic.Int64 }

// crowd is people whose calls run in a module that is closed and loaded again
// under them, as a swap does.
type crowd struct {
	fate
	people  []person
	cancels atomic.Int64 // still to be made

	mu     sync.Mutex // held while the module is replaced
	module *sandbox.Module
	swap   context.Context // of the calls in module
	close  context.CancelCauseFunc
}

// person is somebody whose calls all end together.
type person struct {
	mu     sync.Mutex
	login  context.Context
	logout context.CancelCauseFunc
}

// current is the person's login; after a logout they sign in again.
func (p *person) current(ctx context.Context) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.login == nil || p.login.Err() != nil {
		p.login, p.logout = context.WithCancelCause(ctx)
	}
	return p.login
}

func (p *person) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logout != nil {
		p.logout(errLoggedOut)
	}
}

// TestCancelWhileRunning ends ten thousand calls at random moments: one by one,
// all of a person at a logout, all of a module when it is closed.
func TestCancelWhileRunning(t *testing.T) {
	for name, total := range map[string]int64{"native": 7000, "portable": 2000, "fresh": 1000} {
		t.Run(name, func(t *testing.T) {
			c := &crowd{people: make([]person, 5)}
			c.cancels.Store(total)
			c.load(t, configs[name])
			var wg sync.WaitGroup
			for g := range uint64(12) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(g, 7))
					for c.cancels.Load() > 0 && !t.Failed() {
						c.one(t, rng)
					}
				})
			}
			for next := total; c.cancels.Load() > 0 && !t.Failed(); {
				time.Sleep(5 * time.Millisecond)
				c.people[rand.IntN(len(c.people))].leave()
				if left := c.cancels.Load(); left < next-total/8 {
					next = left
					c.replace(t, configs[name])
				}
			}
			wg.Wait()
			c.unload(t)
			t.Logf("%d calls were left by their clients, %d logged out, %d closed with their module; %d finished before, %d came too late",
				c.left.Load(), c.loggedOut.Load(), c.swapped.Load(), c.finished.Load(), c.refused.Load())
			if c.left.Load() == 0 || c.loggedOut.Load() == 0 {
				t.Error("nothing was cancelled")
			}
		})
	}
}

// waiter is a guest that computes, waits, or returns at once. Its modules are
// loaded in moments, unlike those of a Go guest, of which TestHammer has one.
var waiter = wattest.Must(`(module
	(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
	(import "test" "wait" (func $wait))
	(memory (export "memory") 40)
	(data (i32.const 24) "\ff\ff\ff\ff\ff\ff\ff\7f")
	(global $calls (mut i32) (i32.const 0))
	(func (export "sleep") (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))
	(func (export "wait") (call $wait))
	(func (export "spin") (loop (br 0)))
	(func (export "write") (memory.fill (i32.const 65536) (i32.const 7) (i32.const 1000000)))
	(func (export "count") (result i32)
		(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
		(i32.add (global.get $calls) (i32.load (i32.const 65536)))))`)

func (c *crowd) load(t *testing.T, config sandbox.Config) {
	config.CacheDir = cacheDir()
	box, err := sandbox.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c.module, err = box.Load(t.Context(), waiter, sandbox.Spec{
		Name: "waiter", Limits: sandbox.Limits{Instances: 8},
		Imports: []sandbox.Import{{
			Module: "test", Name: "wait", Call: func(ctx context.Context, _ sandbox.Memory, _ []uint64) { <-ctx.Done() },
		}},
		Exports: map[string]sandbox.Signature{"wait": {}, "sleep": {}, "spin": {}, "write": {}, "count": {Results: i32}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.swap, c.close = context.WithCancelCause(t.Context())
}

// unload closes the module while calls run in it, and accounts for its
// instances.
func (c *crowd) unload(t *testing.T) {
	c.close(errSwapped)
	if err := c.module.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if n, bytes := c.module.Live(), c.module.Bytes(); n != 0 || bytes != 0 {
		t.Errorf("after Close %d instances and %d bytes are left", n, bytes)
	}
}

func (c *crowd) replace(t *testing.T, config sandbox.Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unload(t)
	c.load(t, config)
}

// one makes a call that is ended from somewhere, or finishes.
func (c *crowd) one(t *testing.T, rng *rand.Rand) {
	c.mu.Lock()
	m, swap := c.module, c.swap
	c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(c.people[rng.IntN(len(c.people))].current(t.Context()))
	defer cancel(nil)
	defer context.AfterFunc(swap, func() { cancel(errSwapped) })()
	timer := time.AfterFunc(time.Duration(rng.IntN(2000))*time.Microsecond, func() { cancel(errLeft) })
	defer timer.Stop()
	switch err := enterSomewhere(ctx, m, rng); {
	case err == nil:
		c.finished.Add(1)
		return
	case errors.Is(err, sandbox.ErrClosed):
		c.refused.Add(1)
		return
	case errors.Is(err, errLeft):
		c.left.Add(1)
	case errors.Is(err, errLoggedOut):
		c.loggedOut.Add(1)
	case errors.Is(err, errSwapped):
		c.swapped.Add(1)
	default:
		t.Error(err)
	}
	c.cancels.Add(-1)
}

// enterSomewhere is mostly blocked in the host, where many can be at a time:
// who computes has to be waited for by everybody else.
func enterSomewhere(ctx context.Context, m *sandbox.Module, rng *rand.Rand) error {
	i, err := m.Acquire(ctx, nil)
	if err != nil {
		return err
	}
	defer m.Release(i)
	switch n := rng.IntN(40); {
	case n == 0:
		_, err = i.Call(ctx, "spin")
	case n < 4:
		_, err = i.Call(ctx, "write")
	case n < 8:
		calls, err := i.Call(ctx, "count")
		if err == nil && calls != 1 {
			err = fmt.Errorf("an earlier caller left %#x", calls)
		}
		return err
	case n < 24:
		_, err = i.Call(ctx, "sleep")
	default:
		_, err = i.Call(ctx, "wait")
	}
	return err
}
