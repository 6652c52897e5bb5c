//go:build !unix

package child

import (
	"errors"
	"net"
	"os"
)

// Pair needs Unix sockets and always fails on this platform.
func Pair() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Inherited always fails on this platform.
func Inherited() (net.Conn, error) { return nil, errors.ErrUnsupported }
