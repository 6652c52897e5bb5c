package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// ErrClosed is returned by Acquire once the module was closed.
var ErrClosed = errors.New("sandbox: module is closed")

// Module is one loaded, linked module. It is safe for concurrent use.
type Module struct {
	spec    Spec
	log     *slog.Logger
	cache   wazero.CompilationCache
	runtime wazero.Runtime
	code    wazero.CompiledModule
	exports map[string]Signature

	slots  chan struct{}  // one per instance in use
	warm   chan *Instance // made ahead of time
	refill chan struct{}
	ctx    context.Context // ends the filler
	cancel context.CancelFunc
	filler sync.WaitGroup
	live   atomic.Int64
	closed atomic.Bool
}

// Live is how many instances exist, the ones made ahead of time included.
func (m *Module) Live() int { return int(m.live.Load()) }

func (m *Module) start() {
	m.slots = make(chan struct{}, m.spec.Limits.Instances)
	m.warm = make(chan *Instance, m.spec.Limits.Warm)
	m.refill = make(chan struct{}, 1)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.filler.Go(m.fill)
}

// fill keeps the warm instances at their number. An instance that cannot be
// made is reported by Acquire, which then makes its own.
func (m *Module) fill() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.refill:
		}
		for len(m.warm) < cap(m.warm) && m.ctx.Err() == nil {
			i, err := m.make(m.ctx)
			if err != nil {
				m.log.Warn("instance could not be made ahead of time", "error", err)
				break
			}
			m.warm <- i // fill is the only sender while it runs
		}
	}
}

// Acquire returns an instance for the caller's sole use, waiting for one while
// the module's limit of instances is reached. Release it exactly once.
func (m *Module) Acquire(ctx context.Context) (*Instance, error) {
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-m.ctx.Done():
		return nil, ErrClosed
	}
	var i *Instance
	var err error
	select {
	case i = <-m.warm:
	default:
		i, err = m.make(ctx)
	}
	select {
	case m.refill <- struct{}{}:
	default:
	}
	if err != nil {
		<-m.slots
		return nil, err
	}
	return i, nil
}

// Release ends the caller's use of i.
func (m *Module) Release(i *Instance) {
	i.discard()
	<-m.slots
}

// Close waits until ctx is done for instances in use to be released, then
// frees everything. Guests still running then are the caller's mistake: their
// contexts should have ended first.
func (m *Module) Close(ctx context.Context) error {
	if m.closed.Swap(true) {
		return nil
	}
	m.stop()
	for range cap(m.slots) {
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("module %s: still in use: %w", m.spec.Name, context.Cause(ctx))
		}
	}
	return m.unload()
}

// stop ends the filler and drops what it made.
func (m *Module) stop() {
	m.cancel()
	m.filler.Wait()
	for {
		select {
		case i := <-m.warm:
			i.discard()
		default:
			return
		}
	}
}

func (m *Module) unload() error {
	ctx := context.Background()
	var errs []error
	if m.runtime != nil {
		errs = append(errs, m.runtime.Close(ctx))
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

// make instantiates and initializes.
func (m *Module) make(ctx context.Context) (*Instance, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.spec.Limits.Init, errInitDeadline)
	defer cancel()
	i := &Instance{module: m}
	ctx = withCallState(ctx, i)
	mod, err := m.runtime.InstantiateModule(ctx, m.code,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fault(ctx, m.spec.Name, "start section", err)
	}
	m.live.Add(1)
	i.mod = mod
	i.functions = make(map[string]api.Function, len(m.exports))
	for name := range m.exports {
		i.functions[name] = mod.ExportedFunction(name)
	}
	if m.spec.Init != nil {
		if err := m.spec.Init(ctx, i); err != nil {
			i.discard()
			return nil, err
		}
	}
	return i, nil
}

var errInitDeadline = errors.New("making an instance took too long")
