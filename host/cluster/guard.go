package cluster

import (
	"context"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/transport"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// guard sends every request as one user: it refuses requests after authority is
// lost, binds them to the session's context, and replaces all identity headers.
type guard struct {
	ctx  context.Context
	name string // of the cluster
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
	c := correlate(req, g.ctx)
	resp, err := trace.Send(g.ctx, g.next.RoundTrip, req, g.name)
	if err != nil {
		release()
		if cause := g.ended(); cause != nil {
			err = cause
		}
		return nil, err
	}
	c.Answered(resp.Header.Get(auditID))
	resp.Body = &guardedBody{ReadCloser: resp.Body, auth: g.auth, release: release}
	return resp, nil
}

// auditID is the header whose value an API server makes the id of its own audit record, and
// returns with its answer (k8s.io/apiserver, WithAuditInit).
const auditID = "Audit-ID"

// correlate sets the request's auditID to the id of the effect that it is part of, as the
// request's context says, or the client's.
func correlate(req *http.Request, client context.Context) *host.Correlation {
	req.Header.Del(auditID)
	c := host.CorrelationOf(req.Context())
	if c == nil {
		c = host.CorrelationOf(client)
	}
	if c != nil && c.ID != "" {
		req.Header.Set(auditID, c.ID)
	}
	c.Sent()
	return c
}

// ended returns why requests may not be sent any more, or nil.
func (g *guard) ended() error {
	if !g.auth.Alive() {
		return lost(g.auth)
	}
	return context.Cause(g.ctx)
}

// impersonate removes all credential and identity headers and sets the user's. It
// removes Connection too, which can name headers for a proxy to drop.
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

// guardedBody is an answer's body that fails after authority is lost.
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

// lost returns why auth was lost; never nil.
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

// closeIdle closes idle connections of the transport below client-go's wrappers.
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
