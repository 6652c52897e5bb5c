package azure

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
	"unicode"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	tracing "github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	tryTimeout    = 10 * time.Second // of one request
	maxRetryDelay = 5 * time.Second  // a longer Retry-After is passed on to the client
	maxConns      = 64               // to one subscription
)

// retries are the requests that the SDK repeats by itself: after a network failure,
// 408, 429 and 5xx, if Retry-After is at most maxRetryDelay.
var retries = policy.RetryOptions{
	MaxRetries: 2, RetryDelay: 400 * time.Millisecond, MaxRetryDelay: maxRetryDelay, TryTimeout: tryTimeout,
}

// changeRetries is the same for a change: it is repeated only if Azure answered that it
// did nothing.
var changeRetries = policy.RetryOptions{
	MaxRetries: 2, RetryDelay: 400 * time.Millisecond, MaxRetryDelay: maxRetryDelay, TryTimeout: tryTimeout,
	ShouldRetry: func(resp *http.Response, err error) bool {
		return err == nil && resp != nil && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable)
	},
}

// instance is one subscription.
type instance struct {
	config   Config
	endpoint *url.URL
	pipeline runtime.Pipeline
	token    *credential
	client   *http.Client
	scope    policy.TokenRequestOptions
}

func newInstance(c Config, log *slog.Logger) (*instance, error) {
	client, err := httpClient(&c.Cloud, log)
	if err != nil {
		return nil, err
	}
	token, err := newCredential(&c, client)
	if err != nil {
		return nil, err
	}
	conf := c.Cloud.configuration()
	manager := conf.Services[cloud.ResourceManager]
	endpoint, err := url.Parse(manager.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("cloud.endpoint: %w", err)
	}
	pipeline, err := armruntime.NewPipeline("bulkhead", "v1.0.0", token, runtime.PipelineOptions{}, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Cloud: conf, Retry: retries, Transport: guard{client}, Telemetry: policy.TelemetryOptions{ApplicationID: "bulkhead"},
		},
		DisableRPRegistration: true, // would change the subscription
	})
	if err != nil {
		return nil, err
	}
	scope := policy.TokenRequestOptions{Scopes: []string{manager.Audience + "/.default"}, EnableCAE: true}
	return &instance{config: c, endpoint: endpoint, pipeline: pipeline, token: token, client: client, scope: scope}, nil
}

// httpClient follows no redirects: a token is for the host that it is sent to.
func httpClient(c *Cloud, log *slog.Logger) (*http.Client, error) {
	followed, err := follow.NewTransport(c.CAFile, log, func(t *http.Transport) {
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost = maxConns, 16
		t.ResponseHeaderTimeout = tryTimeout
	})
	if err != nil {
		return nil, config.At("cloud.caFile", err)
	}
	return &http.Client{Transport: followed, CheckRedirect: follow.NoRedirects}, nil
}

type authorityKey struct{}

// guard is the last step before a request is sent. It checks the authority of the
// request's session, and refuses a request without a session.
type guard struct{ client *http.Client }

func (g guard) Do(req *http.Request) (*http.Response, error) {
	auth, ok := req.Context().Value(authorityKey{}).(host.Authority)
	if !ok {
		return nil, final{&host.Error{Kind: host.Internal, Op: name, Message: "a request without a session"}}
	}
	if !auth.Alive() {
		return nil, final{lost(auth)}
	}
	host.CorrelationOf(req.Context()).Sent()
	resp, err := tracing.Send(req.Context(), g.client.Do, req, "")
	if err != nil {
		return nil, err
	}
	resp.Body = &guardedBody{ReadCloser: resp.Body, auth: auth, left: abi.MaxBody}
	return resp, nil
}

// guardedBody ends when authority does, and is bounded.
type guardedBody struct {
	io.ReadCloser
	auth host.Authority
	left int
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.auth.Alive() {
		return 0, final{lost(b.auth)}
	}
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, final{host.E(host.Upstream, name, "an answer of Azure is over %d bytes; narrow the request", abi.MaxBody)}
	}
	return n, err
}

