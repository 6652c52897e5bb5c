package compile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// job is the work of one child: its input, its directory, and its output.
type job struct {
	order
	in   io.ReadSeeker
	dir  string                   // emptied before the work is done again
	out  func() (*os.File, error) // opens it, emptied; nil: none
	once bool                     // the work cannot be done again
}

// patience is how long a child may be kept from working by other processes, before the work
// is done again by one with a share of the processor.
const patience = 3 * time.Second

var errStarved = errors.New("compile: the child was kept from working")

// spawn has a child do the work. What serves requests goes first, unless that would keep
// the child for ever.
func (c *Compiler) spawn(ctx context.Context, j job) error {
	if j.once {
		return c.run(ctx, j, 0)
	}
	err := c.run(ctx, j, c.patience)
	if !errors.Is(err, errStarved) {
		return err
	}
	c.config.Logger.Debug("compiling begins again with a share of the processor, because others take all of it")
	if _, err := j.in.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if j.dir != "" {
		if err := errors.Join(os.RemoveAll(j.dir), os.Mkdir(j.dir, 0o700)); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	return c.run(ctx, j, 0)
}

// run runs one child to its end.
func (c *Compiler) run(ctx context.Context, j job, yield time.Duration) error {
	l := c.config.Limits
	j.CloseOnContextDone = c.config.CloseOnContextDone
	run := child.Job{
		Argument: j.order, Dir: j.dir, Stdin: j.in,
		Limits: child.Limits{CPU: l.CPU, Memory: l.Memory, Wall: l.Wall}, Yield: yield, Started: c.start,
	}
	if j.out != nil {
		out, err := j.out()
		if err != nil {
			return fmt.Errorf("compile: %w", err)
		}
		run.Files = []*os.File{out} // which Run closes
	}
	result, err := compiling.Run(ctx, run)
	if ended, ok := errors.AsType[*child.Error](err); ok {
		if ended.Fault == child.Starved {
			return errStarved
		}
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
