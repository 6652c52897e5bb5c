package gateway

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// visit is one request on its way through a door.
type visit struct {
	generation *plugin.Generation
	session    *session.Session
	call       *plugin.Call
	query      url.Values
}

// close ends what enter began.
func (v *visit) close() {
	if v.call != nil {
		v.call.Release()
	}
	v.session.Close()
}

// target names what a request is about to people: what the route declares of
// it, such as "dev/shop/web-0", or its path.
func target(r host.Resource, path string) string {
	var parts []string
	for _, key := range []string{"cluster", "instance", "namespace", "resourceGroup", "type", "resource", "pod", "release", "name"} {
		if v := r[key]; v != "" {
			parts = append(parts, v)
		}
	}
	return cmp.Or(strings.Join(parts, "/"), path)
}

// enter does what both doors share: find the plugin's route, open the session,
// ask policy, check what the route requires. The session is the caller's to
// close when there is no error. parent is what the session's context hangs on.
func (g *Gateway) enter(parent context.Context, r *http.Request, kind session.Kind) (_ *visit, err error) {
	info := infoOf(r.Context())
	p := info.principal
	name, path, err := below(r)
	if err != nil {
		return nil, err
	}
	reason, rawQuery, err := g.reason(r)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		info.log = info.log.With("reason", reason)
	}
	query, badQuery := url.ParseQuery(rawQuery)
	v := &visit{generation: g.Plugins.Get(name), query: query}
	method := asGet(r.Method)
	match, missing := v.match(kind, method, path)
	if name == adminPlugin {
		if allowed := g.methodsOf(r); len(allowed) > 0 {
			missing = notAllowed(allowed)
		}
	}
	question := &host.Question{Principal: p, Reason: reason, Route: host.Route{
		// What does not exist is decided like a read, so that somebody without
		// rights cannot tell it from what is forbidden.
		Plugin: name, Action: host.Action(name + ":unknown.read"), Method: method,
	}}
	if match != nil {
		question.Route, question.Resource = match.Route, match.Resource
		if match.Kind == manifest.Events {
			kind = session.Events
		}
		if match.Route.Mutates {
			// A change that has begun is not given up because a tab was closed;
			// its deadline and a logout still end it.
			parent = context.WithoutCancel(parent)
		}
	}
	info.action = question.Route.Action

	v.session, err = g.Sessions.Open(parent, p, session.Info{
		Kind: kind, Plugin: name, Route: question.Route.Name, Target: target(question.Resource, path),
		RequestID: info.id, RemoteAddr: g.Authn.RemoteAddr(r),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.session.Close()
		}
	}()
	decision := g.Decide(v.session.Context(), question)
	if !decision.Allow {
		info.log.Info("refused by policy", "action", string(info.action), "reason", decision.Reason.Code,
			"decision", decision.ID, "revision", decision.Revision)
		return nil, &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: decision.Reason.Code}
	}
	if missing != nil {
		return nil, missing
	}
	o := decision.Obligations
	if !o.MetBy(kind == session.Call, kind == session.Socket) {
		// Messages are no answers, and calls and events no terminals.
		info.log.Error("policy obliges to what nothing here enforces", "action", string(info.action), "decision", decision.ID)
		return nil, &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: "obligation_not_supported"}
	}
	if badQuery != nil {
		return nil, host.E(host.Invalid, "", "the query is not encoded properly")
	}
	if len(match.Ambiguous) > 0 {
		return nil, host.E(host.Invalid, "", "%s is given more than once", strings.Join(match.Ambiguous, ", "))
	}
	if len(match.Missing) > 0 {
		return nil, host.E(host.Invalid, "", "%s %s required", strings.Join(match.Missing, ", "), plural(len(match.Missing), "is", "are"))
	}
	v.session.Limit(o.MaxSession, o.Idle) // before Stand, which may shorten it
	if _, err = v.session.Stand(question, o); err != nil {
		return nil, err
	}
	v.call = &plugin.Call{
		Match: match, Obligations: o, URL: pathAndQuery(path, rawQuery), Header: inbound(r.Header),
		Caller: &capability.Caller{
			Plugin: name, Principal: p, Route: match.Route, Resource: match.Resource,
			Obligations: o, Reason: reason, Authority: v.session, Stand: v.stand, RequestID: info.id, Logger: info.log,
		},
	}
	return v, nil
}

// stand is capability.Caller.Stand.
func (v *visit) stand(q *host.Question, allowed host.Obligations) (leave func(), err error) {
	st, err := v.session.Stand(q, allowed)
	return st.Leave, err
}

// match finds the route; the error is for somebody who may know that there is
// none. With both, the route is behind the other door: whoever may use it is
// told so, and everybody else gets what they would get there.
func (v *visit) match(kind session.Kind, method, path string) (*plugin.Match, error) {
	if v.generation == nil {
		return nil, host.E(host.NotFound, "", "there is no such plugin")
	}
	m, allowed := v.generation.Match(kind == session.Socket, method, path, v.query)
	switch {
	case m != nil:
		return m, nil
	case len(allowed) > 0:
		return nil, notAllowed(allowed)
	}
	if m, _ = v.generation.Match(kind != session.Socket, method, path, v.query); m != nil {
		door, what := "/ws/", "a websocket"
		if kind == session.Socket {
			door, what = "/api/", "no websocket"
		}
		return m, host.E(host.NotFound, "", "the plugin has no such route here; it is %s: %s %s", what, method, door+m.Route.Plugin+strings.TrimSuffix(m.Route.Path, "/"))
	}
	return nil, host.E(host.NotFound, "", "the plugin has no such route")
}

// unaryDoor answers one request through a plugin, or streams its events.
func (g *Gateway) unaryDoor(w http.ResponseWriter, r *http.Request) error {
	v, err := g.enter(r.Context(), r, session.Call)
	if err != nil {
		return err
	}
	defer v.close()
	if v.call.Match.Kind == manifest.Events {
		switch {
		case r.ContentLength != 0:
			return host.E(host.Invalid, "", "an event stream takes no body")
		case r.Method == http.MethodHead:
			eventHeader(w.Header())
			w.WriteHeader(http.StatusOK)
			return nil
		}
		return g.events(w, r, v)
	}
	if v.call.Body, err = g.readBody(v.session.Context(), w, r, v.generation.BodyBytes()); err != nil {
		return err
	}
	ctl := http.NewResponseController(w)
	defer v.session.OnEnd(func(error) { _ = ctl.SetWriteDeadline(time.Now().Add(lingerTimeout)) })()
	ctx, cancel := context.WithTimeout(v.session.Context(), v.generation.Timeout())
	defer cancel()
	resp, err := v.generation.Handle(ctx, v.call)
	if err != nil {
		return err
	}
	if resp.Body, err = redact.JSON(resp.Body, v.call.Obligations.Redact); err != nil {
		infoOf(r.Context()).log.Error("an answer that policy wants redacted is "+err.Error(), "action", string(v.call.Caller.Route.Action))
		return &host.Error{Kind: host.Forbidden, Message: "you may not see this answer", Detail: "not_redactable"}
	}
	if !v.session.Alive() {
		return v.session.Cause()
	}
	return g.writeResponse(w, r, v, resp)
}

func pathAndQuery(path, query string) string {
	u := url.URL{Path: path, RawQuery: query}
	return u.RequestURI()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
