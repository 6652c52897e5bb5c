package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// armError is the body of a refusal by Azure Resource Manager.
type armError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// failure converts an error of the SDK or the network to one for the user. Its own text
// is for the operator.
func (s *session) failure(ctx context.Context, err error) error {
	// The end of the session comes first, then a deadline.
	if !s.auth.Alive() {
		return lost(s.auth)
	}
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	if cause := context.Cause(ctx); cause != nil {
		if e, ok := errors.AsType[*host.Error](cause); ok {
			return e
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &host.Error{Kind: host.Timeout, Op: name, Message: "Azure took too long", Detail: s.trace(""), Err: err}
	case errors.Is(err, context.Canceled):
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "the request was cancelled", Err: err}
	case unreachable(err):
		return &host.Error{Kind: host.Unavailable, Op: name, Message: "Azure cannot be reached", Detail: s.trace(""), Err: err}
	}
	return &host.Error{Kind: host.Upstream, Op: name, Message: "Azure failed", Detail: s.trace(""), Err: err}
}

// refusal returns the error for an answer of 300 or above: 403, 404, 409, 429 and other
// refusals of the request keep their status, everything else is 502. ARM's code and the
// correlation id are in the detail, its sentence is the message.
func (s *session) refusal(resp *http.Response, body []byte) error {
	e := parseError(body)
	if code := resp.Header.Get("X-Ms-Error-Code"); e.Code == "" && codeRE.MatchString(code) {
		e.Code = code
	}
	id := s.correlation
	if own := resp.Header.Get("X-Ms-Correlation-Request-Id"); uuidRE.MatchString(own) {
		id = own
	}
	out := &host.Error{Kind: host.KindOfStatus(resp.StatusCode), Op: name, Message: e.Message, Detail: trace(e.Code, id), RetryAfter: retryAfter(resp.Header)}
	if out.Message == "" {
		out.Message = "Azure answered " + http.StatusText(resp.StatusCode)
	}
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized:
		out.Message = "Azure does not accept the host's credentials"
	case status >= 400 && status < 500:
		out.Status = status
	case status < 400:
		out.Message = "Azure answered with a redirect"
	}
	return out
}

var codeRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// parseError reads the two forms that providers use.
func parseError(body []byte) armError {
	var wrapped struct {
		Error armError `json:"error"`
		armError
	}
	// If the body is not JSON, both stay empty, and only the status counts.
	_ = json.Unmarshal(body, &wrapped)
	e := wrapped.Error
	if e.Code == "" && e.Message == "" {
		e = wrapped.armError
	}
	if !codeRE.MatchString(e.Code) {
		e.Code = ""
	}
	const limit = 1000
	if len(e.Message) > limit {
		e.Message = e.Message[:limit] + "…"
	}
	return e
}

func (s *session) trace(code string) string { return trace(code, s.correlation) }

// trace returns the text with which a user can ask Azure's support.
func trace(code, correlation string) string {
	if code == "" {
		return "correlation id " + correlation
	}
	return code + "; correlation id " + correlation
}
