package compile

import "fmt"

// Fault is why a module was refused.
type Fault uint8

const (
	Invalid  Fault = iota // wazero does not accept the module
	CPU                   // took more CPU time than Limits.CPU
	Memory                // took more memory than Limits.Memory
	TooLong               // took longer than Limits.Wall
	Canceled              // the caller's context ended
	Crashed               // the compiler failed or was killed from outside
)

func (f Fault) String() string {
	return [...]string{"the module is invalid", "too much CPU time", "too much memory", "took too long",
		"cancelled", "the compiler failed"}[f]
}

// Error is the error for a module that could not be compiled. It unwraps to its cause, which
// for Canceled is the cause of the context (context.Cause). Failures of the host, such as a
// full disk, are other errors.
type Error struct {
	Fault Fault
	Cause error
}

func (e *Error) Error() string { return fmt.Sprintf("compiling: %s: %v", e.Fault, e.Cause) }

func (e *Error) Unwrap() error { return e.Cause }
