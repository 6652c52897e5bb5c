// Package nethttp serves a plugin's unary routes with handlers of net/http, such as those of
// an existing service or of a router:
//
//	func init() { nethttp.Route("GET /releases/{name}", http.HandlerFunc(release)) }
//
// Prefer sdk.Route in new code: with net/http a hello has 5.5 MB instead of 2.9 MB, and a call
// of it uses five times the fuel.
package nethttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Handle registers h for the unary route with this name in the manifest, as sdk.Handle does.
//
// The request has the method, the path below the plugin's root, the query, the headers that
// reach a plugin, and the body; PathValue returns the parameters of the route's path. Its
// context ends when the host stops the request, and has the sdk.Request; see RequestOf. The
// answer is kept until h returns, so that it cannot be streamed.
func Handle(name string, h http.Handler) {
	if h == nil {
		guest.HandleRoute(name, nil)
	}
	guest.HandleRoute(name, adapt(h))
}

// Route registers h for the unary route with this method and path, as sdk.Route does.
func Route(pattern string, h http.Handler) {
	if h == nil {
		guest.HandlePattern(pattern, nil)
	}
	guest.HandlePattern(pattern, adapt(h))
}

type key struct{}

// RequestOf returns the sdk.Request of the context of a request, with the user and what else
// the host says of it. It panics for a context of another origin.
func RequestOf(ctx context.Context) *sdk.Request { return ctx.Value(key{}).(*sdk.Request) }

func adapt(h http.Handler) guest.HandleFunc {
	return func(r *abi.Request) (*abi.Response, error) {
		of := sdk.NewRequest(r)
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, of), of.Remaining())
		defer cancel()
		req, err := request(ctx, r)
		if err != nil {
			return nil, err
		}
		w := &writer{header: http.Header{}}
		h.ServeHTTP(w, req)
		return w.response(), nil
	}
}

func request(ctx context.Context, r *abi.Request) (*http.Request, error) {
	u, err := url.ParseRequestURI(r.URL)
	if err != nil {
		return nil, fmt.Errorf("the request's URL: %w", err) // the host has checked it
	}
	req := &http.Request{
		Method: r.Method, URL: u, RequestURI: r.URL, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, ContentLength: int64(len(r.Body)), Body: http.NoBody,
	}
	if len(r.Body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	for _, p := range r.Header {
		req.Header.Add(p.Name, p.Value)
	}
	for _, p := range r.Host.Params {
		req.SetPathValue(p.Name, p.Value)
	}
	return req.WithContext(ctx), nil
}

// writer keeps an answer.
type writer struct {
	header http.Header
	sent   http.Header // as they were when the status was written
	status int
	body   []byte
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements io.Writer. It refuses what does not fit into an answer.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		if w.header.Get("Content-Type") == "" {
			w.header.Set("Content-Type", http.DetectContentType(p))
		}
		w.WriteHeader(http.StatusOK)
	}
	if len(w.body)+len(p) > abi.MaxBody {
		return 0, fmt.Errorf("the answer is over %d bytes", abi.MaxBody)
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *writer) response() *abi.Response {
	w.WriteHeader(http.StatusOK) // unless the handler has
	resp := &abi.Response{Status: w.status, Body: w.body}
	for name, values := range w.sent {
		if name == "Content-Length" || name == "X-Content-Type-Options" {
			continue // the host sets them
		}
		for _, v := range values {
			resp.Header = append(resp.Header, abi.Pair{Name: name, Value: v})
		}
	}
	return resp
}
