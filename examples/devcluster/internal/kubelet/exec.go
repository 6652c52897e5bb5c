package kubelet

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// drainTimeout is how long background processes of a command may still write after the command itself has ended.
const drainTimeout = 500 * time.Millisecond

// executor runs commands for one pod. The streaming library calls it once a client's streams are open.
type executor struct {
	server *Server
	pod    pod
}

// ExecInContainer runs the command until it or ctx ends, and returns when all its processes have ended.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	e.server.running.Add(1)
	defer e.server.running.Done()
	// The command dies with the thread that starts it (see confine), so the thread must not end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	c, err := e.command(ctx, command)
	if err != nil {
		return err
	}
	if tty {
		return c.runTerminal(in, out, resize)
	}
	go forEachSize(resize, func(remotecommand.TerminalSize) {})
	return c.runPipes(in, out, errOut)
}

type command struct {
	*exec.Cmd
	mark string // a marker in the environment of all descendants
}

func (e executor) command(ctx context.Context, args []string) (*command, error) {
	home := e.server.home(e.pod)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	c := &command{Cmd: exec.CommandContext(ctx, args[0], args[1:]...), mark: "DEVCLUSTER_EXEC=" + rand.Text()}
	c.Dir = home
	// The environment of this process is private: it may contain credentials.
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TERM=xterm-256color", "LANG=C.UTF-8",
		"HOSTNAME=" + e.pod.name, "POD_NAME=" + e.pod.name, "POD_NAMESPACE=" + e.pod.namespace,
		"CONTAINER_NAME=" + e.pod.container, "PS1=" + filepath.Base(e.pod.name) + ":$ ", c.mark,
	}
	c.WaitDelay = drainTimeout
	c.Cancel = func() error {
		killSession(c.Process.Pid, c.mark)
		return nil
	}
	return c, nil
}

func (c *command) runPipes(in io.Reader, out, errOut io.Writer) error {
	confine(c.Cmd, false)
	c.Stdout, c.Stderr = out, errOut
	if in != nil {
		// A pipe of our own, not cmd.Stdin: Wait would wait for a client that keeps its end open.
		stdin, err := c.StdinPipe()
		if err != nil {
			return err
		}
		copyInput(stdin, in, func() { _ = stdin.Close() })
	}
	if err := c.Start(); err != nil {
		return err
	}
	return c.finish()
}

func (c *command) runTerminal(in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	confine(c.Cmd, true)
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	defer func() { _ = master.Close() }()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	err = c.Start()
	_ = slave.Close() // only the command needs it
	if err != nil {
		return err
	}
	go forEachSize(resize, func(size remotecommand.TerminalSize) {
		_ = pty.Setsize(master, &pty.Winsize{Rows: size.Height, Cols: size.Width})
	})
	if in != nil {
		copyInput(master, in, func() { _, _ = master.Write([]byte{4}) }) // the end of input is Ctrl-D on a terminal
	}
	written := make(chan struct{})
	go func() {
		_, _ = io.Copy(out, master) // ends when the last process has closed the terminal
		close(written)
	}()
	err = c.finish()
	select {
	case <-written:
	case <-time.After(drainTimeout):
	}
	return err
}

// finish waits for the command, then kills its background processes: here a container's processes do not survive its stream.
func (c *command) finish() error {
	err := c.Wait()
	killSession(c.Process.Pid, c.mark)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the command succeeded; a background process kept its output open
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitError(exit)
	}
	return err
}

// exitError returns the error from which the streaming library reads an exit code. For a signal it is 128 plus the signal's
// number, as in a shell.
func exitError(e *exec.ExitError) error {
	code := e.ExitCode()
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return utilexec.CodeExitError{Err: e, Code: code}
}

// forEachSize ends with the client's connection. A client that may not resize has no channel.
func forEachSize(resize <-chan remotecommand.TerminalSize, do func(remotecommand.TerminalSize)) {
	if resize == nil {
		return
	}
	for size := range resize {
		do(size)
	}
}