func lost(auth host.Authority) error {
	if err := auth.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// session is one permitted call to an instance.
type session struct {
	*instance
	auth        host.Authority
	correlation string // a UUID, the same for all requests of the call
	logger      *slog.Logger
}

// url returns an address below the instance's subscription.
func (s *session) url(path string, query url.Values) *url.URL {
	u := *s.endpoint
	u.Path = "/subscriptions/" + s.config.Subscription + "/" + path
	u.RawQuery = query.Encode()
	return &u
}

// answer is a complete answer.
type answer struct {
	status int
	header http.Header
	body   []byte
	token  string // the request's token
}

// do sends one request, with retries. A refusal of Azure is an error. A token that
// Azure does not accept, for example because it was revoked, is replaced once.
func (s *session) do(ctx context.Context, method string, u *url.URL, body []byte) (*answer, error) {
	a, err := s.logged(ctx, method, u, body)
	if a != nil && a.status == http.StatusUnauthorized {
		s.token.forget(a.token)
		a, err = s.logged(ctx, method, u, body)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (s *session) logged(ctx context.Context, method string, u *url.URL, body []byte) (*answer, error) {
	began := time.Now()
	a, err := s.send(ctx, method, u, body)
	status := 0
	if a != nil {
		status = a.status
	}
	level := slog.LevelDebug
	if s.auth.Alive() && ctx.Err() == nil && slices.Contains([]host.Kind{host.Upstream, host.Unavailable, host.Timeout}, host.KindOf(err)) {
		level = slog.LevelWarn // the user sees the outcome, the operator the reason
	}
	s.logger.Log(ctx, level, "azure request", "instance", s.config.Name, "method", method, "path", u.Path, "status", status,
		"correlation", s.correlation, "took", time.Since(began), "error", err)
	return a, err
}

// send returns the answer also if it is a refusal, beside the error.
func (s *session) send(ctx context.Context, method string, u *url.URL, body []byte) (*answer, error) {
	ctx = context.WithValue(ctx, authorityKey{}, s.auth)
	if method == http.MethodPost && body == nil {
		ctx = policy.WithRetryOptions(ctx, changeRetries)
	}
	// GetToken can be cancelled here; the SDK then finds the token at once.
	token, err := s.token.GetToken(ctx, s.scope)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	req, err := runtime.NewRequest(ctx, method, u.String())
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	req.Raw().Header.Set("Accept", "application/json")
	req.Raw().Header.Set("X-Ms-Correlation-Request-Id", s.correlation)
	if body != nil {
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(body)), "application/json"); err != nil {
			return nil, s.failure(ctx, err)
		}
	}
	resp, err := s.pipeline.Do(req)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	text, err := runtime.Payload(resp)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	a := &answer{resp.StatusCode, resp.Header, text, token.Token}
	if resp.StatusCode >= 300 {
		return a, s.refusal(resp, text)
	}
	return a, nil
}

// own checks an address that Azure returned: it must be at the instance's endpoint,
// below its subscription, because the request would carry the token.
func (s *session) own(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	prefix := "/subscriptions/" + s.config.Subscription + "/"
	switch {
	case err != nil, u.Scheme != s.endpoint.Scheme, !sameServer(u, s.endpoint), u.User != nil, u.Opaque != "", !plainPath(u),
		len(u.Path) < len(prefix) || !strings.EqualFold(u.Path[:len(prefix)], prefix):
		return nil, host.E(host.Upstream, name, "Azure named an address outside the subscription")
	}
	// The path is encoded again, so that what was compared is what is sent.
	return &url.URL{Scheme: s.endpoint.Scheme, Host: s.endpoint.Host, Path: u.Path, RawQuery: u.RawQuery}, nil
}

// sameServer compares host and port; a missing port is the scheme's.
func sameServer(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" || u.Scheme != "https" {
			return p
		}
		return "443"
	}
	return strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// plainPath reports whether all parsers find the same segments in u's path: it contains
// no encoded separator, dot segment or control character, and is not encoded twice.
func plainPath(u *url.URL) bool {
	if strings.Count(u.EscapedPath(), "/") != strings.Count(u.Path, "/") || strings.ContainsFunc(u.Path, func(r rune) bool {
		return r == '%' || r == '\\' || r == utf8.RuneError || unicode.IsControl(r)
	}) {
		return false
	}
	for i, segment := range strings.Split(u.Path, "/") {
		if segment == "." || segment == ".." || segment == "" && i > 0 {
			return false
		}
	}
	return true
}

func unreachable(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	_, dns := errors.AsType[*net.DNSError](err)
	_, sent := errors.AsType[*url.Error](err)
	return network || dns || sent || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
