//go:build unix

package child

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a connection: one for this process, and one for a
// child, to pass in Job.Files, where Inherited finds it.
func Pair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	file := os.NewFile(uintptr(fds[0]), "pair")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "pair")
	if ours, err = net.FileConn(file); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Inherited returns, in the child, the connection that is the first of Job.Files.
func Inherited() (net.Conn, error) {
	file := os.NewFile(3, "pair") // standard input, output and error come before
	defer file.Close()
	return net.FileConn(file)
}
