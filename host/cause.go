package host

import (
	"errors"
	"log/slog"
)

// EndCause is a reason for which the host ends a session. Each is declared once, below.
// Close frames, HTTP answers, the store, logs and recordings all use these values.
type EndCause struct {
	Name string // in the store and in logs; stable and unique
	// Err is the cause as an error. Its message is the sentence for the user, and its
	// kind determines the HTTP status of a request that ends with the session.
	Err   *Error
	Code  int        // close code of a websocket
	Level slog.Level // level at which the end is logged
	Cure  string     // what a client does about it
}

// Close codes of websockets (RFC 6455, section 7.4). host/gateway/README.md has their
// meaning for clients.
const (
	CloseNormal          = 1000
	CloseGone            = 1001 // the client seems to have gone away
	CloseMalformed       = 1007
	CloseViolation       = 1008
	CloseTooLarge        = 1009
	CloseFailed          = 1011
	CloseRestart         = 1012 // the client may connect again
	CloseRefused         = 4000 // a plugin's own error with a status 4xx
	CloseUnauthenticated = 4401
	CloseForbidden       = 4403
	CloseTimeout         = 4408
	CloseEnded           = 4410
)

// The causes of a session's end. Each is the cancellation cause of the session's context
// and can be compared with errors.Is.
var (
	ErrLoggedOut    = endCause("logged_out", Unauthenticated, "logged out", CloseUnauthenticated, slog.LevelInfo, "sign in again")
	ErrLoginExpired = endCause("login_expired", Unauthenticated, "login expired", CloseUnauthenticated, slog.LevelInfo, "sign in again")
	ErrRevoked      = endCause("revoked", Unauthenticated, "session ended by an administrator", CloseUnauthenticated, slog.LevelInfo, "sign in again, if the administrator permits it")
	ErrEnded        = endCause("ended", Conflict, "session ended by its owner", CloseEnded, slog.LevelInfo, "nothing: the user has ended it elsewhere")
	ErrNoLonger     = endCause("no_longer", Forbidden, "no longer permitted", CloseForbidden, slog.LevelInfo, "ask the operator; do not open it again by yourself")
	ErrIdle         = endCause("idle", Timeout, "session was idle too long", CloseTimeout, slog.LevelInfo, "open it again when the user returns")
	ErrTooLong      = endCause("too_long", Timeout, "session reached its time limit", CloseTimeout, slog.LevelInfo, "open it again, if the user wants to go on")
	ErrSwapped      = endCause("swapped", Unavailable, "plugin was replaced", CloseRestart, slog.LevelInfo, "open it again at once")
	ErrShutdown     = endCause("shutdown", Unavailable, "host is shutting down", CloseRestart, slog.LevelInfo, "open it again, with growing pauses")
	ErrFenced       = endCause("fenced", Unavailable, "the state store does not answer", CloseRestart, slog.LevelWarn, "open it again, with growing pauses; the operator sees why in `/readyz`")
	ErrClientGone   = endCause("client_gone", Invalid, "client went away", CloseGone, slog.LevelDebug, "open it again")
	ErrDone         = endCause("done", Internal, "session is done", CloseNormal, slog.LevelDebug, "nothing")
)

var endCauses []*EndCause

func endCause(name string, kind Kind, sentence string, code int, level slog.Level, cure string) *Error {
	err := &Error{Kind: kind, Message: sentence}
	endCauses = append(endCauses, &EndCause{name, err, code, level, cure})
	return err
}

// EndCauses returns all causes, in the order in which they are declared.
func EndCauses() []*EndCause { return append([]*EndCause(nil), endCauses...) }

// EndCauseOf returns the cause that err is or wraps, or nil.
func EndCauseOf(err error) *EndCause {
	for _, c := range endCauses {
		if errors.Is(err, c.Err) {
			return c
		}
	}
	return nil
}

// EndCauseNamed returns the cause with this name, or nil.
func EndCauseNamed(name string) *EndCause {
	for _, c := range endCauses {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// CloseCode returns the close code and reason for a websocket whose session ended with
// err; nil is a regular end. For an error that is not a cause, the code means a failure,
// whatever the error's kind.
func CloseCode(err error) (code int, reason string) {
	if err == nil {
		return CloseNormal, ""
	}
	if c := EndCauseOf(err); c != nil {
		return c.Code, c.Err.Message
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return CloseFailed, e.Public()
	}
	return CloseFailed, Internal.String()
}
