package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Limits of one child. All fields are required.
type Limits struct {
	CPU    time.Duration // of all threads, rounded up to seconds
	Memory uint64        // resident bytes not shared with files
	Wall   time.Duration // from the child's start to its end
}

// Fault says why a child did not end by itself.
type Fault uint8

const (
	Crashed  Fault = iota // it failed or was killed from outside
	CPU                   // it took more CPU time than Limits.CPU
	Memory                // it took more memory than Limits.Memory
	TooLong               // it took longer than Limits.Wall
	Canceled              // the caller's context ended
	Starved               // it got less processor time than Job.Yield says
)

func (f Fault) String() string {
	return [...]string{"the child failed", "too much CPU time", "too much memory", "took too long", "cancelled", "too little processor time"}[f]
}

// Error says that a child did not end by itself. It unwraps to its cause; for
// Canceled that is the context's cause (context.Cause).
type Error struct {
	Fault Fault
	Cause error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Fault, e.Cause) }

func (e *Error) Unwrap() error { return e.Cause }

// Job is one run of a child.
type Job struct {
	Argument any        // marshalled as JSON, at most some 100 KiB; see Role.Main
	Dir      string     // the child's working directory; empty: this process's own
	Stdin    io.Reader  // nil: empty
	Stdout   io.Writer  // nil: discarded
	Files    []*os.File // from descriptor 3 on; Run closes them here
	Limits   Limits
	// Yield, if set, makes the child run when no other process wants the processor, which
	// then need not wait for it. From Yield after its start on, it is ended as Starved
	// when it has had less than a fifth of one processor: a busy machine would keep it
	// for ever. It is for children that compute and do not wait.
	Yield   time.Duration
	Started func(pid int) // for tests; may be nil
}

// Result is the result of a child that ended by itself.
type Result struct {
	Exit int
	Line string // the first line of its standard error
}

var (
	errMemory = errors.New("over the memory limit")
	errWall   = errors.New("over the wall limit")
	errStarve = errors.New("other processes took the processor")
)

const (
	watchEvery = 10 * time.Millisecond // a child can touch some 30 MB in that time
	maxStderr  = 4 << 10
)

// Run runs a child and waits for its end. If the child was killed or crashed, the
// error is an *Error; other errors are failures of this process, such as a lack of
// memory to fork.
func (r *Role) Run(ctx context.Context, j Job) (Result, error) {
	given := sync.OnceFunc(func() {
		for _, f := range j.Files {
			f.Close()
		}
	})
	defer given()
	if !r.Ready() {
		return Result{}, fmt.Errorf("%s: main must call the role's Main first", r.Name)
	}
	closeInherited()
	// The kernel signals the parent's death when the thread that started the child
	// ends, so that thread is kept until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithTimeoutCause(ctx, j.Limits.Wall, errWall)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd, stderr, err := r.command(ctx, &j)
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		switch cause := context.Cause(ctx); {
		case cause == errWall:
			return Result{}, &Error{TooLong, fmt.Errorf("the limit is %v", j.Limits.Wall)}
		case cause != nil:
			return Result{}, &Error{Canceled, cause}
		}
		return Result{}, err
	}
	given() // so that the child's end of a connection ends with the child
	if j.Started != nil {
		j.Started(cmd.Process.Pid)
	}
	watched := j.watch(ctx, cmd.Process.Pid, cancel)
	_ = cmd.Wait() // ProcessState has the result
	cause := context.Cause(ctx)
	watched()
	if cmd.ProcessState.ExitCode() >= 10 {
		return Result{Exit: cmd.ProcessState.ExitCode(), Line: stderr.firstLine()}, nil
	}
	return Result{}, j.verdict(cause, cmd, stderr)
}

func (r *Role) command(ctx context.Context, j *Job) (*exec.Cmd, *head, error) {
	program, err := executable()
	if err != nil {
		return nil, nil, err
	}
	argument, err := json.Marshal(j.Argument)
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(order{CPUSeconds: j.Limits.cpuSeconds(), Memory: j.Limits.Memory, Yield: j.Yield > 0, Argument: argument})
	if err != nil {
		return nil, nil, err
	}
	stderr := new(head)
	// When ctx ends the child is killed by its handle, not by its process id, which
	// may belong to another process by then. The child starts no processes.
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = []string{r.Name, string(text)}
	cmd.Env = []string{"GOMAXPROCS=2"} // the work and the collector
	cmd.Dir = j.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = j.Stdin, j.Stdout, stderr
	cmd.ExtraFiles = j.Files
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = attributes()
	return cmd, stderr, nil
}

func (l Limits) cpuSeconds() uint64 { return uint64((l.CPU + time.Second - 1) / time.Second) }

// watch cancels with errMemory when the child exceeds its memory limit, and with errStarve
// when it gets less than Yield says. The returned function stops the watch and waits for it.
func (j *Job) watch(ctx context.Context, pid int, cancel context.CancelCauseFunc) (end func()) {
	done := make(chan struct{})
	began := time.Now()
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
			// An error means that the child has ended.
			if n, err := resident(pid); err == nil && n > j.Limits.Memory {
				cancel(errMemory)
				return
			}
			if elapsed := time.Since(began); j.Yield > 0 && elapsed >= j.Yield {
				if cpu, err := spent(pid); err == nil && cpu < elapsed/5 {
					cancel(errStarve)
					return
				}
			}
		}
	})
	return func() { close(done); wait.Wait() }
}

// verdict returns why the child failed; cause is that of the host's own kill, if any.
func (j *Job) verdict(cause error, cmd *exec.Cmd, stderr *head) error {
	switch {
	case cause == errMemory:
		return &Error{Memory, fmt.Errorf("the limit is %d MiB", j.Limits.Memory>>20)}
	case cause == errWall:
		return &Error{TooLong, fmt.Errorf("the limit is %v", j.Limits.Wall)}
	case cause == errStarve:
		return &Error{Starved, cause}
	case cause != nil:
		return &Error{Canceled, cause}
	}
	state, line := cmd.ProcessState, stderr.firstLine()
	cpu := time.Duration(j.Limits.cpuSeconds()) * time.Second
	switch {
	case spentCPU(state, cpu):
		return &Error{CPU, fmt.Errorf("the limit is %v", cpu)}
	case line == "":
		return &Error{Crashed, errors.New(state.String())}
	}
	return &Error{Crashed, fmt.Errorf("%v: %s", state, line)}
}

// head keeps the first bytes written to it. It has no other method that io.Copy could
// use.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxStderr-len(h.kept))]...)
	return len(p), nil
}

func (h *head) firstLine() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.kept), []byte("\n"))
	return string(line)
}
