package capability

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Broker knows the capabilities of this host. It is immutable and safe for
// concurrent use.
type Broker struct {
	decide func(context.Context, *host.Question) host.Decision
	logger *slog.Logger
	caps   map[string]Capability
}

// NewBroker makes a broker. decide is policy; it must not be nil. Two
// capabilities of one name are a defect and panic.
func NewBroker(decide func(context.Context, *host.Question) host.Decision, logger *slog.Logger, caps ...Capability) *Broker {
	if decide == nil {
		panic("capability: no policy")
	}
	b := &Broker{decide: decide, logger: logger, caps: map[string]Capability{}}
	for _, c := range caps {
		if b.caps[c.Name()] != nil {
			panic("capability: two are named " + c.Name())
		}
		b.caps[c.Name()] = c
	}
	return b
}

// Granted is what one plugin may call. It is immutable and safe for concurrent
// use.
type Granted struct {
	broker *Broker
	plugin string
	by     map[string]granted
}

type granted struct {
	Capability
	dims   []Dimension
	grants []Grant
}

// Capabilities are the names of all that this host has, sorted.
func (b *Broker) Capabilities() []string { return slices.Sorted(maps.Keys(b.caps)) }

// Widest writes the grant of all that the capability can do, as an operator would.
func (b *Broker) Widest(name string) string {
	return "[" + wanted(&host.CapabilityCall{}, b.caps[name].Dimensions()) + "]"
}

// Check reports everything wrong with a plugin's grants, each with its field
// below at: "grants.helm[0].actions".
func (b *Broker) Check(at string, grants map[string][]Grant) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		field := at + "." + name
		c := b.caps[name]
		if c == nil {
			problems = append(problems, fmt.Errorf("%s: there is no such capability; there are %s", field, strings.Join(b.Capabilities(), ", ")))
			continue
		}
		for i := range grants[name] {
			problems = append(problems, grants[name][i].check(fmt.Sprintf("%s[%d]", field, i), c.Dimensions()))
		}
	}
	return errors.Join(problems...)
}

// Grant makes what a plugin may call of its grants. The error is that of Check.
func (b *Broker) Grant(plugin string, grants map[string][]Grant) (*Granted, error) {
	if err := b.Check("grants", grants); err != nil {
		return nil, err
	}
	g := &Granted{broker: b, plugin: plugin, by: map[string]granted{}}
	for name, list := range grants {
		if c := b.caps[name]; len(list) > 0 {
			g.by[name] = granted{Capability: c, dims: c.Dimensions(), grants: slices.Clone(list)}
		}
	}
	return g, nil
}

// Names are the granted capabilities, sorted.
func (g *Granted) Names() []string { return slices.Sorted(maps.Keys(g.by)) }

// Streams reports whether the capability is granted and has streams.
func (g *Granted) Streams(name string) bool {
	_, ok := g.by[name].Capability.(Opener)
	return ok
}

// Fetch makes one call for the caller. Errors are for ErrorFrame.
func (g *Granted) Fetch(ctx context.Context, c *Caller, capability string, r *abi.Request) (resp *abi.Response, err error) {
	defer g.contain(c, capability, &err)
	p, entry, err := g.permit(ctx, c, capability, r)
	if err != nil {
		return nil, err
	}
	if !p.Obligations.MetBy(true, false) {
		return nil, notPermitted(&p.Call, unmet)
	}
	if d := p.Obligations.MaxSession; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, host.ErrTooLong)
		defer cancel()
	}
	resp, err = entry.Fetch(ctx, p, r)
	c.waits.note(resp, err)
	if lost := g.ended(ctx, c); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, g.failed(ctx, c, capability, err)
	}
	if err := fits(resp); err != nil {
		return nil, err
	}
	if resp.Body, err = redact.JSON(resp.Body, p.Obligations.Redact); err != nil {
		return nil, notPermitted(&p.Call, "not_redactable")
	}
	return resp, nil
}

// Open opens a stream for the caller, who closes or splices it.
func (g *Granted) Open(ctx context.Context, c *Caller, capability string, r *abi.Request) (s Stream, err error) {
	defer g.contain(c, capability, &err)
	if entry, ok := g.by[capability]; ok && !g.Streams(capability) {
		return nil, host.E(host.Invalid, entry.Name(), "capability %q has no streams", capability)
	}
	p, entry, err := g.permit(ctx, c, capability, r)
	if err != nil {
		return nil, err
	}
	if !p.Obligations.MetBy(false, true) {
		return nil, notPermitted(&p.Call, unmet)
	}
	leave, err := c.stand(p.question, p.Obligations)
	if err != nil {
		return nil, err
	}
	s, err = entry.Capability.(Opener).Open(ctx, p, r)
	if err != nil {
		leave()
	} else {
		s = &standingStream{s, leave}
	}
	if lost := g.ended(ctx, c); lost != nil {
		if err == nil {
			_ = s.Close()
		}
		return nil, lost
	}
	return s, g.failed(ctx, c, capability, err)
}

