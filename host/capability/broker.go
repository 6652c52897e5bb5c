package capability

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Broker connects plugins to the providers of this host. Once it is used it is immutable
// and safe for concurrent use.
type Broker struct {
	decide    func(context.Context, *host.Question) host.Decision
	logger    *slog.Logger
	catalog   *Catalog
	providers map[string]Provider
	observe   func(context.Context, *Exchange)
	trail     *audit.Trail
}

// NewBroker makes a broker. decide asks policy and must not be nil. NewBroker panics if
// two providers have the same name, or if a kind has streams and its provider is no
// Opener.
func NewBroker(decide func(context.Context, *host.Question) host.Decision, logger *slog.Logger, providers ...Provider) *Broker {
	if decide == nil {
		panic("capability: no policy")
	}
	b := &Broker{decide: decide, logger: logger, providers: map[string]Provider{}}
	var kinds []*Kind
	for _, p := range providers {
		k := p.Kind()
		if _, opens := p.(Opener); k.Streams && !opens {
			panic("capability: " + k.Name + " has streams, but its provider cannot open them")
		}
		kinds = append(kinds, k)
		b.providers[k.Name] = p
	}
	b.catalog = NewCatalog(kinds...)
	return b
}

// Exchange is one capability call and its outcome.
type Exchange struct {
	Plugin, Capability string
	Opens              bool         // it opens a stream
	Request            *abi.Request // as the plugin made it; must not be modified
	Response           *abi.Response
	Err                error // for ErrorFrame; nil with a Response or an open stream
	Took               time.Duration
}

// Observe makes f be told each call after it was answered. Call it before the broker is
// used; nil observes nothing.
func (b *Broker) Observe(f func(context.Context, *Exchange)) { b.observe = f }

// Audit makes t record each call that changes something, before and after it. A call that
// cannot be recorded is refused. Call it before the broker is used; nil records nothing.
func (b *Broker) Audit(t *audit.Trail) { b.trail = t }

// Catalog returns the kinds of the broker's providers.
func (b *Broker) Catalog() *Catalog { return b.catalog }

// Granted makes the capability calls of one plugin, within its grants. It is immutable
// and safe for concurrent use.
type Granted struct {
	*Grants
	broker *Broker
}

// Grant returns the Granted of a plugin with these grants. The error is that of
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
	ctx, span := g.span(ctx, capability)
	defer func() { ended(span, resp, err) }()
	if observe := g.broker.observe; observe != nil {
		began := time.Now()
		defer func() {
			observe(ctx, &Exchange{Plugin: g.plugin, Capability: capability, Request: r, Response: resp, Err: err, Took: time.Since(began)})
		}()
	}
	defer g.recover(c, capability, &err)
	p, err := g.permit(ctx, c, capability, r)
	if err == nil && !p.Obligations.MetBy(true, false) {
		err = notPermitted(&p.Call, unmet)
	}
	ctx, err = g.begin(ctx, p, err)
	if err != nil {
		return nil, err
	}
	defer func() { p.returned(resp, err) }()
	defer g.recover(c, capability, &err)
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

// Open opens a stream for the caller, who must close or splice it.
func (g *Granted) Open(ctx context.Context, c *Caller, capability string, r *abi.Request) (s Stream, err error) {
	ctx, span := g.span(ctx, capability)
	defer func() { ended(span, nil, err) }()
	if observe := g.broker.observe; observe != nil {
		began := time.Now()
		defer func() {
			observe(ctx, &Exchange{Plugin: g.plugin, Capability: capability, Opens: true, Request: r, Err: err, Took: time.Since(began)})
		}()
	}
	defer g.recover(c, capability, &err)
	if _, ok := g.by[capability]; ok && !g.Streams(capability) {
		return nil, host.E(host.Invalid, capability, "capability %q has no streams", capability)
	}
	p, err := g.permit(ctx, c, capability, r)
	if err == nil && !p.Obligations.MetBy(false, true) {
		err = notPermitted(&p.Call, unmet)
	}
	ctx, err = g.begin(ctx, p, err)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.returned(nil, err)
		}
	}()
	defer g.recover(c, capability, &err)
	release, err := c.hold(p.question, p.Obligations)
	if err != nil {
		return nil, err
	}
	s, err = g.broker.providers[capability].(Opener).Open(ctx, p)
	if err != nil {
		release()
	} else {
		s = &heldStream{s, p, release}
	}
	if lost := g.ended(ctx, c); lost != nil {
		if err == nil {
			_ = s.Close()
		}
		return nil, lost
	}
	return s, g.failed(ctx, c, capability, err)
}

