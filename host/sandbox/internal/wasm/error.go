package wasm

import (
	"errors"
	"fmt"
)

// Kinds of refusals; each Error wraps one of them.
var (
	ErrMalformed   = errors.New("malformed")         // not WebAssembly
	ErrUnsupported = errors.New("not supported")     // WebAssembly beyond 2.0
	ErrLimit       = errors.New("beyond the limits") // more than Limits allow
)

// Error is a refused module.
type Error struct {
	Section  string // the section's name in the specification, "" for the header
	Function int    // index in the function index space, -1 outside function bodies
	Offset   int    // bytes from the start of the module
	Reason   string
	Kind     error  `json:"-"` // ErrMalformed, ErrUnsupported or ErrLimit
	Limit    string // of ErrLimit: the JSON name of the field of Limits, "memory" for MemoryPages
}

func (e *Error) Error() string {
	where := fmt.Sprintf("offset %#x", e.Offset)
	if e.Section != "" {
		where = e.Section + " section, " + where
	}
	if e.Function >= 0 {
		where = fmt.Sprintf("function %d, %s", e.Function, where)
	}
	return fmt.Sprintf("wasm: %s: %s: %s", where, e.Kind, e.Reason)
}

func (e *Error) Unwrap() error { return e.Kind }
