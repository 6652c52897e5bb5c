package gateway

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Admission describes the request that Admit decides.
type Admission struct {
	Question *host.Question
	Kind     host.SessionKind
	// Target is the target of the request for session lists, such as
	// "dev/shop/web-0".
	Target string
	// Missing is the answer to a request whose route does not exist, for users that
	// policy permits. Other users get the same refusal as for an existing route.
	Missing error
	// Redacts, Records and Narrows are the obligations that the caller of Admit meets:
	// redacting the answer, recording a terminal, and leaving out namespaces and
	// resource groups that are not permitted. The default is none.
	Redacts, Records, Narrows bool
}

// Admit opens a session for r and asks policy. It refuses the request if policy denies it,
// if its route does not exist, or if an obligation would not be met. The session has the
// limits of the obligations and its context is a child of parent; without an error, the
// caller must close it.
func (g *Gateway) Admit(parent context.Context, r *http.Request, a *Admission) (_ *session.Session, o host.Obligations, err error) {
	req, route := RequestOf(r.Context()), &a.Question.Route
	req.action = route.Action
	s, err := g.Sessions.Open(parent, req.Principal, host.SessionInfo{
		Kind: a.Kind, Plugin: route.Plugin, Route: route.Name, Target: a.Target,
		RequestID: req.ID, RemoteAddr: g.Authn.RemoteAddr(r),
	})
	if err != nil {
		return nil, o, err
	}
	var d host.Decision
	defer func() {
		if err != nil {
			g.refused(s.Context(), a, &d, err)
			s.Close()
		}
	}()
	if err := g.Audit.Readable(); err != nil {
		return nil, o, err
	}
	d = g.Decide(s.Context(), a.Question)
	switch {
	case !d.Allow:
		req.Log.Info("refused by policy", "action", string(route.Action), "reason", d.Reason.Code, "decision", d.ID, "revision", d.Revision)
		return nil, o, forbidden(d.Reason.Code)
	case a.Missing != nil:
		return nil, o, a.Missing
	case !d.Obligations.MetBy(a.Redacts, a.Records) || !a.Narrows && d.Obligations.Confines():
		req.Log.Error("policy imposes an obligation that this route cannot meet", "action", string(route.Action), "decision", d.ID)
		return nil, o, forbidden("obligation_not_supported")
	}
	s.Limit(d.Obligations.MaxSession, d.Obligations.Idle)
	return s, d.Obligations, nil
}

// refused records a request that would have changed something.
func (g *Gateway) refused(ctx context.Context, a *Admission, d *host.Decision, err error) {
	q := a.Question
	if !q.Route.Mutates {
		return
	}
	g.Audit.Note(ctx, &audit.Event{
		Kind: audit.KindRequest, Action: q.Route.Action, Target: a.Target, Principal: q.Principal, Reason: q.Reason,
		Decision: d.ID, Revision: d.Revision, Route: q.Route,
	}, audit.Outcome{Result: audit.Refused, Err: err})
}

func forbidden(code string) error {
	return &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: code}
}
