package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/tetratelabs/wazero"
)

// ErrClosed is the error of Acquire after the module was closed.
var ErrClosed = errors.New("sandbox: module is closed")

// Module is one loaded, linked module. It is safe for concurrent use.
type Module struct {
	spec       Spec
	log        *slog.Logger
	kind       image.Kind
	cache      wazero.CompilationCache
	runtime    wazero.Runtime
	rewritten  *rewrite.Result // without its code
	code       wazero.CompiledModule
	exports    map[string]Signature
	minBytes   uint64    // of memory, by declaration
	fixedBytes int64     // of an instance, beside its memory
	template   *template // nil: every caller gets a new instance
	held       int64     // charged for the template or, without one, for the data segments

	pool   pool
	slots  chan struct{} // one per instance in use
	refill chan struct{} // wakes the filler
	ctx    context.Context
	cancel context.CancelFunc
	filler sync.WaitGroup
	live   atomic.Int64
	cold   atomic.Uint64 // see Counts
	reset  atomic.Uint64
	budget *Budget // of all instances
	closed sync.Once
	done   chan struct{} // closed once everything is freed
	failed error         // why not all could be, after done
}

// Used returns the bytes that all instances use now: memory, tables, native stack, memory that
// the host keeps for them, and the state in which they start.
func (m *Module) Used() int64 { return m.budget.Used() }

// Live returns the number of instances, including idle ones.
func (m *Module) Live() int { return int(m.live.Load()) }

// Counts is what a module's instances are and have done.
type Counts struct {
	Live, Idle int
	ColdStarts uint64 // callers that found no instance ready
	Restores   uint64 // instances that were reset for the next caller
}

// Counts returns what the module's instances are and have done.
func (m *Module) Counts() Counts {
	return Counts{m.Live(), m.pool.len(), m.cold.Load(), m.reset.Load()}
}

// start makes the first instance, which proves that one can be made, and the template of
// all others.
func (m *Module) start(ctx context.Context, restorable bool) error {
	m.slots = make(chan struct{}, m.spec.Limits.Instances)
	m.refill = make(chan struct{}, 1)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if reasons := m.rewritten.Fresh; len(reasons) > 0 {
		m.log.Info("every call gets a new instance, which takes longer", "because", reasons)
	}
	if restorable {
		t, err := m.capture(ctx)
		if err != nil {
			return err
		}
		m.template, m.pool.lifetime = t, m.spec.Limits.Idle
		m.rewritten.Data = nil // the template contains it
	} else if err := m.hold(int64(m.rewritten.Report.DataBytes)); err != nil {
		return err
	}
	first, err := m.make(ctx)
	if err != nil {
		return err
	}
	m.pool.put(first)
	if m.template == nil {
		m.filler.Go(m.fill)
	}
	return nil
}

func (m *Module) make(ctx context.Context) (*Instance, error) {
	if m.template != nil {
		return m.template.make(ctx, m)
	}
	return m.prepare(ctx)
}

// fill keeps instances ready if making one takes long. If it cannot make one, Acquire
// makes its own and reports the error.
func (m *Module) fill() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.refill:
		}
		for m.pool.len() < m.spec.Limits.Warm && m.ctx.Err() == nil {
			i, err := m.make(m.ctx)
			if err != nil {
				if m.ctx.Err() == nil {
					m.log.Warn("an instance could not be made in advance", "error", err)
				}
				break
			}
			if !m.pool.put(i) {
				i.discard()
			}
		}
	}
}

// Acquire returns an instance for the caller's exclusive use. It waits while the module's
// limit of instances is reached. The instance's memory counts in holder, if that is not
// nil, until Release, which must be called exactly once.
func (m *Module) Acquire(ctx context.Context, holder *Budget) (*Instance, error) {
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-m.ctx.Done():
		return nil, ErrClosed
	}
	i := m.pool.take()
	if m.template == nil {
		select {
		case m.refill <- struct{}{}:
		default:
		}
	}
	var err error
	if i == nil {
		m.cold.Add(1)
		i, err = m.make(ctx)
	}
	if err == nil && holder != nil {
		if err = i.hold(holder); err != nil && !m.pool.put(i) {
			i.discard()
		}
	}
	if err != nil {
		<-m.slots
		return nil, err
	}
	return i, nil
}

// TryAcquire returns an idle instance as Acquire does. If none is idle, or if Acquire
// might fail, it returns nil at once.
func (m *Module) TryAcquire(holder *Budget) *Instance {
	if m.template == nil {
		return nil
	}
	select {
	case m.slots <- struct{}{}:
	default:
		return nil
	}
	i := m.pool.take()
	if i != nil && holder != nil && i.hold(holder) != nil {
		if !m.pool.put(i) {
			i.discard()
		}
		i = nil
	}
	if i == nil {
		<-m.slots
	}
	return i
}

// Release ends the caller's use of i. The next caller sees nothing of it, because i is
// restored or freed.
func (m *Module) Release(i *Instance) {
	i.unhold()
	if !m.keep(i) {
		i.discard()
	}
	<-m.slots
}

func (m *Module) keep(i *Instance) bool {
	if m.template == nil || i.failed || i.memory.Grown() {
		return false
	}
	if err := m.template.restore(i); err != nil {
		m.log.Error("an instance could not be restored", "error", err)
		return false
	}
	m.reset.Add(1)
	return m.pool.put(i)
}

// Close frees everything once the last instance in use was released, and waits for that
// until ctx is done. The caller must first end the contexts of running guests. Close may be
// called again to continue waiting.
func (m *Module) Close(ctx context.Context) error {
	m.closed.Do(func() {
		m.cancel()
		m.filler.Wait()
		m.pool.close()
		go func() {
			for range cap(m.slots) {
				m.slots <- struct{}{}
			}
			m.failed = m.unload()
			close(m.done)
		}()
	})
	select {
	case <-m.done:
		return m.failed
	case <-ctx.Done():
		return fmt.Errorf("module %s: still in use: %w", m.spec.Name, context.Cause(ctx))
	}
}

// unload frees what Load has made so far. No instance may be in use.
func (m *Module) unload() error {
	ctx := context.Background()
	var errs []error
	if m.cancel != nil {
		m.cancel()
		m.filler.Wait()
		m.pool.close()
	}
	if m.runtime != nil {
		errs = append(errs, m.runtime.Close(ctx))
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close(ctx))
	}
	if m.template != nil {
		errs = append(errs, m.template.image.Close())
	}
	m.budget.take(-m.held)
	return errors.Join(errs...)
}
