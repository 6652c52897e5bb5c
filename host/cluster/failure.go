package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
)

// Failure converts an error of client-go, or of a library above it, for the user. A
// host.Error, such as a lost authority, is unchanged; an API server's refusal keeps
// its status and message; an unreachable server is host.Unavailable. Any other error
// is host.Upstream with message, and err's text as detail. The detail does not
// reveal the address of the API server: it has the cluster's name instead, and no
// text of network errors. Failure of nil is nil.
func (c *Client) Failure(op, message string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	if answer := apierrors.APIStatus(nil); errors.As(err, &answer) {
		status := answer.Status()
		return refusal(op, int(status.Code), &status, err)
	}
	name := c.endpoint.cluster
	out := &host.Error{Kind: host.Upstream, Op: op, Message: message, Err: err}
	_, network := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		out.Kind, out.Message = host.Timeout, fmt.Sprintf("cluster %q took too long", name)
	case errors.Is(err, context.Canceled):
		out.Kind, out.Message = host.Unavailable, "the request was cancelled"
	case unreachable(err):
		out.Kind, out.Message = host.Unavailable, fmt.Sprintf("cluster %q cannot be reached", name)
	case network:
		out.Detail = fmt.Sprintf("the connection to cluster %q failed", name)
	default:
		out.Detail = c.endpoint.unaddressed(err.Error())
	}
	return out
}

// unaddressed replaces the API server's address in text by the cluster's name: a
// library may have formatted a network error.
func (e *endpoint) unaddressed(text string) string {
	_, address, _ := strings.Cut(e.url, "://")
	text = dialled.ReplaceAllString(text, "$1")
	return strings.NewReplacer(e.url, e.cluster, address, e.cluster).Replace(text)
}

// dialled matches the addresses of a net.OpError.
var dialled = regexp.MustCompile(`\b(dial|read|write) (?:tcp|udp)[46]?( \S+:\d+(->\S+:\d+)?)?`)

// refusal is an API server's answer of 400 or above.
func refusal(op string, code int, status *metav1.Status, err error) *host.Error {
	message := http.StatusText(code)
	if status != nil && status.Message != "" {
		message = status.Message
	}
	e := &host.Error{Kind: host.KindOfStatus(code), Op: op, Message: message, Err: err}
	switch {
	case code == http.StatusUnauthorized:
		e.Message = "the cluster does not accept the host's credentials"
	case code >= 400 && code < 500:
		e.Status = code
	default:
		e.Message, e.Detail = "the cluster failed", message
	}
	if status != nil && status.Details != nil {
		if conflicts := fieldConflicts(status.Details.Causes); conflicts != "" {
			e.Detail = conflicts
		}
		e.RetryAfter = min(time.Duration(max(status.Details.RetryAfterSeconds, 0))*time.Second, retryafter.Max)
	}
	return e
}

const maxConflicts = 64 // fields that a refusal names

// fieldConflicts are the fields of a server-side apply that other managers own, each a line
// FIELD: MESSAGE, or "".
func fieldConflicts(causes []metav1.StatusCause) string {
	var lines []string
	for _, c := range causes {
		if c.Type == metav1.CauseTypeFieldManagerConflict && len(lines) < maxConflicts {
			lines = append(lines, c.Field+": "+c.Message)
		}
	}
	return strings.Join(lines, "\n")
}

// Err returns nil for a status below 400, otherwise the API server's refusal with its
// status and the message of its metav1.Status.
func (r *Response) Err() error {
	if r.Status < 400 {
		return nil
	}
	var status metav1.Status
	e := refusal(op, r.Status, nil, nil)
	if json.Unmarshal(r.Body, &status) == nil && status.Kind == "Status" {
		e = refusal(op, r.Status, &status, nil)
	}
	if wait := retryafter.Parse(r.Header.Get("Retry-After"), time.Now()); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}
