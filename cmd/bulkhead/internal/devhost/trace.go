package devhost

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// Trace is what one request did. It is complete once Options.Traced gets it.
type Trace struct {
	Method, URI string
	User        string // as policy was asked; empty: it was not
	Status      int    // 0: nothing was answered
	Took        time.Duration
	Usage       *plugin.Usage // nil: no unary route was called
	Events      []Event       // in their order

	mu sync.Mutex
}

// Event is a decision or a capability call: one of the fields is set.
type Event struct {
	Decision *Decision
	Exchange *capability.Exchange
}

// Decision is a question to policy and its answer.
type Decision struct {
	Route host.Route
	Call  *host.CapabilityCall // nil: about the route
	host.Decision
}

type traceKey struct{}

// update changes the trace of a context, if it has one.
func update(ctx context.Context, change func(*Trace)) {
	if t, ok := ctx.Value(traceKey{}).(*Trace); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		change(t)
	}
}

// trace signs requests in and traces them.
func (h *Host) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		t := &Trace{Method: r.Method, URI: r.RequestURI}
		sw := &statusWriter{ResponseWriter: w}
		if h.options.Traced != nil {
			defer func() {
				t.mu.Lock()
				t.Status, t.Took = sw.status, time.Since(began)
				t.mu.Unlock()
				h.options.Traced(t.copy())
			}()
		}
		if err := h.logins.signIn(r); err != nil {
			http.Error(sw, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(sw, r.WithContext(context.WithValue(r.Context(), traceKey{}, t)))
		if sw.status == http.StatusUnauthorized || r.URL.Path == "/auth/logout" {
			h.logins.forget() // so that the author is not locked out by trying a logout
		}
	})
}

// copy returns a copy that nothing writes to any more: a guest that was stopped may still
// be on its way out.
func (t *Trace) copy() *Trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Trace{Method: t.Method, URI: t.URI, User: t.User, Status: t.Status, Took: t.Took, Usage: t.Usage, Events: slices.Clone(t.Events)}
}

func decided(ctx context.Context, q *host.Question, d host.Decision) {
	update(ctx, func(t *Trace) {
		e := &Decision{Route: q.Route, Decision: d}
		if q.Capability != nil {
			call := *q.Capability
			e.Call = &call
		}
		t.User = string(q.Principal.User)
		t.Events = append(t.Events, Event{Decision: e})
	})
}

func exchanged(ctx context.Context, x *capability.Exchange) {
	update(ctx, func(t *Trace) { t.Events = append(t.Events, Event{Exchange: x}) })
}

func called(ctx context.Context, u plugin.Usage) {
	update(ctx, func(t *Trace) { t.Usage = &u })
}

// statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController, with which the host upgrades and flushes.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
