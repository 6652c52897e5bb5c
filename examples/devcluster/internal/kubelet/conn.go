package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// errGone is why a command is killed when its client left.
var errGone = errors.New("the client is gone")

// How often a connection is looked at. It bounds how long a command outlives its client.
const goneInterval = 50 * time.Millisecond

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// whileConnected returns a context that ends when the peer closes the connection of the request.
//
// net/http does this for ordinary requests only: once a connection is hijacked for a stream, reading it is the new
// owner's business. The stream libraries do read, but tell nobody, and stop reading while input backs up. So the socket
// itself is asked.
func whileConnected(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	if raw := rawConn(parent); raw != nil {
		go func() {
			tick := time.NewTicker(goneInterval)
			defer tick.Stop()
			for !hungUp(raw) {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
			cancel(errGone)
		}()
	}
	return ctx, func() { cancel(nil) }
}

func rawConn(ctx context.Context) syscall.RawConn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
