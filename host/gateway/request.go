package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
)

// Request is the chain's data about the request that a Handler serves. Only the goroutine
// that serves the request may use it.
type Request struct {
	// ID is the request's id; the answer has it as X-Request-Id.
	ID string
	// Log adds the id, the user, and the stated reason, if any.
	Log *slog.Logger
	// Resolved is the principal, resolved once; its Principal is nil on public routes.
	authn.Resolved

	w *responseWriter
	// closes is whether a refusal is sent as a close code; see refusalKey. It is set
	// after the screening.
	closes bool
	// bodyRead is set once ReadBody has taken over the read deadline.
	bodyRead bool
	action   host.Action // for the access log
	route    string      // its template
	trace    string      // id of its trace, "" if it is not traced
}

// ClosesRefusal reports whether a refusal of this websocket upgrade opens the
// socket and closes it with a code, since a browser's page cannot see a refused
// upgrade.
func (r *Request) ClosesRefusal() bool { return r.closes }

// SetRoute says which route of a plugin answers, as the template of its path.
func (r *Request) SetRoute(template string) { r.route = template }

// LogEnd logs why a session ended that did not end regularly; err is nil if it did.
func (r *Request) LogEnd(ctx context.Context, event string, err error) {
	if err == nil {
		return
	}
	level, cause := slog.LevelInfo, "failed"
	if c := host.EndCauseOf(err); c != nil {
		level, cause = c.Level, c.Name
	}
	r.Log.Log(ctx, level, event, "cause", cause, "error", err)
}

func (r *Request) wrote() bool { return r.w.status != 0 }

// RequestOf returns the Request of a context that a Handler's request has. It
// panics for any other context.
func RequestOf(ctx context.Context) *Request { return host.RequestOf(ctx).(*Request) }

// RequestID returns r.ID; see host.RequestIDs.
func (r *Request) RequestID() string { return r.ID }

// TraceID returns the id of the request's trace; see host.RequestIDs.
func (r *Request) TraceID() string { return r.trace }

// writeAnswerTimeout bounds the time that a client takes to read an answer.
const writeAnswerTimeout = 30 * time.Second

// responseWriter records the status and the size of the answer.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.begin(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// begin bounds the time of the answer: a client that does not read must not keep its
// connection. Streams set a deadline for each write.
func (w *responseWriter) begin(status int) {
	w.status = status
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeAnswerTimeout))
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
