package guest

import (
	"errors"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// publicError returns the error for the host. An *abi.Error in the chain of a handler's
// error is unchanged, so that a capability's refusal keeps status and origin; the text of
// any other error goes to the log only.
func publicError(route string, err error) *abi.Error {
	x, ok := errors.AsType[*abi.Error](err)
	if !ok {
		Log(levelError, "route "+route+": "+err.Error())
		return internalError()
	}
	if x.Error() != err.Error() { // the handler has added something
		Log(levelWarn, "route "+route+": "+err.Error())
	}
	return complete(x)
}

// complete returns x with a valid error status and a code.
func complete(x *abi.Error) *abi.Error {
	y := *x
	if y.Status < 400 || y.Status > 599 {
		y.Status = 500
	}
	if y.Code == "" || len(y.Code) > abi.MaxString {
		y.Code = abi.CodeOf(y.Status)
	}
	return &y
}

func internalError() *abi.Error {
	return &abi.Error{Code: abi.CodeInternal, Status: 500, Message: "the plugin failed"}
}

// startFault contains the whole text, since only the operator reads it.
func startFault(err error) *abi.Error {
	x := &abi.Error{Code: abi.CodeStartFailed, Status: 500, Message: err.Error()}
	if y, ok := errors.AsType[*abi.Error](err); ok {
		x.Origin, x.Retryable, x.Detail = y.Origin, y.Retryable, y.Detail
		if error(y) == err {
			x.Message = y.Message
		}
	}
	return x
}

func noHandler(route string) *abi.Error {
	return &abi.Error{
		Code: abi.CodeNoHandler, Status: 404, Message: "not found",
		Detail: "the plugin has no handler for route " + quote(route),
	}
}

func hostFault(err error) *abi.Error {
	return &abi.Error{Code: abi.CodeInternal, Origin: abi.OriginHost, Status: 500, Message: err.Error()}
}

func quote(s string) string { return strconv.Quote(s) }
