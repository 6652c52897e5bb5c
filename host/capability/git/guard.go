package git

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// guard sends no request after the session's authority is lost, and ends the bodies of
// answers then.
type guard struct {
	auth host.Authority
	next http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if !g.auth.Alive() {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, lost(g.auth)
	}
	resp, err := trace.Send(req.Context(), g.next.RoundTrip, req, "")
	if err == nil {
		resp.Body = &guardedBody{resp.Body, g.auth}
	}
	return resp, err
}

type guardedBody struct {
	io.ReadCloser
	auth host.Authority
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.auth.Alive() {
		return 0, lost(b.auth)
	}
	return b.ReadCloser.Read(p)
}

// guardedConn is guard for a connection.
type guardedConn struct {
	net.Conn
	auth host.Authority
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if !c.auth.Alive() {
		return 0, lost(c.auth)
	}
	return c.Conn.Read(p)
}

func (c *guardedConn) Write(p []byte) (int, error) {
	if !c.auth.Alive() {
		return 0, lost(c.auth)
	}
	return c.Conn.Write(p)
}

func lost(auth host.Authority) error {
	if err := auth.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// failure converts an error to one for the user. Its own text, which may have an address
// of the network, is for the operator.
func failure(ctx context.Context, auth host.Authority, err error) error {
	if !auth.Alive() {
		return lost(auth)
	}
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*host.Error](context.Cause(ctx)); ok {
		return e
	}
	network, dial := errors.AsType[*net.OpError](err)
	_, dns := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &host.Error{Kind: host.Timeout, Op: name, Message: "reading the repository took too long", Err: err}
	case ctx.Err() != nil:
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "the request was cancelled", Err: err}
	case dns || dial && network.Op == "dial":
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "the repository's server cannot be reached", Err: err}
	}
	return &host.Error{Kind: host.Upstream, Op: name, Message: "the repository's server does not answer as it should", Err: err}
}
