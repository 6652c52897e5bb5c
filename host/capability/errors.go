package capability

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// refused is a host.Error with the origin of the refusal.
type refused struct {
	err    *host.Error
	origin abi.Origin
	code   string
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

func notGranted(plugin string, call *host.CapabilityCall, dims []Dimension) error {
	return notGrantedFor(plugin, call, call, dims)
}

// notGrantedFor refuses call; its detail is a grant for like, which would allow it.
func notGrantedFor(plugin string, call, like *host.CapabilityCall, dims []Dimension) error {
	return &refused{origin: abi.OriginGrant, code: abi.CodeNotGranted, err: &host.Error{
		Kind: host.Forbidden, Op: call.Name + "." + call.Verb,
		Message: fmt.Sprintf("plugin %q is not granted %s", plugin, call),
		Detail:  fmt.Sprintf("plugins[name=%s].grants.%s: [%s] would allow it", plugin, like.Name, wanted(like, dims)),
	}}
}

// changeByRead refuses a change by a route that its plugin declares to read.
func changeByRead(route *host.Route, call *host.CapabilityCall) error {
	return &refused{origin: abi.OriginHost, code: abi.CodeForbidden, err: &host.Error{
		Kind: host.Forbidden, Op: call.Name + "." + call.Verb,
		Message: fmt.Sprintf("route %q is declared to read and cannot make a change: %s", route.Name, call),
		Detail:  "read_route",
	}}
}

// notPermitted refuses call with the reason; neither reveals what exists.
func notPermitted(call *host.CapabilityCall, reason string) error {
	return &refused{origin: abi.OriginPolicy, code: abi.CodeForbidden, err: &host.Error{
		Kind: host.Forbidden, Op: call.Name + "." + call.Verb,
		Message: fmt.Sprintf("not permitted: %s", call),
		Detail:  reason,
	}}
}

// ErrorFrame returns the part of err that a guest may read. It omits the text of
// internal errors, which is for the operator.
func ErrorFrame(err error) *abi.Error {
	if x, ok := errors.AsType[*abi.Error](err); ok {
		return x
	}
	e, ok := errors.AsType[*host.Error](err)
	if !ok {
		e = unclassified(err)
	}
	x := &abi.Error{
		Origin: abi.OriginHost, Status: e.HTTPStatus(),
		Retryable: e.Kind == host.Unavailable || e.Kind == host.Limited,
		Message:   e.Public(), Detail: e.Detail,
	}
	x.Code = abi.CodeOf(x.Status)
	if e.Kind == host.Upstream || e.Status != 0 {
		x.Origin = abi.OriginUpstream
	}
	if e.Kind == host.Internal {
		x.Message, x.Detail = host.Internal.String(), ""
	}
	if r, ok := errors.AsType[*refused](err); ok {
		x.Origin, x.Code = r.origin, r.code
	}
	return x
}

func unclassified(err error) *host.Error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &host.Error{Kind: host.Timeout, Err: err}
	case errors.Is(err, context.Canceled):
		return &host.Error{Kind: host.Unavailable, Message: "the call was cancelled", Err: err}
	}
	return &host.Error{Kind: host.Internal, Err: err}
}
