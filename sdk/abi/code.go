package abi

// Codes of Errors that both sides make. A plugin may use its own besides.
const (
	CodeInvalid         = "invalid"
	CodeUnauthenticated = "unauthenticated"
	CodeForbidden       = "forbidden"
	CodeNotFound        = "not_found"
	CodeConflict        = "conflict"
	CodeTooLarge        = "too_large"
	CodeUnprocessable   = "unprocessable"
	CodeLimited         = "limited"
	CodeInternal        = "internal"
	CodeUpstream        = "upstream"
	CodeUnavailable     = "unavailable"
	CodeTimeout         = "timeout"

	CodeNotGranted  = "not_granted"  // the operator did not grant the capability
	CodeNoHandler   = "no_handler"   // the plugin registered nothing for the route
	CodeStartFailed = "start_failed" // the plugin refused to start
	CodeTrap        = "trap"         // the plugin panicked or spent its fuel
)

// CodeOf returns the code that goes with an HTTP status when nothing more
// particular is known.
func CodeOf(status int) string {
	switch status {
	case 401:
		return CodeUnauthenticated
	case 403:
		return CodeForbidden
	case 404:
		return CodeNotFound
	case 409:
		return CodeConflict
	case 413:
		return CodeTooLarge
	case 422:
		return CodeUnprocessable
	case 429:
		return CodeLimited
	case 502:
		return CodeUpstream
	case 503:
		return CodeUnavailable
	case 504:
		return CodeTimeout
	}
	if status >= 400 && status < 500 {
		return CodeInvalid
	}
	return CodeInternal
}
