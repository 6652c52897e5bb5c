package gateway

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
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
func (v *visit) close() { v.session.Close() }

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
	match, missing := v.match(kind, r.Method, path)
	question := &host.Question{Principal: p, Reason: reason, Route: host.Route{
		// What does not exist is decided like a read, so that somebody without
		// rights cannot tell it from what is forbidden.
		Plugin: name, Action: host.Action(name + ":unknown.read"), Method: r.Method,
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
		RequestID: info.id, RemoteAddr: remoteHost(r),
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
	if _, err = v.session.Stand(question, o); err != nil {
		return nil, err
	}
	v.session.Limit(o.MaxSession, o.Idle)
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
		return nil, &host.Error{Kind: host.Invalid, Status: http.StatusMethodNotAllowed,
			Message: "this path has no such method", Detail: "allowed: " + strings.Join(allowed, ", ")}
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
		if r.ContentLength != 0 {
			return host.E(host.Invalid, "", "an event stream takes no body")
		}
		return g.events(w, r, v)
	}
	ctl := http.NewResponseController(w)
	defer v.session.OnEnd(func(error) { _ = ctl.SetWriteDeadline(time.Now().Add(lingerTimeout)) })()
	if v.call.Body, err = readBody(w, r, v.generation.BodyBytes()); err != nil {
		return err
	}
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
	return writeResponse(w, resp)
}

func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, host.E(host.TooLarge, "", "request body is over %d bytes", limit)
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	// A failure to set the deadline leaves the server's own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readBodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, host.E(host.TooLarge, "", "request body is over %d bytes", limit)
		}
		return nil, host.E(host.Invalid, "", "request body could not be read")
	}
	return body, nil
}

// Headers that cross in either direction. Anything that names a person, holds
// a credential or steers the connection stays outside.
var (
	inboundHeaders  = []string{"Accept", "Accept-Language", "Content-Type", "If-Match", "If-None-Match", "Last-Event-Id"}
	outboundHeaders = map[string]bool{
		"Content-Type": true, "Content-Disposition": true, "Content-Language": true,
		"Etag": true, "Last-Modified": true, "Retry-After": true,
	}
)

func inbound(h http.Header) []abi.Pair {
	var pairs []abi.Pair
	for _, name := range inboundHeaders {
		if v := h.Get(name); v != "" && len(v) <= abi.MaxString {
			pairs = append(pairs, abi.Pair{Name: name, Value: v})
		}
	}
	return pairs
}

// writeResponse passes a plugin's answer on. Its content is somebody else's:
// a browser must not run it as the console's.
func writeResponse(w http.ResponseWriter, resp *abi.Response) error {
	if resp.Status < 200 {
		return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it answered with an interim status"}
	}
	h := w.Header()
	for _, p := range resp.Header {
		name := http.CanonicalHeaderKey(p.Name)
		if outboundHeaders[name] && !strings.ContainsAny(p.Value, "\r\n\x00") {
			h.Set(name, p.Value)
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
	if resp.Status != http.StatusNoContent && resp.Status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(resp.Body)))
	}
	// Written out here, so that nothing follows the session's end.
	ctl := http.NewResponseController(w)
	_ = ctl.SetWriteDeadline(time.Now().Add(writeAnswerTimeout))
	w.WriteHeader(resp.Status)
	if _, err := w.Write(resp.Body); err != nil || ctl.Flush() != nil {
		return host.ErrClientGone
	}
	return nil
}

const writeAnswerTimeout = 30 * time.Second

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
