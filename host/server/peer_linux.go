package server

import (
	"net"

	"golang.org/x/sys/unix"
)

const knowsPeers = true

// peerOf asks the kernel who connected, or, of a client's connection, who listens:
// the credentials are those of the moment of connect and listen (unix(7), SO_PEERCRED).
func peerOf(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return p, err
	}
	return peer{cred.Uid, cred.Pid}, nil
}
