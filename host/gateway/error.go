package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
)

// handler is an HTTP handler that leaves refusals and failures to the caller.
type handler func(w http.ResponseWriter, r *http.Request) error

// ErrorBody is every error's JSON.
type ErrorBody struct {
	Error     string `json:"error"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"requestId"`
}

// defaultRetry is what Unavailable and Limited answers suggest where no upstream
// said how long to wait.
const defaultRetry = 2 * time.Second

// writeError is the only place that turns an error into an answer. What is not
// a *host.Error is internal: logged, and told to the user as that alone.
func (g *Gateway) writeError(w http.ResponseWriter, r *http.Request, err error) {
	info := infoOf(r.Context())
	e, ok := errors.AsType[*host.Error](err)
	if !ok {
		e = &host.Error{Kind: host.Internal, Err: err}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			e = host.E(host.TooLarge, "", "request body is too large")
		}
	}
	if e.Kind == host.Internal && e.Message != "" {
		e = &host.Error{Kind: host.Internal, Err: err}
	}
	status := e.HTTPStatus()
	level := slog.LevelDebug
	if status >= 500 {
		level = slog.LevelWarn
	}
	if e.Kind == host.Internal {
		level = slog.LevelError
	}
	info.log.Log(r.Context(), level, "request refused or failed", "status", status, "error", err)
	if info.wrote() {
		// The answer has begun; all that is left is to cut it so that the client
		// does not take it for complete.
		panic(http.ErrAbortHandler)
	}
	if r.ContentLength != 0 && !info.bodyRead {
		// net/http reads on before it answers; not for longer than this.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTimeout))
	}
	if info.closes && closeRefused(w, r, e) {
		return
	}
	if m, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", strings.Join(m.allowed, ", "))
	}
	if wait := retryAfter(e); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryafter.Seconds(wait)))
	}
	writeJSON(w, status, ErrorBody{Error: e.Public(), Detail: e.Detail, RequestID: info.id})
}

// retryAfter is how long a client should wait before it tries again; 0 if that
// does not pay.
func retryAfter(e *host.Error) time.Duration {
	if e.RetryAfter == 0 && (e.Kind == host.Unavailable || e.Kind == host.Limited) {
		return defaultRetry
	}
	return e.RetryAfter
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

// requestInfo travels with a request.
type requestInfo struct {
	id  string
	log *slog.Logger
	w   *countingWriter
	// closes says that a refusal is told by a close code; see refusalKey. Screens
	// come before it.
	closes bool
	// bodyRead is set once readBody has taken over the read deadline.
	bodyRead bool
	// Filled while the request is served, for the access log.
	principal *host.Principal // nil on public routes
	action    host.Action
}

// logEnd logs why a session ended that did not end regularly.
func (i *requestInfo) logEnd(ctx context.Context, event string, err error) {
	if err == nil {
		return
	}
	level, cause := slog.LevelInfo, "failed"
	if c := host.EndCauseOf(err); c != nil {
		level, cause = c.Level, c.Name
	}
	i.log.Log(ctx, level, event, "cause", cause, "error", err)
}

func (i *requestInfo) wrote() bool { return i.w.status != 0 }

type infoKey struct{}

func infoOf(ctx context.Context) *requestInfo { return ctx.Value(infoKey{}).(*requestInfo) }

// countingWriter remembers what was answered.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.begin(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// begin bounds the answer in time: a client that does not read must not hold its
// connection. Streams set a deadline for each write.
func (w *countingWriter) begin(status int) {
	w.status = status
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeAnswerTimeout))
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
