package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
)

// Handler is an HTTP handler that returns refusals and failures to the chain, which writes
// them. A Handler that returns an error should have written nothing; otherwise the answer
// is aborted.
type Handler func(w http.ResponseWriter, r *http.Request) error

// ErrorBody is the JSON of every error.
type ErrorBody struct {
	Error     string `json:"error"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"requestId"`
}

// defaultRetry is the Retry-After of Unavailable and Limited answers if no upstream gave
// one.
const defaultRetry = 2 * time.Second

// writeError is the only function that converts an error to an answer. An error that is not
// a *host.Error is internal: it is logged completely, and the user sees only "internal
// error".
func (g *Gateway) writeError(w http.ResponseWriter, r *http.Request, err error) {
	req := RequestOf(r.Context())
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
	req.Log.Log(r.Context(), level, "request refused or failed", "status", status, "error", err)
	if req.wrote() {
		// The answer has begun. It is aborted, so that the client does not consider it
		// complete.
		panic(http.ErrAbortHandler)
	}
	if r.ContentLength != 0 && !req.bodyRead {
		// net/http reads the rest of the body before it answers; this bounds the
		// time.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(Linger))
	}
	if req.closes && closeRefused(w, r, e) {
		return
	}
	if m, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", strings.Join(m.allowed, ", "))
	}
	if wait := retryAfter(e); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryafter.Seconds(wait)))
	}
	WriteJSON(w, status, ErrorBody{Error: e.Public(), Detail: e.Detail, RequestID: req.ID})
}

// retryAfter returns how long a client should wait before it tries again, 0 if a retry is
// useless.
func retryAfter(e *host.Error) time.Duration {
	if e.RetryAfter == 0 && (e.Kind == host.Unavailable || e.Kind == host.Limited) {
		return defaultRetry
	}
	return e.RetryAfter
}

// WriteJSON answers with v as JSON, which must not be cached.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has disconnected
}

// methodError refuses a method; the response names the allowed ones (RFC 9110,
// section 15.5.6).
type methodError struct {
	error   // a *host.Error
	allowed []string
}

func (e *methodError) Unwrap() error { return e.error }

// MethodNotAllowed returns the refusal of a method at a path with the allowed methods. HEAD
// is allowed with GET.
func MethodNotAllowed(allowed []string) error {
	if slices.Contains(allowed, http.MethodGet) && !slices.Contains(allowed, http.MethodHead) {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	allowed = slices.Compact(allowed)
	return &methodError{&host.Error{Kind: host.Invalid, Status: http.StatusMethodNotAllowed,
		Message: "this path does not allow the method", Detail: "allowed: " + strings.Join(allowed, ", ")}, allowed}
}