// failed logs what the guest and the person do not get to read of err, and
// returns it.
func (g *Granted) failed(ctx context.Context, c *Caller, capability string, err error) error {
	if err != nil && ErrorFrame(err).Status >= http.StatusInternalServerError {
		g.logger(c).WarnContext(ctx, "capability call failed", "plugin", g.plugin, "capability", capability, "error", err)
	}
	return err
}

func (g *Granted) logger(c *Caller) *slog.Logger {
	if c != nil && c.Logger != nil {
		return c.Logger
	}
	return g.broker.logger
}

func (c *Caller) stand(q *host.Question, allowed host.Obligations) (leave func(), err error) {
	if c.Stand == nil {
		return func() {}, nil
	}
	return c.Stand(q, allowed)
}

// standingStream is a stream with the decision that opened it.
type standingStream struct {
	Stream
	leave func()
}

func (s *standingStream) Splice(ctx context.Context, c Client) error {
	defer s.leave()
	return s.Stream.Splice(ctx, c)
}

func (s *standingStream) Close() error {
	s.leave()
	return s.Stream.Close()
}

// permit is everything that comes before the effect.
func (g *Granted) permit(ctx context.Context, c *Caller, capability string, r *abi.Request) (*Permit, granted, error) {
	entry, ok := g.by[capability]
	switch {
	case c == nil || !c.Principal.Known() || c.Authority == nil:
		return nil, entry, &host.Error{Kind: host.Unauthenticated, Op: capability, Message: "a plugin acts for a person; there is none here"}
	case !ok:
		return nil, entry, notGranted(g.plugin, &host.CapabilityCall{Name: capability}, nil)
	}
	if err := g.ended(ctx, c); err != nil {
		return nil, entry, err
	}
	if r.Host != nil {
		return nil, entry, &host.Error{Kind: host.Invalid, Op: capability, Message: "a plugin must not write the host section"}
	}
	call, err := entry.Classify(r)
	if err != nil {
		return nil, entry, err
	}
	call.Name = capability
	call.Spans = entry.open(&call) != ""
	p := &Permit{Caller: c, Call: call, granted: g, entry: entry}
	if err := entry.admit(g.plugin, p); err != nil {
		return nil, entry, err
	}
	if err := readsOnly(&c.Route, &call); err != nil {
		return nil, entry, err
	}
	if err := g.broker.ask(ctx, entry, p); err != nil {
		return nil, entry, err
	}
	return p, entry, nil
}

// admit compares the call with the grants.
func (e *granted) admit(plugin string, p *Permit) error {
	for i := range e.grants {
		if e.grants[i].covers(&p.Call, e.dims, "") {
			return nil
		}
	}
	open := e.open(&p.Call)
	var within []string
	for i := range e.grants {
		if open != "" && e.grants[i].covers(&p.Call, e.dims, open) {
			within = append(within, e.grants[i].list(open)...)
		}
	}
	if len(within) == 0 {
		return notGranted(plugin, &p.Call, e.dims)
	}
	p.Within = p.Within.and(within)
	return nil
}

// open returns the dimension that the call spans and the capability narrows,
// "" if there is none.
func (e *granted) open(call *host.CapabilityCall) string {
	s, ok := e.Capability.(Spanner)
	if !ok {
		return ""
	}
	if d := s.Spans(*call); d != "" && value(call, d) == "" {
		return d
	}
	return ""
}

// unmet is the reason for refusing a call that policy allows on a condition
// that nothing here can meet.
const unmet = "obligation_not_supported"

// ask puts the call to policy and takes its obligations over.
func (b *Broker) ask(ctx context.Context, e granted, p *Permit) error {
	c := p.Caller
	p.question = &host.Question{Principal: c.Principal, Route: c.Route, Resource: c.Resource, Capability: &p.Call, Reason: c.Reason}
	d := b.decide(ctx, p.question)
	if !d.Allow {
		return notPermitted(&p.Call, cmp.Or(d.Reason.Code, "denied"))
	}
	p.Decision, p.Obligations = d.ID, d.Obligations
	return e.confine(p, &c.Obligations, &d.Obligations)
}

// confine takes over what the decisions about route and call confine the call to.
func (e *granted) confine(p *Permit, route, own *host.Obligations) error {
	if own.Namespaces != nil && !e.has(Namespaced) || own.ResourceGroups != nil && !e.has(ResourceGroups) {
		return notPermitted(&p.Call, unmet)
	}
	for _, o := range []*host.Obligations{route, own} {
		if err := e.narrow(p, Namespaced, o.Namespaces, "other_namespace"); err != nil {
			return err
		}
		if err := e.narrow(p, ResourceGroups, lower(o.ResourceGroups), "other_resource_group"); err != nil {
			return err
		}
	}
	return nil
}

