package abi

// Codes of Errors that both sides make. A plugin may use other codes as well.
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
	CodeNoHandler   = "no_handler"   // the plugin registered no handler for the route
	CodeStartFailed = "start_failed" // the plugin refused to start
	CodeTrap        = "trap"         // the plugin panicked or spent its fuel
)

// CodeOf returns the general code for an HTTP status.
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
