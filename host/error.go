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
	Internal        Kind = iota // a defect or a broken dependency of the host's own; details stay with the operator
	Invalid                     // the request is malformed
	Unauthenticated             // nobody is signed in
	Forbidden                   // somebody is, and may not
	NotFound                    // absent; also forbidden, to somebody without rights
	Conflict                    // the state does not allow it now
	TooLarge                    // over a stated size
	Unprocessable               // well-formed, but its content cannot be used
	Limited                     // over a stated rate or count
	Upstream                    // what the host called for the user failed
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

// Error is the one error type that crosses package borders when the outcome
// for the user matters. Message and Detail are for the user; Err is for the
// operator and is never shown to the user.
type Error struct {
	Kind    Kind
	Op      string // what was being done: "helm.upgrade"
	Message string // one short sentence; empty: the kind's own words
	Detail  string // more, such as the upstream's own text; may be empty
	Status  int    // HTTP status of the upstream that is to be kept; 0: it follows from Kind
	// RetryAfter is how long the upstream asks to wait; 0: it does not say.
	RetryAfter time.Duration
	Err        error
}

// E makes an Error whose message is formatted. A %w verb is kept as the cause;
// its text is part of the message and so becomes public.
func E(kind Kind, op, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Op: op, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error is the operator's text: operation, public message and private cause.
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

// Public is the text that the user may see.
func (e *Error) Public() string {
	if e.Message == "" {
		return e.Kind.String()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, Internal if
// there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
