package sdk

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Error is a refusal or failure that the client sees: Status 400 to 599 (else
// it becomes 500), Message in one sentence, Detail if there is more. An empty
// Code is filled in from the status. Capability packages return the same type
// with Origin saying who refused: policy, the operator's grant, the host, or
// what the host called.
type Error = abi.Error

// Pair is a header or a parameter.
type Pair = abi.Pair

// Errorf makes an *Error with a status and a formatted message.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Stream names something that the host has open for the plugin: a terminal, a
// watch. It is good for one session.Splice in the entry that opened it.
type Stream int32
