package host

import (
	"context"
	"slices"
	"sync"
)

// RequestIDs are the ids that join everything that is recorded about one request: log
// lines, decisions, audit records, spans.
type RequestIDs interface {
	// RequestID returns the id that the answer has as X-Request-Id.
	RequestID() string
	// TraceID returns the id of the trace (W3C Trace Context, 32 hexadecimal digits), ""
	// if the request is not traced.
	TraceID() string
}

type requestKey struct{}

// WithRequest returns a context that belongs to the request.
func WithRequest(ctx context.Context, ids RequestIDs) context.Context {
	return context.WithValue(ctx, requestKey{}, ids)
}

// RequestOf returns the request that ctx belongs to. It is never nil: without a request,
// both ids are empty.
func RequestOf(ctx context.Context) RequestIDs {
	if ids, ok := ctx.Value(requestKey{}).(RequestIDs); ok {
		return ids
	}
	return noRequest{}
}

type noRequest struct{}

func (noRequest) RequestID() string { return "" }
func (noRequest) TraceID() string   { return "" }

// Correlation joins one capability call to the requests that servers get because of it. It is
// safe for concurrent use.
type Correlation struct {
	// ID is sent as Audit-ID with each request. A Kubernetes API server makes it the
	// auditID of its own record (k8s.io/apiserver, WithAuditInit).
	ID string

	mu       sync.Mutex
	requests int
	others   []string
}

// maxOthers bounds the ids that a Correlation remembers.
const maxOthers = 8

// Sent counts a request.
func (u *Correlation) Sent() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests++
}

// Answered notes the id under which the server has recorded a request. An empty one is
// ignored.
func (u *Correlation) Answered(id string) {
	if u == nil || id == "" || len(id) > MaxID {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.others, id) && len(u.others) < maxOthers {
		u.others = append(u.others, id)
	}
}

// Seen returns how many requests were sent, and the first ids under which servers have
// recorded them.
func (u *Correlation) Seen() (requests int, ids []string) {
	if u == nil {
		return 0, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.requests, slices.Clone(u.others)
}

type correlationKey struct{}

// WithCorrelation returns a context whose requests belong to u.
func WithCorrelation(ctx context.Context, u *Correlation) context.Context {
	return context.WithValue(ctx, correlationKey{}, u)
}

// CorrelationOf returns what the requests of ctx belong to, or nil.
func CorrelationOf(ctx context.Context) *Correlation {
	u, _ := ctx.Value(correlationKey{}).(*Correlation)
	return u
}
