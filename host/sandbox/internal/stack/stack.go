// Package stack bounds the native stacks on which guests run. It owns their memory, their depth,
// and the engine's private fields that locate them; the caller decides what a stack may cost.
//
// The engine keeps a stack for each function handle, doubles it whenever a frame does not fit, up
// to a hundred megabytes, and never frees it. Only the engine's compiler knows the size of a
// frame: a few instructions can take many kilobytes. So each instance gets one stack in its own
// memory, of which only the part that the caller has permitted is accessible. The engine sees it
// as a stack that cannot grow, so that its check of the stack at the entry of each function is
// exact. A guest that needs more stack must first request it, in a host function.
package stack

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

const (
	// Base is the size of a stack in bytes when a call begins.
	Base = 256 << 10
	// Max is the size beyond which no stack grows.
	Max = 32 << 20

	// ceiling is the length from which the engine does not grow a stack (its
	// callStackCeiling) and ends the call instead.
	ceiling = 50_000_000
	// reserved is the length that the engine sees.
	reserved = 64 << 20

	page = 4 << 10
)

// ErrDeep is the error of Room if the stack has reached its limit.
var ErrDeep = errors.New("calls are nested too deep")

// Stack is the stack of one instance. It is for one goroutine at a time.
type Stack struct {
	memory []byte // of length reserved; its end is accessible
	size   int    // accessible bytes
	inside *Function
}

// New returns a stack of Base bytes. Close frees it.
func New() (*Stack, error) {
	memory, err := reserve(reserved)
	if err != nil {
		return nil, fmt.Errorf("stack: reserving %d bytes: %w", reserved, err)
	}
	s := &Stack{memory: memory}
	if err := s.open(Base); err != nil {
		return nil, errors.Join(err, release(memory))
	}
	return s, nil
}

// Size returns the number of accessible bytes.
func (s *Stack) Size() int { return s.size }

// Function is a function of the guest that runs on a Stack.
type Function struct {
	call   api.Function
	stack  *Stack
	engine engine
}

// Function makes f run on s from now on. f must belong to the stack's instance, must not be
// running, and must not be an import that the module exports.
func (s *Stack) Function(f api.Function) (*Function, error) {
	e, err := engineOf(f)
	if err != nil {
		return nil, err
	}
	*e.stack, *e.top, *e.bottom = s.memory, s.top(), s.bottom()
	return &Function{f, s, e}, nil
}

// ErrOverflow is the error of Call if the guest did not request stack in time.
var ErrOverflow = errors.New("a frame did not fit its stack")

// Call enters the guest with the parameters in values, and stores the results there.
func (f *Function) Call(ctx context.Context, values []uint64) error {
	s := f.stack
	*f.engine.bottom, *f.engine.pointer = s.bottom(), nil
	s.inside = f
	defer func() { s.inside = nil }()
	err := f.call.CallWithStack(ctx, values)
	if err != nil && err.Error() == overflow {
		return ErrOverflow
	}
	return err
}

// Room ensures that at least n bytes are available below the frame of the function that called
// the host. Before each change of the size it calls grow; false refuses the change.
func (s *Stack) Room(n int, grow func(delta int64) bool) error {
	want := s.depth() + n
	if want <= s.size {
		return nil
	}
	// A little more, so that the guest does not request it repeatedly.
	want = (want + Base + page - 1) &^ (page - 1)
	if want > Max {
		return ErrDeep
	}
	delta := int64(want - s.size)
	if !grow(delta) {
		return ErrDeep
	}
	if err := s.open(want); err != nil {
		grow(-delta)
		return err
	}
	return nil
}

// Shrink frees the stack beyond Base and beyond the part that a running guest uses.
func (s *Stack) Shrink(grow func(delta int64) bool) error {
	want := max(Base, (s.depth()+Base+page-1)&^(page-1))
	if want >= s.size {
		return nil
	}
	if err := hide(s.memory[reserved-s.size : reserved-want]); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	delta := int64(want - s.size)
	s.resize(want)
	grow(delta)
	return nil
}

// Close frees the stack. No function may run on it any longer.
func (s *Stack) Close() error {
	memory := s.memory
	s.memory = nil
	if memory == nil {
		return nil
	}
	return release(memory)
}

// open makes size bytes accessible.
func (s *Stack) open(size int) error {
	if err := show(s.memory[reserved-size : reserved-s.size]); err != nil {
		return fmt.Errorf("stack: %d bytes: %w", size, err)
	}
	s.resize(size)
	return nil
}

func (s *Stack) resize(size int) {
	s.size = size
	if s.inside != nil {
		*s.inside.engine.bottom = s.bottom()
	}
}

// bottom returns the lowest accessible byte; the engine's stacks grow downwards.
func (s *Stack) bottom() *byte { return &s.memory[reserved-s.size] }

// top returns the address where frames begin, aligned as the engine requires.
func (s *Stack) top() uintptr { return uintptr(unsafe.Pointer(&s.memory[reserved-1])) &^ 15 }

// depth returns the bytes that the guest that called the host uses, 0 if none did.
func (s *Stack) depth() int {
	if s.inside == nil {
		return 0
	}
	at := uintptr(unsafe.Pointer(*s.inside.engine.pointer))
	if at == 0 {
		return 0
	}
	return int(s.top() - at)
}
