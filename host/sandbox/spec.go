package sandbox

import (
	"context"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero/api"
)

// Type is a WebAssembly number type of a parameter or result.
type Type byte

const (
	I32 Type = Type(api.ValueTypeI32)
	I64 Type = Type(api.ValueTypeI64)
)

// Signature is a function's type.
type Signature struct{ Params, Results []Type }

// Import is a host function that a module may link.
type Import struct {
	Module, Name string
	Signature
	// Call gets the context of the guest's call and the arguments in stack, and stores
	// its result in stack[0]. It is not called once that context has ended. It may
	// block, but must return soon after ctx is done. It may call Stop to end the guest.
	Call func(ctx context.Context, m Memory, stack []uint64)
	// Cost is the estimated processor time of the function, without waiting; it counts
	// for WithBurst. The least is a microsecond. Bytes that pass through Memory are
	// counted in addition.
	Cost time.Duration
}

// ModuleLimits bound the declarations of a module. A zero field means its default, and a
// negative one forbids such declarations. The JSON names are those of the configuration.
type ModuleLimits = wasm.Limits

// Refused is the reason for which a module is not admitted: the location in the module
// and, if it exceeds a limit, which one.
type Refused = wasm.Error

// Limits bound one module. A zero field means its default.
type Limits struct {
	Module      ModuleLimits
	MemoryBytes uint64        // of one instance, at most a page less than 4 GiB; default 64 MiB
	TotalBytes  uint64        // of all instances together, idle ones included, and of the state in which they start; default 1 GiB
	Instances   int           // in use at a time; further callers wait; default 64
	Warm        int           // made in advance if instances cannot be restored; default 2
	Idle        time.Duration // after which an unused instance is freed; default 1 min
	Init        time.Duration // for making an instance; default 10 s
	Fuel        uint64        // of one Call, about one per instruction; Refuel resets it; does not apply to Init; default no limit
	LogBytes    int           // of stdout and stderr per call; default 64 KiB
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.MemoryBytes, 64<<20)
	orDefault(&l.TotalBytes, 1<<30)
	orDefault(&l.Instances, 64)
	orDefault(&l.Warm, 2)
	orDefault(&l.Idle, time.Minute)
	orDefault(&l.Init, 10*time.Second)
	orDefault(&l.LogBytes, 64<<10)
	l.Module.MemoryPages = int(l.MemoryBytes / pageSize)
	l.Module = l.Module.WithDefaults()
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Spec defines how a module is linked and prepared.
type Spec struct {
	Name    string // for errors and logs
	Limits  Limits
	Imports []Import
	// Exports are the required exports; Call accepts only these and Optional.
	Exports map[string]Signature
	// Optional are exports that can be called if the module has them with this type.
	Optional map[string]Signature
	// Either are required exports that may have any one of several types.
	Either map[string][]Signature
	// Program returns what the guest of a call finds as a WASI command. Nil, or a nil
	// result: no arguments, environment or standard input, and output is logged.
	Program func(ctx context.Context) *Program
	// Context returns the context of the start section and of Init; nil: the caller's.
	Context func(ctx context.Context) context.Context
	// Init prepares a new instance; it may use Call. If instances are restored, it runs
	// once, and every caller finds the state that it left.
	Init func(ctx context.Context, i *Instance) error
	// Log gets one line that the guest wrote to stdout or stderr, or all lines of the
	// trace with which a Go guest crashes.
	Log func(ctx context.Context, text string)
}
