package capability

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Broker connects plugins to the providers of this host. It is immutable and safe
// for concurrent use.
type Broker struct {
	decide    func(context.Context, *host.Question) host.Decision
	logger    *slog.Logger
	catalog   *Catalog
	providers map[string]Provider
}

// NewBroker makes a broker. decide is policy; it must not be nil. Two providers
// of one name, and a kind with streams whose provider opens none, are defects and
// panic.
func NewBroker(decide func(context.Context, *host.Question) host.Decision, logger *slog.Logger, providers ...Provider) *Broker {
	if decide == nil {
		panic("capability: no policy")
	}
	b := &Broker{decide: decide, logger: logger, providers: map[string]Provider{}}
	var kinds []*Kind
	for _, p := range providers {
		k := p.Kind()
		if _, opens := p.(Opener); k.Streams && !opens {
			panic("capability: " + k.Name + " has streams and its provider opens none")
		}
		kinds = append(kinds, k)
		b.providers[k.Name] = p
	}
	b.catalog = NewCatalog(kinds...)
	return b
}

// Catalog is the kinds of the broker's providers.
func (b *Broker) Catalog() *Catalog { return b.catalog }

// Granted is what one plugin may call, and calls it. It is immutable and safe for
// concurrent use.
type Granted struct {
	*Grants
	broker *Broker
}

// Grant returns what a plugin may call by its grants. The error is that of
// Catalog.Check.
func (b *Broker) Grant(plugin string, grants map[string][]Grant) (*Granted, error) {
	g, err := b.catalog.Grant(plugin, grants)
	if err != nil {
		return nil, err
	}
	return &Granted{g, b}, nil
}

// Fetch makes one call for the caller. Errors are for ErrorFrame.
func (g *Granted) Fetch(ctx context.Context, c *Caller, capability string, r *abi.Request) (resp *abi.Response, err error) {
	defer g.contain(c, capability, &err)
	p, err := g.permit(ctx, c, capability, r)
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
	resp, err = g.broker.providers[capability].Fetch(ctx, p)
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
	if _, ok := g.by[capability]; ok && !g.Streams(capability) {
		return nil, host.E(host.Invalid, capability, "capability %q has no streams", capability)
	}
	p, err := g.permit(ctx, c, capability, r)
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
	s, err = g.broker.providers[capability].(Opener).Open(ctx, p)
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
func (g *Granted) permit(ctx context.Context, c *Caller, capability string, r *abi.Request) (*Permit, error) {
	entry, ok := g.by[capability]
	switch {
	case c == nil || !c.Principal.Known() || c.Authority == nil:
		return nil, &host.Error{Kind: host.Unauthenticated, Op: capability, Message: "a plugin acts for a person; there is none here"}
	case !ok:
		return nil, notGranted(g.plugin, &host.CapabilityCall{Name: capability}, nil)
	}
	if err := g.ended(ctx, c); err != nil {
		return nil, err
	}
	if r.Host != nil {
		return nil, &host.Error{Kind: host.Invalid, Op: capability, Message: "a plugin must not write the host section"}
	}
	prepared, err := entry.Classify(r)
	if err != nil {
		return nil, err
	}
	prepared.Call.Name = capability
	prepared.Call.Spans = entry.open(&prepared.Call) != ""
	p := &Permit{Caller: c, Prepared: prepared, granted: g, entry: entry}
	if err := entry.admit(g.plugin, p); err != nil {
		return nil, err
	}
	if err := readsOnly(&c.Route, &p.Call); err != nil {
		return nil, err
	}
	if err := g.broker.ask(ctx, &entry, p); err != nil {
		return nil, err
	}
	return p, nil
}

// unmet is the reason for refusing a call that policy allows on a condition
// that nothing here can meet.
const unmet = "obligation_not_supported"

// ask puts the call to policy and takes its obligations over.
func (b *Broker) ask(ctx context.Context, e *granted, p *Permit) error {
	c := p.Caller
	p.question = &host.Question{Principal: c.Principal, Route: c.Route, Resource: c.Resource, Capability: &p.Call, Reason: c.Reason}
	d := b.decide(ctx, p.question)
	if !d.Allow {
		return notPermitted(&p.Call, cmp.Or(d.Reason.Code, "denied"))
	}
	p.Decision, p.Obligations = d.ID, d.Obligations
	return e.confine(p, &c.Obligations, &d.Obligations)
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
	if err := p.entry.admit(g.plugin, &Permit{Prepared: Prepared{Call: like}}); err != nil {
		return host.Obligations{}, notGrantedFor(g.plugin, &call, &like, p.entry.Dimensions)
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