// failed logs an error whose text the guest and the user do not see, and returns err.
func (g *Granted) failed(ctx context.Context, c *Caller, capability string, err error) error {
	if err != nil && ErrorFrame(err).Status >= http.StatusInternalServerError {
		g.logger(c).WarnContext(ctx, "capability call failed", "plugin", g.plugin, "capability", capability, "error", err)
	}
	return err
}

// maxFailures is how many failures of a caller's calls are logged: a guest can repeat a call
// that fails for as long as it runs.
const maxFailures = 100

// logger returns the logger for one more failure of the caller's calls.
func (g *Granted) logger(c *Caller) *slog.Logger {
	log := g.broker.logger
	if c == nil {
		return log
	}
	if c.Logger != nil {
		log = c.Logger
	}
	switch n := c.failures.Add(1); {
	case n == maxFailures:
		log.Warn("no more failures of this caller's capability calls are logged", "plugin", g.plugin)
	case n > maxFailures:
		return slog.New(slog.DiscardHandler)
	}
	return log
}

func (c *Caller) hold(q *host.Question, allowed host.Obligations) (release func(), err error) {
	if c.Hold == nil {
		return func() {}, nil
	}
	return c.Hold(q, allowed)
}

// heldStream is a stream with the standing decision that it depends on.
type heldStream struct {
	Stream
	permit  *Permit
	release func()
}

func (s *heldStream) Splice(ctx context.Context, c Client) (err error) {
	defer s.release()
	defer func() { s.permit.spliced(err) }()
	return s.Stream.Splice(host.WithCorrelation(ctx, s.permit.Correlation), c)
}

func (s *heldStream) Close() error {
	s.release()
	s.permit.notSpliced()
	return s.Stream.Close()
}

// permit makes all checks that precede the effect of a call. With an error, the permit is
// nil until it is known what the call is.
func (g *Granted) permit(ctx context.Context, c *Caller, capability string, r *abi.Request) (*Permit, error) {
	entry, ok := g.by[capability]
	switch {
	case c == nil || !c.Principal.Known() || c.Authority == nil:
		return nil, &host.Error{Kind: host.Unauthenticated, Op: capability, Message: "a capability call needs a user to act for"}
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
	prepared.Call.Spans = entry.spanned(&prepared.Call) != ""
	describe(trace.Of(ctx), &prepared.Call)
	p := &Permit{Caller: c, Prepared: prepared, granted: g, entry: entry}
	if err := entry.admit(g.plugin, p); err != nil {
		return p, err
	}
	if err := readsOnly(&c.Route, &p.Call); err != nil {
		return p, err
	}
	return p, g.broker.ask(ctx, &entry, p)
}

// unmet is the reason for refusing a call that policy allows on a condition that the
// host cannot meet.
const unmet = "obligation_not_supported"

// ask asks policy about the call and records its obligations in p.
func (b *Broker) ask(ctx context.Context, e *granted, p *Permit) error {
	c := p.Caller
	p.question = &host.Question{Principal: c.Principal, Route: c.Route, Resource: c.Resource, Capability: &p.Call, Reason: c.Reason}
	d := b.decide(ctx, p.question)
	p.Decision, p.revision = d.ID, d.Revision
	if !d.Allow {
		return notPermitted(&p.Call, cmp.Or(d.Reason.Code, "denied"))
	}
	p.Obligations = d.Obligations
	return e.confine(p, &c.Obligations, &d.Obligations)
}

// readsOnly refuses a change by a route that is declared to read, because the
// protections of changes (CSRF, whenFull: deny, the audit) depend on the declaration.
func readsOnly(route *host.Route, call *host.CapabilityCall) error {
	if route.Mutates || call.Effect.Normal() != host.EffectChange {
		return nil
	}
	return changeByRead(route, call)
}

// Also asks policy about a further call that is needed to carry out p, and returns the
// obligations of that decision; the capability must meet Impersonate, Redact and
// MaxSession. A call of p's own kind needs a grant, as p does. A call of another kind,
// such as a Kubernetes API request that a helm upgrade sends, must be in a cluster and
// a namespace that the grant of p covers. A call that spans all namespaces needs a
// permission for all of them: it is not narrowed. Safe for concurrent use.
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

// ended returns why the caller has lost its authority, nil while it has it.
func (g *Granted) ended(ctx context.Context, c *Caller) error {
	if c.Authority.Alive() {
		return context.Cause(ctx)
	}
	if err := c.Authority.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// recover turns a capability's panic into an error.
func (g *Granted) recover(c *Caller, capability string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = panicked(p, g.logger(c), "plugin", g.plugin, "capability", capability)
}

// fits refuses an answer that does not fit into a frame.
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
