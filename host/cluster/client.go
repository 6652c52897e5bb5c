package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

// Client sends requests to one cluster as one user. It is bound to the context and
// the authority that it was made with; do not keep it beyond them. It is safe for
// concurrent use.
type Client struct {
	ctx      context.Context
	endpoint *endpoint
	user     *host.Impersonation
	auth     host.Authority
	http     *http.Client
}

func newClient(ctx context.Context, e *endpoint, user *host.Impersonation, auth host.Authority) *Client {
	g := &guard{ctx: ctx, name: e.cluster, user: user, auth: auth, next: e.transport}
	return &Client{
		ctx: ctx, endpoint: e, user: user, auth: auth,
		http: &http.Client{Transport: g, CheckRedirect: follow.NoRedirects},
	}
}

// ErrTooLarge is wrapped by the error for an answer over Request.Limit.
var ErrTooLarge = errors.New("the answer is too large")

// Request is one request of the Kubernetes API.
type Request struct {
	Method string
	Path   string // absolute, from typed parts; see Classify
	Query  url.Values
	Header http.Header
	Body   []byte
	Limit  int // of the answer's body, in bytes; a larger one is host.Upstream
}

// Response is a complete answer of any status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Open sends r and returns the body of the answer, which need not end; the caller closes
// it. A status of 400 or above is an error, as that of Response.Err.
func (c *Client) Open(ctx context.Context, r *Request) (io.ReadCloser, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what is missing is of the refusal's message
	return nil, (&Response{Status: resp.StatusCode, Header: resp.Header, Body: text}).Err()
}

func (c *Client) send(ctx context.Context, r *Request) (*http.Response, error) {
	u := c.endpoint.url + (&url.URL{Path: r.Path, RawQuery: r.Query.Encode()}).String()
	req, err := http.NewRequestWithContext(ctx, r.Method, u, bytes.NewReader(r.Body))
	if err != nil {
		return nil, &host.Error{Kind: host.Invalid, Op: op, Message: "the request is invalid", Err: err}
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.Failure(op, "the request failed", err)
	}
	return resp, nil
}

// Do sends r and reads the answer. A status of 400 or above is not an error here;
// see Response.Err. Redirects are not followed.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(r.Limit)+1))
	if err != nil {
		return nil, c.Failure(op, "the answer was interrupted", err)
	}
	if len(body) > r.Limit {
		return nil, &host.Error{Kind: host.Upstream, Op: op, Err: ErrTooLarge,
			Message: fmt.Sprintf("the cluster's answer is over %d bytes; narrow the request", r.Limit)}
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// Namespaces returns the names of all namespaces, as the user. More than 10,000
// are an error of kind host.Upstream.
func (c *Client) Namespaces(ctx context.Context) ([]string, error) {
	const limit = 10_000
	header := http.Header{"Accept": {"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}}
	resp, err := c.Do(ctx, &Request{Method: http.MethodGet, Path: "/api/v1/namespaces", Header: header, Limit: 32 << 20,
		Query: url.Values{"limit": {fmt.Sprint(limit)}}})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Metadata struct{ Continue string }
		Items    []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(resp.Body, &list); err != nil {
		return nil, &host.Error{Kind: host.Upstream, Op: op, Message: "the cluster's list of namespaces cannot be read", Err: err}
	}
	if list.Metadata.Continue != "" {
		return nil, host.E(host.Upstream, op, "the cluster has over %d namespaces; name one", limit)
	}
	names := make([]string, len(list.Items))
	for i, item := range list.Items {
		names[i] = item.Metadata.Name
	}
	return names, nil
}

// unreachable reports whether no request reached the server.
func unreachable(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Op == "dial" || errors.Is(err, io.EOF)
	}
	_, dns := errors.AsType[*net.DNSError](err)
	return dns
}
