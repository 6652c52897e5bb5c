//go:build !linux

package kubelet

import (
	"os/exec"
	"syscall"
)

// Elsewhere a client that left shows as the end of standard input or of the terminal, not earlier.
func hungUp(syscall.RawConn) bool { return false }

func confine(cmd *exec.Cmd, tty bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: tty}
}

func killSession(leader int, _ string) { _ = syscall.Kill(-leader, syscall.SIGKILL) }
