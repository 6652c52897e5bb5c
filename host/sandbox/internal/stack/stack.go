// Package stack bounds the native stacks on which guests run. It owns their
// memory, how deep a guest may get in it, and the engine's private fields that say
// where it is; what a stack may cost is its caller's decision.
//
// The engine keeps a stack for each function that it was asked for, doubles it
// whenever a frame does not fit, up to a hundred megabytes, and never gives it
// back. What a frame takes is known to its compiler alone: a few instructions can
// take many kilobytes. So an instance gets one stack, in memory of its own of which
// only as much is accessible as its caller has agreed to, and the engine is shown
// it as one that cannot grow: then its check of the stack, at the entry of each
// function, is exact. When a guest needs more it has to ask, from a host
// function, before.
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

	// ceiling is the length from which the engine lets no stack grow (its
	// callStackCeiling): one that is longer ends the call instead.
	ceiling = 50_000_000
	// reserved is the length that the engine is shown.
	reserved = 64 << 20

	page = 4 << 10
)

// ErrDeep is returned by Room when there is none.
var ErrDeep = errors.New("calls are nested too deep")

// Stack is one instance's. It is for one goroutine at a time.
type Stack struct {
	memory []byte // of length reserved; its end is accessible
	size   int    // how much is accessible
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

// Size is how many bytes may be in use.
func (s *Stack) Size() int { return s.size }

// Function is a function of the guest that runs on a Stack.
type Function struct {
	call   api.Function
	stack  *Stack
	engine engine
}

// Function lets f run on s from now on. f belongs to the stack's instance, is not
// running, and is no import that the module exports again.
func (s *Stack) Function(f api.Function) (*Function, error) {
	e, err := engineOf(f)
	if err != nil {
		return nil, err
	}
	*e.stack, *e.top, *e.bottom = s.memory, s.top(), s.bottom()
	return &Function{f, s, e}, nil
}

// ErrOverflow is returned by Call when the guest did not ask in time for what it
// needed.
var ErrOverflow = errors.New("a frame did not fit its stack")

// Call enters the guest with parameters in values, where the results will be.
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

// Room makes sure that below the frame of the function that called the host there
// are n bytes, at least. Each change of the size is first put to grow; false
// refuses it.
func (s *Stack) Room(n int, grow func(delta int64) bool) error {
	want := s.depth() + n
	if want <= s.size {
		return nil
	}
	// A little more, so that it is not asked for at each turn.
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

// Shrink gives back what is beyond Base and beyond what a guest inside uses.
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

// Close frees the stack. Nothing may run on it any more.
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

// bottom is the lowest accessible byte, as the engine grows stacks downwards.
func (s *Stack) bottom() *byte { return &s.memory[reserved-s.size] }

// top is where frames begin, aligned as the engine wants it.
func (s *Stack) top() uintptr { return uintptr(unsafe.Pointer(&s.memory[reserved-1])) &^ 15 }

// depth is how many bytes the guest that called the host uses; 0 if none did.
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
