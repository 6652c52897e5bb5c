package host

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind classifies an error by what the caller can do about it. Names and
// numbers are stable: they appear in logs and in tests.
type Kind uint8

const (
	Internal        Kind = iota // a defect of the host or of its own dependency; details are for the operator
	Invalid                     // the request is malformed
	Unauthenticated             // the request has no signed-in user
	Forbidden                   // the user is not permitted
	NotFound                    // absent; also forbidden, for users who may not learn the difference
	Conflict                    // the present state does not allow it
	TooLarge                    // over a documented size
	Unprocessable               // well-formed, but the content cannot be used
	Limited                     // over a documented rate or count
	Upstream                    // a service that the host called for the user failed
	Unavailable                 // try again later
	Timeout                     // it took longer than allowed
)

var kindNames = [...]string{
	"internal error", "bad request", "not signed in", "forbidden", "not found", "conflict",
	"too large", "unprocessable", "too many requests", "upstream failed", "unavailable", "timed out",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Internal]
}

// Error is the error type between packages for errors that determine what the user sees.
// Message and Detail are for the user; Err is for the operator and is never shown to the
// user.
type Error struct {
	Kind    Kind
	Op      string // the operation that failed: "helm.upgrade"
	Message string // one short sentence; empty: that of the kind
	Detail  string // more, such as the upstream's own text; may be empty
	Status  int    // HTTP status of the upstream, to be passed on; 0: that of Kind
	// RetryAfter is how long the upstream asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	Err        error
}

// E makes an Error with a formatted message. The error of a %w verb becomes the cause; its
// text is part of the message and therefore public.
func E(kind Kind, op, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Op: op, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error returns the text for the operator: operation, public message and private cause.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	parts = append(parts, e.Public())
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if e.Err != nil && !strings.Contains(e.Message+e.Detail, e.Err.Error()) {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Public returns the text that the user may see.
func (e *Error) Public() string {
	if e.Message == "" {
		return e.Kind.String()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
