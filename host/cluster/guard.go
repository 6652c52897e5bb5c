package cluster

import (
	"context"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/transport"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// guard makes every request one user's: it refuses once authority is gone,
// binds the request to the session's context, and writes the identity over
// whatever the request says.
type guard struct {
	ctx  context.Context
	user *host.Impersonation
	auth host.Authority
	next http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.ended(); err != nil {
		closeBody(req)
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })
	release := func() { stop(); cancel(nil) }
	req = req.Clone(ctx)
	impersonate(req.Header, g.user)
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		release()
		if cause := g.ended(); cause != nil {
			err = cause
		}
		return nil, err
	}
	resp.Body = &guardedBody{ReadCloser: resp.Body, auth: g.auth, release: release}
	return resp, nil
}

// ended is why nothing may be sent any more, nil while it may.
func (g *guard) ended() error {
	if !g.auth.Alive() {
		return lost(g.auth)
	}
	return context.Cause(g.ctx)
}

// impersonate removes every header that could say who is asking and writes the
// user's. Connection goes too: it can name headers for a proxy to drop.
func impersonate(h http.Header, user *host.Impersonation) {
	for name := range h {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "impersonate-") || strings.HasPrefix(lower, "x-remote-") ||
			lower == "authorization" || lower == "proxy-authorization" || lower == "cookie" || lower == "connection" {
			delete(h, name)
		}
	}
	h.Set(transport.ImpersonateUserHeader, user.User)
	for _, group := range user.Groups {
		h.Add(transport.ImpersonateGroupHeader, group)
	}
}

// guardedBody is an answer that stops when authority is lost.
type guardedBody struct {
	io.ReadCloser
	auth    host.Authority
	release func()
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.auth.Alive() {
		return 0, lost(b.auth)
	}
	return b.ReadCloser.Read(p)
}

func (b *guardedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// lost is why auth is gone, never nil.
func lost(auth host.Authority) error {
	if err := auth.Cause(); err != nil {
		return err
	}
	return &host.Error{Kind: host.Forbidden, Op: op, Message: "authority was lost"}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// closeIdle reaches the transport below client-go's wrappers.
func closeIdle(rt http.RoundTripper) {
	for rt != nil {
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
			return
		}
		w, ok := rt.(interface{ WrappedRoundTripper() http.RoundTripper })
		if !ok {
			return
		}
		rt = w.WrappedRoundTripper()
	}
}
