package authz

import (
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
)

// DecisionPath is DecisionQuery in the form of OPA's decision logs.
const DecisionPath = "bulkhead/authz/decision"

// decisionStream describes the decision log. By default its mask erases the claims of identity
// providers.
var decisionStream = audit.Stream{
	Name:  "decision log",
	Scope: "github.com/seed-a3fb47d6/bulkhead/decisions",
	Event: "bulkhead.decision",
	Attributes: []audit.Attribute{
		{Key: "bulkhead.decision.id", Path: []string{"decision_id"}},
		{Key: "user.id", Path: []string{"input", "principal", "user"}},
		{Key: "bulkhead.action", Path: []string{"input", "route", "action"}},
		{Key: "bulkhead.allow", Path: []string{"result", "allow"}},
		{Key: "bulkhead.reason", Path: []string{"result", "reason", "code"}},
		{Key: "bulkhead.policy.digest", Path: []string{"custom", "policy"}},
		{Key: "bulkhead.plugin.digest", Path: []string{"custom", "plugin", "digest"}},
	},
	Mask: []string{"/input/principal/claims", "/input/principal/login/id"},
}

// record is a decision for the log and the shadow. It is not changed once it is passed to
// them.
type record struct {
	question host.Question
	call     host.CapabilityCall // question.Capability points to it
	answer   *answer
	rev      *published
	id       string
	cached   bool
	at       time.Time
	took     time.Duration
	running  bool        // the question is about a session that already runs
	request  string      // its id
	trace    string      // its id, "" if it is not traced
	terms    *termsCache // for rendering
}

// set copies q, because callers may modify theirs.
func (r *record) set(q *host.Question) {
	r.question = *q
	if q.Capability != nil {
		r.call = *q.Capability
		r.question.Capability = &r.call
	}
}

// Refusal returns the record of a refusal that replaces r if r allows an effect that has not
// begun.
func (r *record) Refusal() audit.Record {
	if !r.answer.decision.Allow || !r.question.Route.Mutates || r.running {
		return nil
	}
	refusal := *r
	refusal.answer = &answer{decision: host.Decision{Reason: host.Reason{Code: LogFull}}, matching: r.answer.matching}
	return &refusal
}

// Document returns the record in OPA's format (version 1).
func (r *record) Document() map[string]any {
	a := r.answer
	doc := map[string]any{
		"decision_id": r.id, "path": DecisionPath,
		"timestamp": r.at.UTC().Format(time.RFC3339Nano),
		"bundles":   map[string]any{"bulkhead": map[string]any{"revision": revisionName(r.rev)}},
		"metrics":   map[string]any{"timer_server_handler_ns": r.took.Nanoseconds()},
		"custom":    customOf(r),
		"result":    documentOf(&a.decision),
	}
	input, err := inputJSON(&r.question, &a.matching, r.terms.of(a.matching.Revision))
	if err == nil {
		doc["input"] = input
	} else {
		doc["error"] = eventError("input", err)
	}
	if r.trace != "" {
		doc["trace_id"] = r.trace
	}
	if a.err != nil {
		doc["error"] = eventError(PolicyError, a.err)
	}
	return doc
}

func eventError(code string, err error) map[string]any {
	return map[string]any{"code": code, "message": err.Error()}
}

// customOf returns the values for which OPA's format has no field. The asserted memberships
// are for replaying, since they count differently with another directory.
func customOf(r *record) map[string]any {
	q := &r.question
	custom := map[string]any{
		"cached":    r.cached,
		"policy":    r.rev.content.Digest,       // of the operator's files
		"directory": r.answer.matching.Revision, // with which permissions were matched
	}
	if r.request != "" {
		custom["requestId"] = r.request
	}
	if q.Route.Digest != "" || q.Route.Generation != 0 {
		custom["plugin"] = map[string]any{"digest": q.Route.Digest, "generation": q.Route.Generation}
	}
	if by := &q.Principal.Asserted; !by.Empty() {
		asserted := map[string]any{}
		for key, l := range map[string][]string{"roles": by.Roles, "teams": by.Teams} {
			if len(l) > 0 {
				asserted[key] = texts(l)
			}
		}
		custom["asserted"] = asserted
	}
	if q.Principal.Unlisted {
		custom["unlisted"] = true
	}
	return custom
}

// revisionName returns the bundle's name of its revision, or the content's digest.
func revisionName(r *published) string {
	if r.content.Revision != "" {
		return r.content.Revision
	}
	return r.content.Digest
}

// inputJSON returns the complete input, including parts that the policy does not read.
func inputJSON(q *host.Question, m *host.Matching, t *terms) (map[string]any, error) {
	v, err := newInput(q, m, t, everything)
	if err != nil {
		return nil, err
	}
	x, err := ast.JSON(v)
	if err != nil {
		return nil, err
	}
	object, _ := x.(map[string]any)
	return object, nil
}

// documentOf returns d as the document of a policy.
func documentOf(d *host.Decision) map[string]any {
	reason := map[string]any{"code": d.Reason.Code}
	if len(d.Reason.Args) > 0 {
		reason["args"] = copyJSON(d.Reason.Args)
	}
	out := map[string]any{"allow": d.Allow, "reason": reason}
	if o := ObligationsDocument(&d.Obligations); len(o) > 0 {
		out["obligations"] = o
	}
	return out
}

// copyJSON copies v, since a mask may modify it.
func copyJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = copyJSON(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = copyJSON(x)
		}
		return out
	}
	return v
}

// ObligationsDocument returns o in the form of a policy's document.
func ObligationsDocument(o *host.Obligations) map[string]any {
	out := map[string]any{}
	if o.Impersonate != nil {
		out["impersonate"] = map[string]any{"user": o.Impersonate.User, "groups": texts(o.Impersonate.Groups)}
	}
	if o.MaxSession > 0 {
		out["max_session"] = o.MaxSession.String()
	}
	if o.Idle > 0 {
		out["idle"] = o.Idle.String()
	}
	for key, l := range map[string][]string{"namespaces": o.Namespaces, "resource_groups": o.ResourceGroups, "redact": o.Redact} {
		if l != nil {
			out[key] = texts(l)
		}
	}
	if o.Record != "" {
		out["record"] = string(o.Record)
	}
	return out
}

func texts(l []string) []any {
	out := make([]any, len(l))
	for i, s := range l {
		out[i] = s
	}
	return out
}
