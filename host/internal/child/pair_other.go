//go:build !unix

package child

import (
	"errors"
	"net"
	"os"
)

// Pair needs Unix sockets and fails here.
func Pair() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Inherited fails here.
func Inherited() (net.Conn, error) { return nil, errors.ErrUnsupported }
