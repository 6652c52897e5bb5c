package audit

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Kinds of records.
const (
	KindSignIn     = "signin"     // a login began, or was refused
	KindSignOut    = "signout"    // a login ended
	KindSession    = "session"    // a stream, a socket or work in the background began or ended
	KindRequest    = "request"    // a request that would have changed something was refused
	KindCapability = "capability" // a capability call of a plugin that changes something
	KindAdmin      = "admin"      // a change by an administrator
	KindRead       = "read"       // a look at recordings or at the audit
	KindPlugin     = "plugin"     // another version of a plugin serves, or was refused
	KindPolicy     = "policy"     // another revision of the policy decides, or was refused
	KindConfig     = "config"     // another configuration serves, or was refused
	KindHost       = "host"       // the host started or stopped
	KindAudit      = "audit"      // about the audit itself
)

// Stages of a record. An effect has an intent before it and an outcome after it, with the
// same id.
const (
	StageIntent  = "intent"
	StageOutcome = "outcome"
	StageEvent   = "event" // something that has happened, or was refused
)

// Result is how an effect ended.
type Result string

const (
	Success Result = "success"
	Failure Result = "failure" // it has not happened, or not whole
	Refused Result = "refused" // the host did not let it happen
	Unknown Result = "unknown" // it may have happened
)

// Event is something that has, or should have had, an effect. Empty fields are left out of
// its record.
type Event struct {
	ID     string      // "": an id is made
	Kind   string      // one of the constants
	Action host.Action // of the route, such as "gitops:helm.upgrade", or what happened: "session.begin"
	// Target is what the effect is on: "dev/shop/web", a user, a plugin.
	Target string
	Call   *host.CapabilityCall // for KindCapability
	// Principal is who wants it. If nobody is signed in, User and Method are as far as
	// they are known.
	Principal *host.Principal
	User      host.UserID
	Method    string
	// For is the identity that the host acts as at an upstream server.
	For    *host.Impersonation
	Reason string // as stated by the user
	// Decision is the id in the decision log, Revision that of the policy.
	Decision string
	Revision uint64
	Route    host.Route // with the version of the plugin
	Session  string
	Remote   string // the client's address
	Details  map[string]any
}

// Outcome is how an Event ended.
type Outcome struct {
	Result   Result // "": that of Err
	Err      error
	Status   int               // of an upstream's answer; 0: none
	Upstream *host.Correlation // the requests that were sent; nil: none
	Details  map[string]any
}

// maxErrorText bounds the text of an error in a record, in bytes.
const maxErrorText = 1000

// resultOf returns what an error says about an effect that was begun.
func resultOf(err error) Result {
	if err == nil {
		return Success
	}
	e := (*host.Error)(nil)
	switch {
	case host.EndCauseOf(err) != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), !errors.As(err, &e):
		return Unknown
	case e.Status != 0:
		return Failure // the upstream has answered
	}
	switch e.Kind {
	case host.Forbidden, host.Unauthenticated, host.Limited:
		return Refused
	case host.Timeout, host.Upstream, host.Internal:
		return Unknown
	}
	return Failure
}

// record is an Event as it is delivered. It does not change.
type record struct {
	id, stage      string
	at             time.Time
	replica        string
	request, trace string
	event          Event
	call           host.CapabilityCall
	outcome        *Outcome // nil: an intent
	requests       int
	answered       []string
}

func newRecord(ctx context.Context, e *Event, id, stage, replica string, o *Outcome) *record {
	ids := host.RequestOf(ctx)
	r := &record{id: id, stage: stage, at: time.Now(), replica: replica, request: ids.RequestID(), trace: ids.TraceID(), event: *e, outcome: o}
	if e.Call != nil {
		r.call = *e.Call
		r.event.Call = &r.call
	}
	if o != nil {
		r.requests, r.answered = o.Upstream.Seen()
	}
	return r
}

// Refusal returns nil: Trail decides what is refused.
func (*record) Refusal() Record { return nil }

// Document returns the record; host/audit/README.md describes the fields.
func (r *record) Document() map[string]any {
	e, doc := &r.event, map[string]any{}
	set := func(key, value string) {
		if value != "" {
			doc[key] = value
		}
	}
	doc["time"], doc["id"], doc["stage"], doc["kind"] = r.at.UTC().Format(time.RFC3339Nano), r.id, r.stage, e.Kind
	set("replica", r.replica)
	set("action", string(e.Action))
	set("target", e.Target)
	user, method := e.User, e.Method
	if p := e.Principal; p != nil {
		user, method = p.User, p.Login.Method
		set("login", string(p.Login.ID))
	}
	set("user", string(user))
	set("method", method)
	if e.For != nil {
		set("onBehalfOf", e.For.User)
	}
	set("reason", e.Reason)
	set("decision", e.Decision)
	if e.Revision > 0 {
		doc["revision"] = e.Revision
	}
	if e.Route.Plugin != "" {
		plugin := map[string]any{"name": e.Route.Plugin}
		if e.Route.Digest != "" {
			plugin["digest"] = e.Route.Digest
		}
		if e.Route.Generation != 0 {
			plugin["generation"] = e.Route.Generation
		}
		doc["plugin"] = plugin
	}
	set("requestId", r.request)
	set("traceId", r.trace)
	set("session", e.Session)
	set("remote", e.Remote)
	if c := e.Call; c != nil {
		doc["call"] = callOf(c)
	}
	r.end(doc)
	return doc
}

// end adds the outcome and the details.
func (r *record) end(doc map[string]any) {
	details := map[string]any{}
	for k, v := range r.event.Details {
		details[k] = v
	}
	if o := r.outcome; o != nil {
		doc["outcome"] = string(cmp.Or(o.Result, resultOf(o.Err)))
		if o.Err != nil {
			doc["error"] = text.Line(o.Err.Error(), maxErrorText)
		}
		if o.Status != 0 {
			doc["status"] = o.Status
		}
		if r.requests > 0 {
			upstream := map[string]any{"requests": r.requests}
			if len(r.answered) > 0 {
				ids := make([]any, len(r.answered))
				for i, id := range r.answered {
					ids[i] = id
				}
				upstream["auditIds"] = ids
			}
			doc["upstream"] = upstream
		}
		for k, v := range o.Details {
			details[k] = v
		}
	}
	if len(details) > 0 {
		doc["details"] = details
	}
}

// callOf returns the call without its empty fields.
func callOf(c *host.CapabilityCall) map[string]any {
	doc := map[string]any{}
	for key, v := range map[string]string{
		"name": c.Name, "verb": c.Verb, "cluster": c.Cluster, "instance": c.Instance, "resource": c.GroupResource(),
		"namespace": c.Namespace, "resourceGroup": c.ResourceGroup, "object": c.Object, "host": c.Host, "path": c.Path, "ref": c.Ref,
	} {
		if v != "" {
			doc[key] = v
		}
	}
	return doc
}
