package host

import "net/http"

var kindStatus = [...]int{
	Internal:        http.StatusInternalServerError,
	Invalid:         http.StatusBadRequest,
	Unauthenticated: http.StatusUnauthorized,
	Forbidden:       http.StatusForbidden,
	NotFound:        http.StatusNotFound,
	Conflict:        http.StatusConflict,
	TooLarge:        http.StatusRequestEntityTooLarge,
	Unprocessable:   http.StatusUnprocessableEntity,
	Limited:         http.StatusTooManyRequests,
	Upstream:        http.StatusBadGateway,
	Unavailable:     http.StatusServiceUnavailable,
	Timeout:         http.StatusGatewayTimeout,
}

// HTTPStatus returns the HTTP status (RFC 9110, section 15) for an error of this kind.
func (k Kind) HTTPStatus() int {
	if int(k) < len(kindStatus) {
		return kindStatus[k]
	}
	return http.StatusInternalServerError
}

// HTTPStatus returns the upstream's status if it is passed on, otherwise that of the
// error's kind.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Kind.HTTPStatus()
}

// KindOfStatus returns the kind for an answer of a service that the host called: refusals
// of the request keep their meaning, everything else is Upstream.
func KindOfStatus(status int) Kind {
	switch status {
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound, http.StatusGone:
		return NotFound
	case http.StatusConflict:
		return Conflict
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusUnprocessableEntity:
		return Unprocessable
	case http.StatusTooManyRequests:
		return Limited
	case http.StatusUnauthorized: // refuses the host's credentials, not the user's
		return Upstream
	}
	if status >= 400 && status < 500 {
		return Invalid
	}
	return Upstream
}
