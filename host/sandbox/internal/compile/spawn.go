package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// spawn runs one child to its end. The code is then in dir.
func (c *Compiler) spawn(ctx context.Context, dir string, wasm []byte) error {
	l := c.config.Limits
	result, err := compiling.Run(ctx, child.Job{
		Argument: order{Size: len(wasm), CloseOnContextDone: c.config.CloseOnContextDone},
		Dir:      dir, Stdin: bytes.NewReader(wasm),
		Limits: child.Limits{CPU: l.CPU, Memory: l.Memory, Wall: l.Wall}, Started: c.start,
	})
	if ended, ok := errors.AsType[*child.Error](err); ok {
		return &Error{faults[ended.Fault], ended.Cause}
	}
	switch {
	case err != nil:
		return fmt.Errorf("compile: %w", err)
	case result.Exit == exitDone:
		return nil
	case result.Exit == exitInvalid:
		return &Error{Invalid, errors.New(result.Line)}
	}
	return &Error{Crashed, fmt.Errorf("exit status %d: %s", result.Exit, result.Line)}
}

var faults = map[child.Fault]Fault{
	child.Crashed: Crashed, child.CPU: CPU, child.Memory: Memory, child.TooLong: TooLong, child.Canceled: Canceled,
}
