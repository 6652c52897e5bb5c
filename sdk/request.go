package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Request is one authenticated, authorized request. Slices that its methods
// return belong to it; do not change them. It is for the goroutine of its
// handler.
type Request struct {
	r        *abi.Request
	deadline time.Duration // on the clock that since reads
	query    url.Values
}

// epoch makes reading the clock one host call: the monotonic one.
var epoch = time.Now()

// NewRequest makes a Request from its frame's contents. Handlers are given
// theirs; this is for package session and for tests that call a handler
// directly. A missing host section counts as an empty one.
func NewRequest(r *abi.Request) *Request {
	if r.Host == nil {
		c := *r
		c.Host = &abi.HostSection{}
		r = &c
	}
	left := time.Duration(min(max(r.Host.TimeoutMS, 0), int64(24*time.Hour/time.Millisecond))) * time.Millisecond
	return &Request{r: r, deadline: time.Since(epoch) + left}
}

// Method is the HTTP method, in upper case.
func (r *Request) Method() string { return r.r.Method }

// Path is the request's path, without the query.
func (r *Request) Path() string {
	path, _, _ := strings.Cut(r.r.URL, "?")
	return path
}

// RawQuery is the query as it was sent, without the question mark.
func (r *Request) RawQuery() string {
	_, query, _ := strings.Cut(r.r.URL, "?")
	return query
}

// Values returns the parsed query. Parts that are malformed are left out.
func (r *Request) Values() url.Values {
	if r.query == nil {
		r.query, _ = url.ParseQuery(r.RawQuery())
	}
	return r.query
}

// Query returns the first value of a query parameter, empty if there is none.
func (r *Request) Query(name string) string { return r.Values().Get(name) }

// Header returns the first value of a header, compared without case, empty if
// there is none. Credentials never reach a plugin.
func (r *Request) Header(name string) string { return find(r.r.Header, name) }

// Param returns a parameter of the route's path template, empty if it has no
// such.
func (r *Request) Param(name string) string {
	for _, p := range r.r.Host.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Body is the request's body, nil if it is empty. The host has bounded it.
func (r *Request) Body() []byte { return r.r.Body }

// JSON decodes the body into v. Unknown keys, trailing data and an empty body
// are errors: a 400 with the message "invalid request body", which a handler
// can return as it is.
func (r *Request) JSON(v any) error {
	if err := decodeStrict(r.r.Body, v); err != nil {
		return &Error{Status: 400, Message: "invalid request body", Detail: err.Error()}
	}
	return nil
}

// User is the id by which policy and audit know the person. It is never empty.
func (r *Request) User() string { return r.r.Host.User }

// Name is the person's display name, which may be empty.
func (r *Request) Name() string { return r.r.Host.Name }

// Roles are the person's roles, sorted. Policy has already decided with them;
// they are for what a plugin shows.
func (r *Request) Roles() []string { return r.r.Host.Roles }

// Teams are the ids of the person's teams, sorted.
func (r *Request) Teams() []string { return r.r.Host.Teams }

// Route is the route's name in the manifest.
func (r *Request) Route() string { return r.r.Host.Route }

// Action is what policy allowed, as PLUGIN:ACTION.
func (r *Request) Action() string { return r.r.Host.Action }

// RequestID names the request in logs and error bodies.
func (r *Request) RequestID() string { return r.r.Host.RequestID }

// Namespaces are those that the answer may show, as policy decided for the
// route; none means no restriction or, what looks the same here, that none may
// be shown. The host enforces it at every capability call and knows the
// difference.
func (r *Request) Namespaces() []string { return r.r.Host.Namespaces }

// ResourceGroups are those that the answer may show; none means no restriction.
func (r *Request) ResourceGroups() []string { return r.r.Host.Groups }

// Redact names what the answer should leave out.
func (r *Request) Redact() []string { return r.r.Host.Redact }

// Remaining is the time left until the host stops the request, at least zero.
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
