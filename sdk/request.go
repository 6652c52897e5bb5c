package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Request is one authenticated and authorized request. The slices that its methods return
// belong to it; do not change them. Use it only in the goroutine of its handler.
type Request struct {
	r        *abi.Request
	deadline time.Duration // since epoch
	query    url.Values
}

// epoch makes reading the clock a single host call, of the monotonic clock.
var epoch = time.Now()

// NewRequest makes a Request of its frame's content. Handlers get their Request from the
// host; NewRequest is for package session and for tests that call a handler directly. A
// missing host section counts as an empty one.
func NewRequest(r *abi.Request) *Request {
	if r.Host == nil {
		c := *r
		c.Host = &abi.HostSection{}
		r = &c
	}
	left := time.Duration(min(max(r.Host.TimeoutMS, 0), int64(24*time.Hour/time.Millisecond))) * time.Millisecond
	return &Request{r: r, deadline: time.Since(epoch) + left}
}

// Method returns the HTTP method, in upper case.
func (r *Request) Method() string { return r.r.Method }

// Path returns the request's path, without the query.
func (r *Request) Path() string {
	path, _, _ := strings.Cut(r.r.URL, "?")
	return path
}

// RawQuery returns the query as it was sent, without the question mark.
func (r *Request) RawQuery() string {
	_, query, _ := strings.Cut(r.r.URL, "?")
	return query
}

// Values returns the parsed query. Malformed parts are left out.
func (r *Request) Values() url.Values {
	if r.query == nil {
		r.query, _ = url.ParseQuery(r.RawQuery())
	}
	return r.query
}

// Query returns the first value of a query parameter, or "".
func (r *Request) Query(name string) string { return r.Values().Get(name) }

// Int returns a query parameter as a number from least to most, or otherwise if the request
// does not have it. Its error has status 400 and names the parameter and the range, so a
// handler can return it unchanged.
func (r *Request) Int(name string, otherwise, least, most int) (int, error) {
	text := r.Query(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &Error{Status: 400, Message: name + " must be a number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)}
	}
	return n, nil
}

// Bool returns a query parameter that is true or false, also written 1 and 0; false if the
// request does not have it. Its error has status 400 and names the parameter.
func (r *Request) Bool(name string) (bool, error) {
	switch r.Query(name) {
	case "true", "1":
		return true, nil
	case "false", "0", "":
		return false, nil
	}
	return false, &Error{Status: 400, Message: name + " must be true or false"}
}

// Header returns the first value of a header, or "". The name is not case-sensitive.
// Credentials never reach a plugin.
func (r *Request) Header(name string) string { return find(r.r.Header, name) }

// Param returns a parameter of the route's path template, or "" if the template does not
// have it.
func (r *Request) Param(name string) string {
	for _, p := range r.r.Host.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Body returns the request's body, nil if it is empty. The host has bounded its size.
func (r *Request) Body() []byte { return r.r.Body }

// JSON decodes the body into v. Unknown keys, trailing data and an empty body are errors
// with status 400 and the message "invalid request body", which a handler can return
// unchanged.
func (r *Request) JSON(v any) error {
	if err := decodeStrict(r.r.Body, v); err != nil {
		return &Error{Status: 400, Message: "invalid request body", Detail: err.Error()}
	}
	return nil
}

// User returns the user's id in policy and audit. It is never empty.
func (r *Request) User() string { return r.r.Host.User }

// Name returns the user's display name, which may be empty.
func (r *Request) Name() string { return r.r.Host.Name }

// Roles returns the user's roles, sorted. Policy has already used them; they are for
// display.
func (r *Request) Roles() []string { return r.r.Host.Roles }

// Teams returns the ids of the user's teams, sorted.
func (r *Request) Teams() []string { return r.r.Host.Teams }

// Route returns the route's name in the manifest.
func (r *Request) Route() string { return r.r.Host.Route }

// Action returns the action that policy allowed, as PLUGIN:ACTION.
func (r *Request) Action() string { return r.r.Host.Action }

// RequestID returns the id of the request in logs and error bodies.
func (r *Request) RequestID() string { return r.r.Host.RequestID }

// Namespaces returns the namespaces that the answer may show, as policy decided for the
// route. An empty list means no restriction, or that no namespace may be shown; the host
// knows the difference and enforces it at every capability call.
func (r *Request) Namespaces() []string { return r.r.Host.Namespaces }

// ResourceGroups returns the resource groups that the answer may show; an empty list means
// no restriction.
func (r *Request) ResourceGroups() []string { return r.r.Host.Groups }

// Redact returns the values that the host removes from the answer, as JSON Pointers.
func (r *Request) Redact() []string { return r.r.Host.Redact }

// Remaining returns the time until the host stops the request, at least zero.
func (r *Request) Remaining() time.Duration { return max(0, r.deadline-time.Since(epoch)) }

func find(pairs []Pair, name string) string {
	for _, p := range pairs {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// decodeStrict decodes exactly one JSON value without unknown keys.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if err == io.EOF {
			return errors.New("is empty")
		}
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}
