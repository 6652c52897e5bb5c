package gateway

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// Bounds before authentication, in bytes. net/http refuses a header of more than
// MaxHeaderBytes in another format; the gateway refuses it earlier.
const (
	maxURL          = 8 << 10
	maxHeader       = 32 << 10
	MaxHeaderBytes  = 4 * maxHeader
	readBodyTimeout = 30 * time.Second
)

// ServeHTTP is the outer part of the chain, up to the router.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	cw := &responseWriter{ResponseWriter: w}
	req := &Request{ID: rand.Text(), w: cw}
	req.Log = g.Logger.With("requestId", req.ID)
	ctx, span := g.Tracer.Request(r, g.Authn.FromProxy)
	if req.trace = trace.ID(ctx); req.trace != "" {
		req.Log = req.Log.With("traceId", req.trace)
	}
	r = r.WithContext(host.WithRequest(ctx, req))
	cw.Header().Set("X-Request-Id", req.ID)
	cw.Header().Set("X-Content-Type-Options", "nosniff")
	defer g.traced(span, req, r)
	defer g.logAccess(req, r, began)
	defer g.served(req, r, began)
	defer g.recoverPanic(cw, r)
	// The previous request on this connection may have left a deadline.
	_ = http.NewResponseController(cw).SetWriteDeadline(time.Time{})
	if r.ContentLength != 0 {
		// This bounds reading the body by a handler, and by net/http after the
		// handler has returned. ReadBody replaces it.
		_ = http.NewResponseController(cw).SetReadDeadline(began.Add(g.bodyTimeout))
	}
	g.Authn.Screen(r)
	if err := g.screen(r); err != nil {
		g.writeError(cw, r, err)
		return
	}
	g.router.ServeHTTP(cw, r)
}

// recoverPanic, when deferred, answers a handler's panic as an internal error.
func (g *Gateway) recoverPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	RequestOf(r.Context()).Log.Error("handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	g.writeError(w, r, &host.Error{Kind: host.Internal, Err: fmt.Errorf("panic: %v", p)})
}

func (g *Gateway) served(req *Request, r *http.Request, began time.Time) {
	streams := req.w.status == http.StatusSwitchingProtocols || strings.HasPrefix(req.w.Header().Get("Content-Type"), "text/event-stream")
	if g.Served != nil && req.w.status != 0 && !streams {
		g.Served(r.Context(), r.Method, req.route, req.w.status, time.Since(began))
	}
}

// traced ends the span of a request, by the names of OpenTelemetry's conventions.
func (g *Gateway) traced(span *trace.Span, req *Request, r *http.Request) {
	if span == nil {
		return
	}
	defer span.End()
	span.Name(strings.TrimSpace(r.Method + " " + req.route))
	span.String("http.request.method", r.Method)
	span.String("http.route", req.route)
	span.String("url.path", r.URL.Path)
	span.String("url.scheme", g.PublicURL.Scheme)
	span.String("bulkhead.request.id", req.ID)
	span.Int("http.response.status_code", int64(req.w.status))
	if req.w.status >= http.StatusInternalServerError {
		span.Fail(strconv.Itoa(req.w.status))
	}
}

func (g *Gateway) logAccess(req *Request, r *http.Request, began time.Time) {
	if !g.Logger.Enabled(r.Context(), slog.LevelInfo) {
		return
	}
	// The logger's attributes already contain the user.
	req.Log.Info("request", "method", r.Method, "path", r.URL.Path, "status", req.w.status, "bytes", req.w.bytes,
		"action", string(req.action), "remote", g.Authn.RemoteAddr(r), "took", time.Since(began))
}

// screen refuses requests that are too long or ambiguous, before they are matched.
func (g *Gateway) screen(r *http.Request) error {
	if len(r.RequestURI) > maxURL {
		return &host.Error{Kind: host.Invalid, Status: http.StatusRequestURITooLong, Message: fmt.Sprintf("the URL is longer than %d bytes", maxURL)}
	}
	if size := headerBytes(r.Header); size > maxHeader {
		return &host.Error{Kind: host.Invalid, Status: http.StatusRequestHeaderFieldsTooLarge,
			Message: fmt.Sprintf("the header has %d bytes, the limit is %d", size, maxHeader)}
	}
	if err := checkPath(r.URL.EscapedPath()); err != nil {
		return err
	}
	if strings.Contains(r.URL.RawQuery, ";") {
		return host.E(host.Invalid, "", "the query may not contain \";\"")
	}
	if g.hosts != nil && !g.hosts[strings.ToLower(netaddr.Host(r.Host))] {
		return host.E(host.Invalid, "", "the request is for host %q, which is not this server", netaddr.Host(r.Host))
	}
	return nil
}

func headerBytes(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// checkPath refuses paths that another parser could read differently: empty
// and dot segments, encoded slashes and dots, parameters, backslashes, control
// characters. It refuses and never normalises.
func checkPath(escaped string) error {
	bad := func(what string) error {
		return host.E(host.Invalid, "", "the path is ambiguous: it contains %s", what)
	}
	if escaped == "" || escaped[0] != '/' {
		return bad("no leading slash")
	}
	lower := strings.ToLower(escaped)
	for _, code := range []string{"%2f", "%5c", "%2e", "%25", "%3b", "%00"} {
		if strings.Contains(lower, code) {
			return bad(code)
		}
	}
	for _, c := range []byte(escaped) {
		if c == ';' || c == '\\' || c < 0x20 || c == 0x7f {
			return bad(fmt.Sprintf("%q", rune(c)))
		}
	}
	for i := 0; i+2 < len(lower); i++ {
		if lower[i] == '%' && (lower[i+1] == '0' || lower[i+1] == '1' || lower[i+1:i+3] == "7f") {
			return bad("an encoded control character")
		}
	}
	for seg := range strings.SplitSeq(strings.TrimSuffix(escaped[1:], "/"), "/") {
		switch {
		case seg == "" && escaped != "/":
			return bad("an empty segment")
		case seg == "." || seg == "..":
			return bad("a dot segment")
		}
	}
	return nil
}

// loopbackHosts are the names with which a loopback listener may be addressed. Any other
// name means that a page's name was made to point here (DNS rebinding).
func loopbackHosts(publicHost string) map[string]bool {
	return map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, strings.ToLower(publicHost): true}
}
