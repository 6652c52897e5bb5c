package stack

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// overflow is the error of a call whose stack the engine could not grow.
const overflow = "stack overflow"

// engine is the part of the engine's data about one function that locates its stack.
type engine struct {
	stack   *[]byte
	top     *uintptr
	bottom  **byte
	pointer **uint64 // the stack pointer when the guest last called the host
}

// layout has the offsets of engine's fields in the engine's type for functions.
type layout struct {
	of                          reflect.Type
	stack, top, bottom, pointer uintptr
}

// known is the last layout found: all functions of guests have one type.
var known atomic.Pointer[layout]

func engineOf(f api.Function) (engine, error) {
	l := known.Load()
	if t := reflect.TypeOf(f); l == nil || l.of != t {
		var err error
		if l, err = layoutOf(t); err != nil {
			return engine{}, err
		}
		known.Store(l)
	}
	base := reflect.ValueOf(f).UnsafePointer()
	return engine{
		(*[]byte)(unsafe.Add(base, l.stack)), (*uintptr)(unsafe.Add(base, l.top)),
		(**byte)(unsafe.Add(base, l.bottom)), (**uint64)(unsafe.Add(base, l.pointer)),
	}, nil
}

// layoutOf finds the fields by name and checks their types, so that another version of the engine
// is refused instead of being written to at a wrong offset.
func layoutOf(t reflect.Type) (*layout, error) {
	unknown := fmt.Errorf("stack: the stack of a function of type %v cannot be bounded; "+
		"this host does not support this version of the engine", t)
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, unknown
	}
	context, ok := t.Elem().FieldByName("execCtx")
	if !ok || context.Type.Kind() != reflect.Struct {
		return nil, unknown
	}
	l := &layout{of: t}
	for _, f := range []struct {
		offset *uintptr
		in     reflect.Type
		name   string
		as     reflect.Type
	}{
		{&l.stack, t.Elem(), "stack", reflect.TypeFor[[]byte]()},
		{&l.top, t.Elem(), "stackTop", reflect.TypeFor[uintptr]()},
		{&l.bottom, context.Type, "stackBottomPtr", reflect.TypeFor[*byte]()},
		{&l.pointer, context.Type, "stackPointerBeforeGoCall", reflect.TypeFor[*uint64]()},
	} {
		field, ok := f.in.FieldByName(f.name)
		if !ok || field.Type != f.as {
			return nil, unknown
		}
		if *f.offset = field.Offset; f.in == context.Type {
			*f.offset += context.Offset
		}
	}
	return l, nil
}
