package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	timeout     = 30 * time.Second // of a request, with its answer
	slotTimeout = 2 * time.Second
	maxCalls    = 64 // at a time
)

// HTTP is the provider. Safe for concurrent use.
type HTTP struct {
	kind  *capability.Kind
	sites map[string]*site
	slots chan struct{}
	wait  time.Duration // for a slot
}

// site is one site with its credential. Changes of its files are followed.
type site struct {
	config    *Config
	token     *follow.Value[string] // empty: none
	transport *follow.Transport
}

// New makes the provider. The configuration has been checked. New opens the files that it
// names, and its errors name the field. It sends nothing. Call Close once.
func New(list []Config, log *slog.Logger) (*HTTP, error) {
	h := &HTTP{kind: NewKind(list), sites: map[string]*site{}, slots: make(chan struct{}, maxCalls), wait: slotTimeout}
	var problems []error
	for i := range list {
		s, err := open(&list[i], log)
		if err != nil {
			problems = append(problems, fmt.Errorf("http[%d].%w", i, err))
			continue
		}
		h.sites[list[i].Name] = s
	}
	if err := errors.Join(problems...); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// open opens the files that c names. Its error names the field.
func open(c *Config, log *slog.Logger) (*site, error) {
	s := &site{config: c}
	var files []string
	if c.TokenFile != "" {
		files = []string{c.TokenFile}
	}
	var err error
	if s.token, err = follow.Open(log, func(contents [][]byte) (string, error) {
		if len(contents) == 0 {
			return "", nil
		}
		token := string(bytes.TrimSpace(contents[0]))
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errors.New("the token is empty or has a control character")
		}
		return token, nil
	}, files...); err != nil {
		return nil, config.At("tokenFile", err)
	}
	// The environment's proxy would see requests that the operator did not send there.
	if s.transport, err = follow.NewTransport(c.CAFile, log, func(t *http.Transport) { t.MaxIdleConnsPerHost, t.Proxy = 8, nil }); err != nil {
		return nil, config.At("caFile", err)
	}
	return s, nil
}

// Close closes idle connections.
func (h *HTTP) Close() {
	for _, s := range h.sites {
		s.transport.CloseIdleConnections()
	}
}

// Kind returns the kind of NewKind.
func (h *HTTP) Kind() *capability.Kind { return h.kind }

// Fetch sends the request once and returns the server's answer, whatever its status.
//
// Errors: host.Limited while too many requests are in progress; host.Unavailable if the
// server cannot be reached; host.Timeout; host.Upstream for an answer that is no HTTP or is
// over abi.MaxBody.
func (h *HTTP) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	q := p.Payload.(*request)
	s := h.sites[q.site]
	if s == nil {
		return nil, host.E(host.NotFound, name, "the site %q does not exist", q.site)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	resp, err := s.send(ctx, q, p.Caller.Authority)
	if err != nil {
		return nil, failure(ctx, p.Caller.Authority, err)
	}
	return resp, nil
}

func (h *HTTP) acquire(ctx context.Context) error {
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return host.E(host.Limited, name, "%d requests are in progress; no more are sent at a time", maxCalls)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *site) send(ctx context.Context, q *request, auth host.Authority) (*abi.Response, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.at.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "bulkhead")
	for k, pair := range q.header {
		canonical := http.CanonicalHeaderKey(pair.Name)
		again := slices.ContainsFunc(q.header[:k], func(h abi.Pair) bool { return strings.EqualFold(h.Name, pair.Name) })
		if again {
			req.Header.Add(canonical, pair.Value)
		} else {
			req.Header.Set(canonical, pair.Value)
		}
	}
	switch token := s.token.Get(); {
	case token == "":
	case s.config.User != "":
		req.SetBasicAuth(s.config.User, token)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &guard{auth, s.transport}, CheckRedirect: follow.NoRedirects}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, abi.MaxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > abi.MaxBody:
		return nil, host.E(host.Upstream, name, "the server's answer is over %d bytes", abi.MaxBody)
	}
	header := inbound(resp.Header)
	if len(header) > abi.MaxHeaders { // a guest could not decode them
		return nil, host.E(host.Upstream, name, "the server's answer has over %d headers", abi.MaxHeaders)
	}
	return &abi.Response{Status: resp.StatusCode, Header: header, Body: body}, nil
}

// kept are the headers of answers that a plugin does not get: those of the connection, and
// cookies, which are credentials.
var kept = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Authenticate", "Set-Cookie", "Trailer", "Transfer-Encoding", "Upgrade"}

// inbound returns the headers of an answer that a plugin gets, by name.
func inbound(h http.Header) (pairs []abi.Pair) {
	for name, values := range h {
		if slices.Contains(kept, name) {
			continue
		}
		for _, v := range values {
			if len(v) <= abi.MaxString {
				pairs = append(pairs, abi.Pair{Name: name, Value: v})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b abi.Pair) int { return strings.Compare(a.Name+"\x00"+a.Value, b.Name+"\x00"+b.Value) })
	return pairs
}

// guard sends nothing after the session's authority is lost, and ends the body of an answer
// then.
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
	if c := host.CorrelationOf(req.Context()); c != nil && c.ID != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Audit-ID", c.ID) // as API servers of Kubernetes get it
		c.Sent()
	}
	resp, err := g.next.RoundTrip(req)
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

func lost(auth host.Authority) error {
	if err := auth.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// failure converts an error to one for the user. Its own text, which may have an address of
// the network, is for the operator.
func failure(ctx context.Context, auth host.Authority, err error) error {
	if !auth.Alive() {
		return lost(auth)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
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
		return &host.Error{Kind: host.Timeout, Op: name, Message: "the server took too long", Err: err}
	case ctx.Err() != nil:
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "the request was cancelled", Err: err}
	case dns || dial && network.Op == "dial":
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "the server cannot be reached", Err: err}
	}
	return &host.Error{Kind: host.Upstream, Op: name, Message: "the server does not answer as it should", Err: err}
}
