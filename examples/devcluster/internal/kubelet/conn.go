package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// errGone is the cause of killing a command whose client has disconnected.
var errGone = errors.New("the client is gone")

// goneInterval is the time between checks of a connection. It bounds how long a command outlives its client.
const goneInterval = 50 * time.Millisecond

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// whileConnected returns a context that ends when the peer closes the connection of the request.
//
// net/http does this for ordinary requests only: when a connection is hijacked for a stream, its new owner must read it. The
// stream libraries do read, but do not report a disconnection, and stop reading while input waits. So this function checks
// the socket itself.
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
