package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

// Forwarding are the options of Forward.
type Forwarding struct {
	As      *host.Impersonation        // the user to impersonate
	Timeout time.Duration              // 0: until its session ends
	Answer  func(*http.Response) error // may change the answer; nil passes it on unchanged
}

// Forward passes r, a request of a child process, to the API server and the answer
// back. Identity headers of the request do not count. If there is no answer, Forward
// returns the error and writes it to w in the form of the API server.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, f Forwarding) (failed error) {
	if err := admissible(f.As); err != nil {
		Refuse(w, err)
		return err
	}
	if f.Timeout > 0 {
		ctx, cancel := context.WithTimeoutCause(r.Context(), f.Timeout, host.ErrTooLong)
		defer cancel()
		r = r.WithContext(ctx)
	}
	base, err := url.Parse(c.endpoint.url)
	if err != nil {
		return err
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			// Built from its parts, so that it is the request that was classified.
			p.Out.URL = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path + r.URL.Path, RawQuery: r.URL.RawQuery}
			p.Out.Host = ""
		},
		Transport:      &guard{ctx: c.ctx, name: c.endpoint.cluster, user: f.As, auth: c.auth, next: c.endpoint.transport},
		FlushInterval:  -1, // watches
		ModifyResponse: f.Answer,
		ErrorLog:       log.New(discard{}, "", 0), // the error is returned
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			failed = c.Failure(op, "the request failed", err)
			Refuse(w, failed)
		},
	}
	proxy.ServeHTTP(w, r)
	return failed
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Refuse writes err in the form of an API server's refusal.
func Refuse(w http.ResponseWriter, err error) {
	status := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: "internal error of the host"}
	if e, ok := errors.AsType[*host.Error](err); ok {
		status.Code, status.Message = int32(e.HTTPStatus()), e.Public()
		if e.Detail != "" {
			status.Message += ": " + e.Detail
		}
	}
	if status.Code == http.StatusForbidden {
		status.Reason = metav1.StatusReasonForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(&status) // the child may have ended
}

// Discovers reports whether a request is discovery only: it reads the API server's
// version, groups, resources or schemas.
func Discovers(method, at string) bool {
	if method != http.MethodGet || at != path.Clean(at) {
		return false
	}
	parts := strings.Split(strings.TrimPrefix(at, "/"), "/")
	switch parts[0] {
	case "version", "api":
		return len(parts) == 1 || parts[0] == "api" && len(parts) == 2
	case "apis":
		return len(parts) <= 3
	case "openapi":
		return len(parts) > 1
	}
	return false
}

// Over returns a client that sends requests through rt to base, which impersonates
// the user. It is for a child process without credentials. Name is the cluster's
// name.
func Over(ctx context.Context, name, base string, rt http.RoundTripper) *Client {
	return &Client{
		ctx: ctx, endpoint: &endpoint{cluster: name, url: base},
		http: &http.Client{Transport: rt, CheckRedirect: follow.NoRedirects},
	}
}

// Closing returns a client of the same user for cleaning up after an interrupted
// operation. It outlives c's context and authority by at most limit, from now, and
// sends only requests for which only returns true. The authority must be alive when
// Closing is called.
func (c *Client) Closing(limit time.Duration, only func(method, path string) bool) (*Client, context.CancelFunc, error) {
	if !c.auth.Alive() {
		return nil, nil, lost(c.auth)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), limit)
	closing := newClient(ctx, c.endpoint, c.user, lasting{})
	base, err := url.Parse(c.endpoint.url)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	next := closing.http.Transport
	closing.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if path, ok := strings.CutPrefix(r.URL.Path, base.Path); !ok || !only(r.Method, path) {
			closeBody(r)
			return nil, host.E(host.Forbidden, op, "%s %s is not permitted after the operation has ended", r.Method, r.URL.Path)
		}
		return next.RoundTrip(r)
	})
	return closing, cancel, nil
}

// lasting is the authority of Closing; the client's context limits it.
type lasting struct{}

func (lasting) Alive() bool  { return true }
func (lasting) Cause() error { return nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
