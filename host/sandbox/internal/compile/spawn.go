package compile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

var (
	errMemory = errors.New("over the memory limit")
	errWall   = errors.New("over the wall limit")
)

const (
	watchEvery = 10 * time.Millisecond // a child can touch some 30 MB in that time
	maxStderr  = 4 << 10
)

// spawn runs one child to its end. The code is then in dir.
func (c *Compiler) spawn(ctx context.Context, dir string, wasm []byte) error {
	// A child is told of its parent's death when the thread that started it
	// ends, so that thread is kept until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithTimeoutCause(ctx, c.config.Limits.Wall, errWall)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd, stderr, err := c.command(ctx, dir, wasm)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return &Error{Canceled, context.Cause(ctx)}
		}
		return fmt.Errorf("compile: %w", err)
	}
	if c.start != nil {
		c.start(cmd.Process.Pid)
	}
	watched := c.watch(ctx, cmd.Process.Pid, cancel)
	_ = cmd.Wait() // its state says it all
	cause := context.Cause(ctx)
	watched()
	if cmd.ProcessState.ExitCode() == exitDone {
		return nil
	}
	return c.verdict(cause, cmd, stderr)
}

func (c *Compiler) command(ctx context.Context, dir string, wasm []byte) (*exec.Cmd, *head, error) {
	program, err := executable()
	if err != nil {
		return nil, nil, err
	}
	l := c.config.Limits
	argument, err := json.Marshal(order{
		CPUSeconds:         c.cpuSeconds(),
		Memory:             l.Memory,
		Size:               len(wasm),
		CloseOnContextDone: c.config.CloseOnContextDone,
	})
	if err != nil {
		return nil, nil, err
	}
	stderr := new(head)
	// When ctx ends the child is killed by its handle, never by a number that
	// may be another's by then; it starts no processes of its own.
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = []string{childName, string(argument)}
	cmd.Env = []string{"GOMAXPROCS=2"} // the compiler and the collector
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(wasm)
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = attributes()
	return cmd, stderr, nil
}

func (c *Compiler) cpuSeconds() uint64 {
	return uint64((c.config.Limits.CPU + time.Second - 1) / time.Second)
}

// watch cancels with errMemory when the child has too much. The function that
// it returns ends it and waits for that.
func (c *Compiler) watch(ctx context.Context, pid int, cancel context.CancelCauseFunc) (end func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// Unreadable means that the child has ended.
			if n, err := resident(pid); err == nil && n > c.config.Limits.Memory {
				cancel(errMemory)
				return
			}
		}
	})
	return func() { close(done); wait.Wait() }
}

// verdict says why the child failed; cause is that of our own kill, if any.
func (c *Compiler) verdict(cause error, cmd *exec.Cmd, stderr *head) error {
	l := c.config.Limits
	switch {
	case cause == errMemory:
		return &Error{Memory, fmt.Errorf("the limit is %d MiB", l.Memory>>20)}
	case cause == errWall:
		return &Error{TooLong, fmt.Errorf("the limit is %v", l.Wall)}
	case cause != nil:
		return &Error{Canceled, cause}
	}
	state, line := cmd.ProcessState, stderr.firstLine()
	cpu := time.Duration(c.cpuSeconds()) * time.Second
	switch {
	case state.ExitCode() == exitInvalid:
		return &Error{Invalid, errors.New(line)}
	case spentCPU(state, cpu):
		return &Error{CPU, fmt.Errorf("the limit is %v", cpu)}
	case line == "":
		return &Error{Crashed, errors.New(state.String())}
	}
	return &Error{Crashed, fmt.Errorf("%v: %s", state, line)}
}

// head keeps the first bytes of what is written to it. It has no other method
// that io.Copy could find.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxStderr-len(h.kept))]...)
	return len(p), nil
}

func (h *head) firstLine() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.kept), []byte("\n"))
	return string(line)
}
