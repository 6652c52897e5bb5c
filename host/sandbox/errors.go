package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
)

// Fault is how a guest failed.
type Fault uint8

const (
	Trapped   Fault = iota // unreachable, out of bounds, stack overflow, a guest's panic
	Exited                 // the guest called proc_exit
	Deadline               // the call's deadline passed
	Canceled               // the call's context was cancelled
	Broken                 // the guest violated the calling contract
	Exhausted              // the call used up its fuel, or computed too long at a time
	Stopped                // a host function called Stop
)

func (f Fault) String() string {
	return [...]string{
		"trapped", "exited", "ran past its deadline", "was cancelled", "violated the contract",
		"computed too much", "was stopped",
	}[f]
}

// Error is a failed call. It unwraps to its cause, which for Deadline and Canceled is the
// cause of the context (context.Cause).
type Error struct {
	Fault  Fault
	Module string
	Export string
	Cause  error
	Stack  string // the guest's own frames, innermost first; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("module %s: %s %s", e.Module, e.Export, e.Fault)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// ExitCode is the cause of an Error with the Fault Exited. A WASI command that succeeds may
// exit with 0; its instance cannot be called again all the same.
type ExitCode uint32

func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", uint32(c)) }

// fault makes the Error of a call that returned err. The context and the host's own panic
// decide whether the call was cancelled, since a guest can exit with any code.
func fault(ctx context.Context, module, export string, err error) *Error {
	e := &Error{Fault: Trapped, Module: module, Export: export}
	text, stack, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	e.Stack = short(withoutStubs(strings.TrimRight(stack, "\n")))
	stop, wasCut := errors.AsType[*cut](err)
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case ctx.Err() != nil:
		e.Fault, e.Cause = faultOf(ctx.Err()), context.Cause(ctx)
	case wasCut:
		e.Fault, e.Cause = stop.fault, stop.cause
	case exited:
		e.Fault, e.Cause = Exited, ExitCode(exit.ExitCode())
	default:
		e.Cause = errors.New(strings.TrimSuffix(text, " (recovered by wazero)"))
	}
	return e
}

// withoutStubs removes the frames of the rewriter's stubs from a stack trace. A stub calls the
// function that called it, which then has a frame on either side.
func withoutStubs(stack string) string {
	if !strings.Contains(stack, rewrite.Again) {
		return stack
	}
	var kept []string
	between := false // stubs were removed since the last frame
	for line := range strings.SplitSeq(stack, "\n") {
		switch {
		case strings.Contains(line, rewrite.Again+"("):
			between = true
			continue
		case between && len(kept) > 0 && kept[len(kept)-1] == line:
		default:
			kept = append(kept, line)
		}
		between = false
	}
	return strings.Join(kept, "\n")
}

// Bounds of a guest's stack trace in the log. The guest chooses the names in it.
const (
	maxFrameLine = 256      // bytes of one frame
	maxStack     = 16 << 10 // of all of them
)

// short truncates a stack trace.
func short(stack string) string {
	if len(stack) <= maxFrameLine {
		return stack
	}
	var b strings.Builder
	for line := range strings.Lines(stack) {
		if len(line) > maxFrameLine {
			line = text.Cut(line, maxFrameLine) + "…\n"
		}
		if b.Len()+len(line) > maxStack {
			b.WriteString("…")
			break
		}
		b.WriteString(line)
	}
	return strings.TrimRight(b.String(), "\n")
}

// faultOf returns the fault for a context's error.
func faultOf(err error) Fault {
	if errors.Is(err, context.DeadlineExceeded) {
		return Deadline
	}
	return Canceled
}
