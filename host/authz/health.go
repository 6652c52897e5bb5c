package authz

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// health counts a revision's successful and failed decisions. The zero value is ready for
// use. It is safe for concurrent use.
type health struct {
	worked atomic.Bool            // it has decided at least once
	failed atomic.Int64           // failures since the last success
	last   atomic.Pointer[string] // error of the last failure
}

// manyFailures is the number of failures in a row after which a revision that has decided
// before is degraded; a few unusual questions may fail.
const manyFailures = 10

func (h *health) note(err error) {
	if err != nil {
		text := err.Error()
		h.last.Store(&text)
		h.failed.Add(1)
		return
	}
	if !h.worked.Load() {
		h.worked.Store(true)
	}
	if h.failed.Load() > 0 {
		h.failed.Store(0)
	}
}

// problem returns an error if many or all of the last decisions failed.
func (h *health) problem(field string) error {
	n, last := h.failed.Load(), h.last.Load()
	if last == nil || n == 0 || n < manyFailures && h.worked.Load() {
		return nil
	}
	return host.E(host.Unavailable, "policy", "%s: the last %d decisions failed and were denied; the last error: %s", field, n, *last)
}

// probe asks three questions that differ in everything that rules usually read. It returns
// the errors if all of them fail for reasons that apply to every question, otherwise nil.
func (r *revision) probe(ctx context.Context) error {
	from := host.Origin{Kind: host.FromRole, ID: "admin"}
	all := []string{"*"}
	everything := []*host.Matched{
		{From: from, Action: "*"}, {From: from, Plugin: &host.PluginPermission{Name: "*"}},
		{From: from, Resource: &host.ResourcePermission{Clusters: all, Namespaces: all, Resources: all, Verbs: all}},
	}
	admin := &host.Principal{User: "admin@example.com", Roles: []string{"admin"}, Name: "An Administrator"}
	route := host.Route{Plugin: "admin", Name: "policies", Action: "admin:policies.read", Method: "GET", Path: "/api/admin/policies"}
	call := &host.CapabilityCall{Name: "kube", Verb: "get", Cluster: "dev", Namespace: "shop", Resource: "pods", Object: "web"}
	var errs error
	for _, q := range []struct {
		question host.Question
		matched  []*host.Matched
	}{
		{host.Question{Principal: &host.Principal{User: "new@example.com"}, Route: route}, nil},
		{host.Question{Principal: admin, Route: route}, everything},
		{host.Question{Principal: admin, Route: host.Route{Plugin: "gitops", Name: "pods", Action: "gitops:pods.read", Method: "GET", Path: "/pods"}, Capability: call}, everything},
	} {
		input, err := newInput(&q.question, &host.Matching{Roles: q.question.Principal.Roles, Matched: q.matched}, &terms{}, r.reads)
		if err != nil {
			return nil
		}
		document, err := r.eval(ctx, input, defaultDeadline)
		if err == nil {
			_, err = ParseDecision(document)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errUndefined) || errors.Is(err, errDeadline) {
			return nil
		}
		if errs == nil {
			errs = fmt.Errorf("%w", err)
		}
	}
	return errs
}
