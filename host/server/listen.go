package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"syscall"
)

// listen takes the listener. A socket that a host left which did not end orderly
// has no listener any more and is replaced.
func listen(c *Config) (net.Listener, error) {
	kind, path := c.network()
	if kind == "tcp" {
		return net.Listen(kind, c.Listen)
	}
	if old, err := net.Dial(kind, path); err == nil {
		old.Close()
		return nil, fmt.Errorf("%s: in use", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path)
	}
	l, err := bind(path, 0o007)
	if err == nil {
		// A client that may open it may say for whom it speaks: its owner's group,
		// such as a proxy's.
		err = os.Chmod(path, 0o660)
	}
	return l, err
}

// bind makes a Unix socket that is closed from its first moment to those that mask
// names, whatever the process's umask. That is of the whole process: files that are
// made meanwhile are closed to them, too.
func bind(path string, mask int) (net.Listener, error) {
	before := syscall.Umask(mask)
	defer syscall.Umask(before)
	return net.Listen("unix", path)
}

// encrypted is the listener whose connections have TLS while the configuration has a
// certificate: that of the moment at which they are made.
type encrypted struct {
	net.Listener
	*base
}

func (l encrypted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	certificate := l.current.Load().certificate
	if certificate == nil {
		return c, nil
	}
	return tls.Server(c, &tls.Config{
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Get(), nil },
	}), nil
}
