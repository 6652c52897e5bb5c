package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/stack"
	"github.com/tetratelabs/wazero/api"
)

// Instance is one running module with its own memory. It must be used by one goroutine at
// a time.
type Instance struct {
	module    *Module
	mod       api.Module
	memory    *image.Memory
	globals   []api.MutableGlobal // the module's own, as in the rewritten code
	stack     *stack.Stack
	functions map[string]*stack.Function
	meter     meter
	values    [8]uint64 // parameters and results of the running call
	unlimited bool      // calls have no limit on fuel
	inside    bool      // a call is running
	failed    bool      // its state is unknown; it must not be entered again
	bytes     int64     // of memory, tables and stack
	holder    *Budget   // counts charged of them; nil: none
	charged   int64
	refused   error // why its last request for memory was refused
	logged    int   // bytes of output in this call
	records   int   // log records of this output
	line      []byte
}

var (
	errFailed = errors.New("an earlier call of this instance failed")
	errInside = errors.New("the instance is inside a call")
)

// Call calls an export and returns the first result, or 0 if it has none. When ctx ends
// the guest is stopped. After any error the instance cannot be called again. Call refuses
// a context that has already ended, and an instance that waits for a host function,
// without entering the guest.
func (i *Instance) Call(ctx context.Context, export string, args ...uint64) (uint64, error) {
	signature, ok := i.module.exports[export]
	switch {
	case !ok:
		return 0, &Error{Fault: Broken, Module: i.module.spec.Name, Export: export, Cause: errors.New("is not exported")}
	case i.inside:
		return 0, &Error{Fault: Broken, Module: i.module.spec.Name, Export: export, Cause: errInside}
	case i.failed:
		return 0, &Error{Fault: Broken, Module: i.module.spec.Name, Export: export, Cause: errFailed}
	case ctx.Err() != nil:
		return 0, fault(ctx, i.module.spec.Name, export, ctx.Err())
	}
	result, err := i.enter(ctx, export, args)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		i.failed = true
		e := fault(ctx, i.module.spec.Name, export, err)
		if e.Fault == Trapped || e.Fault == Exited {
			e.Cause = i.shortage(e.Cause)
		}
		return 0, e
	}
	if r := signature.Results; len(r) > 0 && r[0] == I32 {
		return uint64(uint32(result)), nil // the upper half is undefined
	}
	return result, nil
}

func (i *Instance) enter(ctx context.Context, export string, args []uint64) (uint64, error) {
	fn, err := i.function(export)
	if err != nil {
		return 0, err
	}
	n := copy(i.values[:], args)
	i.logged, i.records = 0, 0
	fuel := i.module.spec.Limits.Fuel
	if i.unlimited {
		fuel = 0
	}
	i.meter.start(ctx, fuel)
	i.inside = true
	defer func() { i.inside = false }()
	i.meter.enter()
	err = fn.Call(withCallState(ctx, i), i.values[:max(n, 1)])
	i.meter.left()
	i.flush(ctx)
	if errors.Is(err, stack.ErrOverflow) {
		err = fmt.Errorf("%w: %w", &cut{Trapped, stack.ErrDeep}, err)
	}
	if err == nil {
		err = i.stack.Shrink(i.charge)
	}
	return i.values[0], err
}

// function caches handles of exports: the engine needs some 10 KB for each.
func (i *Instance) function(export string) (*stack.Function, error) {
	if fn := i.functions[export]; fn != nil {
		return fn, nil
	}
	exported := i.mod.ExportedFunction(export)
	if exported == nil {
		return nil, fmt.Errorf("%s is not exported", export)
	}
	fn, err := i.stack.Function(exported)
	if err != nil {
		return nil, err
	}
	if i.functions == nil {
		i.functions = make(map[string]*stack.Function, 2)
	}
	i.functions[export] = fn
	return fn, nil
}

// Fuel is what the last Call has used, about one for each instruction; of a call that
// was refuelled, since then.
func (i *Instance) Fuel() uint64 {
	m := &i.meter
	return m.spent + uint64(max(0, m.granted-int64(m.counter.Get())))
}

// MemoryUse returns the size of the instance's memory, and how much of it, in whole pages
// of 4 KiB, differs from the state in which its caller got it; -1 if the module's instances
// cannot be restored. It reads the whole memory, so it is for tools.
func (i *Instance) MemoryUse() (bytes, changed int) {
	return len(i.memory.Bytes()), i.memory.Changed()
}

// Has reports whether the module has an optional export.
func (i *Instance) Has(export string) bool { _, ok := i.module.exports[export]; return ok }

// Memory returns the instance's memory. It is valid until Release.
func (i *Instance) Memory() Memory { return Memory{i.mod.Memory(), i} }

// discard frees the instance. Its guest is not running: only Call enters it, and the
// caller of Call releases it.
func (i *Instance) discard() {
	if i.mod != nil {
		// The only error is a second close, which is harmless.
		_ = i.mod.Close(context.Background())
	}
	fixed := i.module.fixedBytes + stack.Base
	err := i.memory.Unmap()
	if i.stack != nil {
		fixed += int64(i.stack.Size() - stack.Base)
		err = errors.Join(err, i.stack.Close())
	}
	if err != nil {
		i.module.log.Error("an instance's memory could not be freed", "error", err)
	}
	i.charge(-fixed)
	i.module.live.Add(-1)
}

// Memory is a guest's linear memory.
type Memory struct {
	mem api.Memory
	of  *Instance
}

// View returns n bytes at ptr without copying them; they must be read before the guest
// continues. ok is false if they are not all within the memory.
func (m Memory) View(ptr, n uint32) (_ []byte, ok bool) {
	view, ok := m.mem.Read(ptr, n)
	m.of.meter.moved(len(view))
	return view, ok
}

// Copy returns a copy of n bytes at ptr. ok is false, and nothing is allocated, if they
// are not all within the memory.
func (m Memory) Copy(ptr, n uint32) (_ []byte, ok bool) {
	view, ok := m.View(ptr, n)
	if !ok {
		return nil, false
	}
	data := make([]byte, n)
	image.Copy(data, view)
	return data, true
}

// Write copies data to ptr. ok is false, and nothing is written, if it does not fit.
func (m Memory) Write(ptr uint32, data []byte) (ok bool) {
	m.of.meter.moved(len(data))
	if uint64(len(data)) > math.MaxUint32 {
		return false
	}
	view, ok := m.mem.Read(ptr, uint32(len(data)))
	if !ok {
		return false
	}
	image.Copy(view, data)
	return true
}

// callState gives host functions the instance that called them.
type callStateKey struct{}

func withCallState(ctx context.Context, i *Instance) context.Context {
	return context.WithValue(ctx, callStateKey{}, i)
}

func caller(ctx context.Context) *Instance { return ctx.Value(callStateKey{}).(*Instance) }
