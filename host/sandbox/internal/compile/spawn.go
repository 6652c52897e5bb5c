package compile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// job is the work of one child: its input, its directory, and its output.
type job struct {
	order
	in  io.Reader
	dir string
	out *os.File // closed by spawn
}

// spawn runs one child to its end.
func (c *Compiler) spawn(ctx context.Context, j job) error {
	l := c.config.Limits
	j.CloseOnContextDone = c.config.CloseOnContextDone
	run := child.Job{
		Argument: j.order, Dir: j.dir, Stdin: j.in,
		Limits: child.Limits{CPU: l.CPU, Memory: l.Memory, Wall: l.Wall}, Started: c.start,
	}
	if j.out != nil {
		run.Files = []*os.File{j.out}
	}
	result, err := compiling.Run(ctx, run)
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
