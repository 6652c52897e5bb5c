package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/stack"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

var errInitDeadline = errors.New("making an instance took too long")

// template is the state in which instances start and to which they are restored: the state
// after the module's own start and Spec.Init.
type template struct {
	image   *image.Image
	globals []uint64
}

// capture prepares an instance and keeps its state.
func (m *Module) capture(ctx context.Context) (*template, error) {
	i, err := m.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer i.discard()
	t := &template{globals: make([]uint64, len(i.globals))}
	for k, g := range i.globals {
		t.globals[k] = g.Get()
	}
	if t.image, err = image.New(m.kind, i.memory.Bytes()); err != nil {
		return nil, err
	}
	if err := m.hold(t.image.Held()); err != nil {
		return nil, errors.Join(err, t.image.Close())
	}
	return t, nil
}

// hold charges the state in which all instances start, which the host keeps until the module
// is closed.
func (m *Module) hold(bytes int64) error {
	if !m.budget.take(bytes) {
		return fmt.Errorf("module %s: the %d bytes of the state after its start: %w", m.spec.Name, bytes, ErrMemory)
	}
	m.held = bytes
	return nil
}

// make returns an instance in the template's state. No guest code runs.
func (t *template) make(ctx context.Context, m *Module) (*Instance, error) {
	i, err := m.instantiate(ctx, t.image)
	if err != nil {
		return nil, err
	}
	t.setGlobals(i)
	return i, nil
}

// restore restores a used instance to the template's state. Instances of a module that can
// change other state are never restored (see rewrite.Result.Fresh).
func (t *template) restore(i *Instance) error {
	if _, err := i.memory.Restore(); err != nil {
		return err
	}
	t.setGlobals(i)
	i.line, i.logged = nil, 0
	return nil
}

func (t *template) setGlobals(i *Instance) {
	for k, g := range i.globals {
		g.Set(t.globals[k])
	}
}

// prepare makes an instance and runs everything that precedes its first caller: the data
// segments and the start function, which the rewriter leaves to the host, and Spec.Init.
func (m *Module) prepare(ctx context.Context) (_ *Instance, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.spec.Limits.Init, errInitDeadline)
	defer cancel()
	i, err := m.instantiate(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			i.discard()
		}
	}()
	if m.spec.Context != nil {
		ctx = m.spec.Context(ctx)
	}
	i.unlimited = true                   // Limits.Init bounds it instead
	for k, d := range m.rewritten.Data { // at constant offsets: no globals can be imported
		if !i.mod.Memory().Write(d.Offset, d.Bytes) {
			return nil, fmt.Errorf("module %s: data segment %d does not fit its memory", m.spec.Name, k)
		}
	}
	if start := m.rewritten.Start; start != "" {
		if _, err := i.enter(ctx, start, nil); err != nil {
			return nil, fault(ctx, m.spec.Name, "start section", err)
		}
	}
	if m.spec.Init != nil {
		if err := m.spec.Init(ctx, i); err != nil {
			return nil, err
		}
	}
	if i.failed { // Init ignored the error; the instance cannot be used
		return nil, &Error{Fault: Broken, Module: m.spec.Name, Export: "initialization", Cause: errFailed}
	}
	i.unlimited = false
	return i, nil
}

// instantiate makes an instance whose memory starts as a copy of img, or with zeros.
func (m *Module) instantiate(ctx context.Context, img *image.Image) (_ *Instance, err error) {
	i := &Instance{module: m}
	mem, err := image.NewMemory(m.kind, img, m.spec.Limits.MemoryBytes, i.charge)
	if err == nil && !i.charge(m.fixedBytes+stack.Base) {
		err = errors.Join(image.ErrBudget, mem.Unmap())
	}
	if errors.Is(err, image.ErrBudget) {
		return nil, fmt.Errorf("module %s: %w", m.spec.Name, ErrMemory)
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.spec.Name, err)
	}
	m.live.Add(1)
	i.memory = mem
	defer func() {
		if err != nil {
			i.discard()
		}
	}()
	if i.stack, err = stack.New(); err != nil {
		return nil, fmt.Errorf("module %s: %w", m.spec.Name, err)
	}
	// wazero requests this size and panics if it is refused.
	if mem.Reallocate(m.minBytes) == nil && m.minBytes > 0 {
		return nil, fmt.Errorf("module %s: %w", m.spec.Name, ErrMemory)
	}
	allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return mem })
	i.mod, err = m.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocate), m.code,
		wazero.NewModuleConfig().WithName("").WithStartFunctions().
			WithRandSource(rand.Reader)) // never read, but without it wazero makes a source of 5 KB
	if err != nil {
		return nil, fault(ctx, m.spec.Name, "instantiation", err)
	}
	return i, i.bind()
}

// bind finds the globals that the rewriter exported.
func (i *Instance) bind() error {
	r := i.module.rewritten
	i.globals = make([]api.MutableGlobal, len(r.Globals))
	for k, g := range r.Globals {
		if i.globals[k] = i.global(g.Export); i.globals[k] == nil {
			return fmt.Errorf("module %s: global %s is missing from the rewritten code", i.module.spec.Name, g.Export)
		}
	}
	i.meter.counter, i.meter.stack = i.global(r.Fuel), i.global(r.Stack)
	if i.meter.counter == nil || i.meter.stack == nil {
		return fmt.Errorf("module %s: a counter is missing from the rewritten code", i.module.spec.Name)
	}
	i.meter.step = int64(int32(i.meter.stack.Get()))
	return nil
}

func (i *Instance) global(export string) api.MutableGlobal {
	g, _ := i.mod.ExportedGlobal(export).(api.MutableGlobal)
	return g
}