// Check returns why the host would refuse a call that policy allows with these
// obligations: what the grants lack, and what nothing here can meet. It makes no
// call, and a capability that is not open is enough for it.
func (g *Granted) Check(call host.CapabilityCall, o host.Obligations) error {
	entry, ok := g.by[call.Name]
	if !ok {
		var dims []Dimension
		if c := g.broker.caps[call.Name]; c != nil {
			dims = c.Dimensions()
		}
		return notGranted(g.plugin, &call, dims)
	}
	call.Spans = entry.open(&call) != ""
	p := &Permit{Call: call}
	if err := entry.admit(g.plugin, p); err != nil {
		return err
	}
	if streams := g.Streams(call.Name); !o.MetBy(!streams, streams) {
		return notPermitted(&call, unmet)
	}
	return entry.confine(p, &host.Obligations{}, &o)
}

func (e *granted) has(dimension string) bool {
	return slices.ContainsFunc(e.dims, func(d Dimension) bool { return d.Name == dimension })
}

// narrow confines the call to what one decision lists of a dimension: nil does
// not narrow, an empty list leaves nothing. A dimension that the capability does
// not have is not what the call is about.
func (e *granted) narrow(p *Permit, dimension string, list []string, refusal string) error {
	switch {
	case list == nil || !e.has(dimension):
	case e.open(&p.Call) == dimension:
		p.Within = p.Within.and(list)
	case !matchAny(list, value(&p.Call, dimension)):
		return notPermitted(&p.Call, refusal)
	}
	return nil
}

// readsOnly refuses a change by a route that is declared to read: what protects
// changes (CSRF, whenFull: deny, the audit) goes by the declaration.
func readsOnly(route *host.Route, call *host.CapabilityCall) error {
	if route.Mutates || call.Effect.Normal() != host.EffectChange {
		return nil
	}
	return changeByRead(route, call)
}

// Also puts another call that carrying out p takes to policy, and returns the
// obligations that it is allowed with; Impersonate, Redact and MaxSession are the
// capability's to meet. A call of p's own kind must be granted like p's; another
// kind's, such as the requests of the Kubernetes API that a helm upgrade sends,
// must be on a cluster and in a namespace for which p's own call is granted. A
// call that spans all namespaces needs a permission for all: it is not narrowed.
// Safe for concurrent use.
func (p *Permit) Also(ctx context.Context, call host.CapabilityCall) (host.Obligations, error) {
	g := p.granted
	if g == nil {
		return host.Obligations{}, notPermitted(&call, "denied")
	}
	if err := g.ended(ctx, p.Caller); err != nil {
		return host.Obligations{}, err
	}
	like := call
	if call.Name != p.Call.Name {
		like = p.Call
		like.Cluster, like.Namespace = call.Cluster, call.Namespace
	}
	if err := p.entry.admit(g.plugin, &Permit{Call: like}); err != nil {
		return host.Obligations{}, notGrantedFor(g.plugin, &call, &like, p.entry.dims)
	}
	c := p.Caller
	if err := readsOnly(&c.Route, &call); err != nil {
		return host.Obligations{}, err
	}
	call.Spans = false
	d := g.broker.decide(ctx, &host.Question{Principal: c.Principal, Route: c.Route, Resource: c.Resource, Capability: &call, Reason: c.Reason})
	o := d.Obligations
	switch {
	case !d.Allow:
		return host.Obligations{}, notPermitted(&call, cmp.Or(d.Reason.Code, "denied"))
	case !o.MetBy(true, false) || o.ResourceGroups != nil:
		return host.Obligations{}, notPermitted(&call, unmet)
	}
	for _, list := range [][]string{c.Obligations.Namespaces, o.Namespaces} {
		if list != nil && !matchAny(list, call.Namespace) {
			return host.Obligations{}, notPermitted(&call, "other_namespace")
		}
	}
	return o, nil
}

// ended is why the caller may have no effect any more, nil while it may.
func (g *Granted) ended(ctx context.Context, c *Caller) error {
	if c.Authority.Alive() {
		return context.Cause(ctx)
	}
	if err := c.Authority.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// contain turns a capability's panic into an error.
func (g *Granted) contain(c *Caller, capability string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = panicked(p, g.logger(c), "plugin", g.plugin, "capability", capability)
}

// fits refuses an answer that is no frame.
func fits(r *abi.Response) error {
	switch {
	case r == nil || r.Status < 100 || r.Status > 599:
		return &host.Error{Kind: host.Internal, Message: "the capability gave no answer"}
	case len(r.Body) > abi.MaxBody:
		return host.E(host.Upstream, "", "the answer is over %d bytes; narrow the request", abi.MaxBody)
	case len(r.Header) > abi.MaxHeaders:
		return host.E(host.Upstream, "", "the answer has over %d headers", abi.MaxHeaders)
	}
	return nil
}
