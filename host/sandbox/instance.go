package sandbox

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// Instance is one running module with a memory of its own. It is for one
// goroutine at a time.
type Instance struct {
	module    *Module
	mod       api.Module
	functions map[string]api.Function
	logged    int // bytes of output in this call
	line      []byte
}

// Call enters an export. It returns the first result, or 0 if there is none.
// When ctx ends the guest is stopped; the instance cannot be called again
// after any error. A context that has ended already is refused before the
// guest is entered.
func (i *Instance) Call(ctx context.Context, export string, args ...uint64) (uint64, error) {
	fn, ok := i.functions[export]
	if !ok {
		return 0, &Error{Fault: Broken, Module: i.module.spec.Name, Export: export, Cause: fmt.Errorf("is not exported")}
	}
	if ctx.Err() != nil {
		return 0, fault(ctx, i.module.spec.Name, export, ctx.Err())
	}
	i.logged = 0
	var stack [8]uint64
	n := copy(stack[:], args)
	err := fn.CallWithStack(withCallState(ctx, i), stack[:max(n, 1)])
	i.flush(ctx)
	if err != nil {
		return 0, fault(ctx, i.module.spec.Name, export, err)
	}
	if ctx.Err() != nil {
		return 0, fault(ctx, i.module.spec.Name, export, ctx.Err())
	}
	if r := i.module.exports[export].Results; len(r) > 0 && r[0] == I32 {
		return uint64(uint32(stack[0])), nil // the upper half is undefined
	}
	return stack[0], nil
}

// Has reports whether the module has an optional export.
func (i *Instance) Has(export string) bool { _, ok := i.functions[export]; return ok }

// Memory is the instance's memory.
func (i *Instance) Memory() Memory { return Memory{i.mod.Memory()} }

func (i *Instance) discard() {
	// The only error is a second close, which is harmless.
	_ = i.mod.Close(context.Background())
	i.module.live.Add(-1)
}

// Memory is a guest's linear memory.
type Memory struct{ mem api.Memory }

// Copy returns a copy of n bytes at ptr; ok is false if they are not all
// within the memory. Nothing is allocated then.
func (m Memory) Copy(ptr, n uint32) (_ []byte, ok bool) {
	view, ok := m.mem.Read(ptr, n)
	if !ok {
		return nil, false
	}
	return append([]byte(nil), view...), true
}

// Write copies data to ptr; ok is false, and nothing written, if it does not fit.
func (m Memory) Write(ptr uint32, data []byte) (ok bool) { return m.mem.Write(ptr, data) }

// callState gives host functions the instance that called them.
type callStateKey struct{}

func withCallState(ctx context.Context, i *Instance) context.Context {
	return context.WithValue(ctx, callStateKey{}, i)
}

func caller(ctx context.Context) *Instance { return ctx.Value(callStateKey{}).(*Instance) }

// Stop ends the guest from inside a host function; the guest's call returns
// err as its cause. It does not return.
func Stop(err error) { panic(stopped{err}) }

type stopped struct{ error }
