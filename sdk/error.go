package sdk

import (
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Error is a refusal or failure that the client sees: Status from 400 to 599 (any other
// becomes 500), Message in one sentence, and an optional Detail. An empty Code is filled
// in from the status. Capability packages return the same type, with Origin as the source
// of the error: policy, the operator's grant, the host, or the service that the host
// called.
type Error = abi.Error

// Pair is a header or a parameter.
type Pair = abi.Pair

// Errorf makes an *Error with a status and a formatted message.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// StatusOf returns the status of the *Error that err is or wraps, such as 404 of an object
// that does not exist; 0 if there is none. For the origin of a refusal, and its detail, use
// errors.AsType[*Error].
func StatusOf(err error) int {
	if x, ok := errors.AsType[*Error](err); ok {
		return x.Status
	}
	return 0
}

// Stream is a stream that the host has opened for the plugin, such as a terminal. It is
// valid for one session.Splice in the handler that opened it.
type Stream int32
