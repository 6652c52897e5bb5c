package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/console"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/account"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/admin"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/host/telemetry"
)

// base is what outlives configurations: what listens, what remembers, and what runs
// plugins.
type base struct {
	log      *slog.Logger
	listener net.Listener
	started  time.Time
	took     atomic.Int64 // nanoseconds of the start, once it is over
	stopping atomic.Bool
	life     context.Context // ends with the host
	serial   atomic.Uint64   // numbers parts

	// Opened with the first runtime; see openFacts.
	state    *state.Store
	sessions *session.Table
	ender    *session.Ender
	plugins  *plugin.Registry
	packages *artifact.Store
	fleet    *fleet.Fleet

	trail   *audit.Trail
	audited *part // what the trail uses; nil before and after

	metricsListener net.Listener // nil: there are no metrics
	metrics         *telemetry.Metrics
	export          *telemetry.Export // nil: nothing is sent

	current atomic.Pointer[Runtime]
	// rules is the configuration whose rules on packages count: that of current, or the one
	// that is about to be.
	rules   atomic.Pointer[Config]
	retired sync.WaitGroup // runtimes that are being closed
	brokers sync.Map       // parts, by their *capability.Broker
	mu      sync.Mutex
	changed chan struct{} // closed when another runtime is published

	configuration interface {
		admin.Configuration
		problem() error
	}

	closers []func(context.Context) error // in order of opening
}

// Server is one running host. Open, then Serve, then Close.
type Server struct {
	*base
	*reloads
}

// Open takes the listener, opens everything and loads the plugins. Requests
// are answered from Serve on. An error is one that the operator can mend and
// names the configuration's field; nothing is left open then.
//
// If the configuration was read from a file, the host follows the file from then on;
// see Reload. log follows the section log if it is one of Log.Logger.
func Open(ctx context.Context, c *Config, log *slog.Logger) (_ *Server, err error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{base: &base{log: log, started: time.Now(), life: life, changed: make(chan struct{})}}
	s.reloads = newReloads(s.base, c)
	for _, name := range c.ignored() {
		log.Warn("an environment variable is not a key of the configuration and is ignored", "name", name)
	}
	defer func() {
		if err != nil {
			err = c.File.Locate(errors.Join(err, s.Close()))
		}
	}()
	s.closing(func(context.Context) error { end(); return nil })
	opening := context.AfterFunc(ctx, end)
	if err := c.adjust(); err != nil {
		return nil, err
	}
	if s.listener, err = listen(c); err != nil {
		return nil, config.At("listen", err)
	}
	s.closing(func(context.Context) error { _ = s.listener.Close(); return nil })
	if err := s.openTelemetry(ctx, c.Metrics); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	for _, open := range []func(context.Context) error{s.openFleet, s.followFacts, s.openStatus, s.openOperator, s.openMetrics, s.follow} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	if !opening() {
		return nil, context.Cause(ctx)
	}
	s.took.Store(int64(time.Since(s.started)))
	log.Info("started", "version", Version(), "commit", Commit(), "took", time.Since(s.started).Round(time.Millisecond))
	return s, nil
}

// closing registers what Close does, last opened first.
func (b *base) closing(f func(context.Context) error) { b.closers = append(b.closers, f) }

// openFacts opens the store and what knows it, for the first runtime, which is next:
// the session table and the registry of plugins. Later runtimes find them open.
func (b *base) openFacts(next *Runtime) (err error) {
	if b.state != nil {
		return nil
	}
	c := next.config
	if b.state, err = state.Open(b.life, state.Config{Dir: c.Data, Options: c.State, Logger: b.log}); err != nil {
		b.state = nil
		return config.At("data", err)
	}
	b.closing(func(context.Context) error { return b.state.Close() })
	b.trail = audit.NewTrail(b.state.Replica(), b.log)
	b.closing(b.closeAudit)
	b.sessions = session.NewTable(b.state.Revoked, session.Options{
		Bounds: c.Limits.bounds(), Lapsed: b.state.Lapsed, Decide: b.redecide, Closed: b.metrics.SessionEnded, Logger: b.log,
		Opened: b.sessionOpened, Ended: b.sessionEnded,
	})
	b.ender = session.NewEnder(b.sessions, b.state)
	publishing, stop := context.WithCancel(b.life)
	var published sync.WaitGroup
	published.Go(func() { b.sessions.Publish(publishing, b.state) })
	b.closing(func(context.Context) error { stop(); published.Wait(); return nil })
	b.closing(func(ctx context.Context) error { b.sessions.Shutdown(ctx); return nil })
	b.closing(func(context.Context) error { b.publish(nil); b.retired.Wait(); return nil })
	box, err := sandbox.New(sandbox.Config{CacheDir: filepath.Join(c.Data, "compiled"), Logger: b.log})
	if err != nil {
		return config.At("data", err)
	}
	b.packages, err = artifact.OpenStore(filepath.Join(c.Data, "packages"), 0, b.log)
	if err != nil {
		return config.At("data", err)
	}
	b.plugins, err = plugin.NewRegistry(plugin.Options{
		Sandbox: box, Hold: b.hold, Limits: c.Limits.Plugins, User: c.Limits.User,
		Dir: filepath.Join(c.Data, "plugins"), Logger: b.log, Fetch: fleet.Fetch(b.state, fetcher(b.packages)), Policy: b.packageRules,
		Called: c.Instrument.called(), Counted: b.countCall, Swapped: b.countSwap, Transition: b.pluginChanged,
	})
	if err != nil {
		return config.At("data", err)
	}
	b.closing(b.plugins.Close)
	b.fleet = fleet.New(fleet.Config{Store: b.state, Registry: b.plugins, Packages: allowed{b}, Logger: b.log})
	return nil
}

// pin returns the runtime of now and keeps its parts open until unpin; nil once the
// host has ended.
func (b *base) pin() *Runtime {
	for {
		rt := b.current.Load()
		if rt == nil {
			return nil
		}
		if n := rt.holds.Load(); n > 0 && rt.holds.CompareAndSwap(n, n+1) {
			return rt
		}
	}
}

// unpin ends a pin. What nothing uses any more closes in the background: the caller may
// be a request.
func (b *base) unpin(rt *Runtime) {
	if rt != nil && rt.holds.Add(-1) == 0 {
		b.retired.Go(rt.close)
	}
}

// publish makes next the runtime that serves; nil at the end.
func (b *base) publish(next *Runtime) {
	old := b.current.Swap(next)
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	if old != nil {
		b.unpin(old)
	}
}

// published returns a channel that is closed when another runtime is published. Call it
// before you look at the current one.
func (b *base) published() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// decide asks the policy of now. Everything that asks policy does so through it and
// redecide, so that no part of an earlier configuration decides anything.
func (b *base) decide(ctx context.Context, q *host.Question) host.Decision {
	rt := b.pin()
	defer b.unpin(rt)
	if rt == nil {
		return host.Decision{}
	}
	ctx, span := trace.Start(ctx, "bulkhead.decide")
	d := rt.policy.Decide(ctx, q)
	b.metrics.Decision(ctx, q.Capability != nil, &d)
	decided(span, q, &d)
	rt.config.Instrument.decided(ctx, q, d)
	return d
}

// redecide asks about what runs already.
func (b *base) redecide(ctx context.Context, q *host.Question) host.Decision {
	rt := b.pin()
	defer b.unpin(rt)
	if rt == nil {
		return host.Decision{}
	}
	return rt.policy.Redecide(ctx, q)
}

// would asks without a record.
func (b *base) would(ctx context.Context, q *host.Question) host.Decision {
	rt := b.pin()
	defer b.unpin(rt)
	if rt == nil {
		return host.Decision{}
	}
	return rt.policy.Would(ctx, q)
}

// followFacts ends the sessions of users whom login methods, directory or policy do not
// permit any more, whichever replica or configuration brought the change.
func (s *Server) followFacts(ctx context.Context) error {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			published := s.published()
			rt := s.current.Load()
			people, policy := rt.people.Changed(), rt.policy.Changed()
			s.ender.EndWhere(func(p *host.Principal) bool {
				_, ok := rt.people.PersonOf(p)
				return !ok || !rt.signIn.Accepts(p)
			}, host.ErrNoLonger)
			s.sessions.Redecide(context.WithoutCancel(ctx))
			select {
			case <-people:
			case <-policy:
			case <-published:
			case <-stop:
				return
			}
		}
	}()
	s.closing(func(context.Context) error { close(stop); <-done; return nil })
	return nil
}

// startTimeout bounds how long a start waits for the plugins that administrators
// installed. They go on to be loaded after it.
const startTimeout = 2 * time.Minute

// openFleet loads what administrators installed, and follows that from then on. What
// cannot be loaded is reported and does not keep the host from serving: it could not be
// mended otherwise.
func (s *Server) openFleet(ctx context.Context) error {
	s.closing(func(context.Context) error { s.fleet.Close(); return nil })
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.fleet.Start(ctx)
	return nil
}

// mount makes the gateway with everything that mounts itself there.
func (b *building) mount() {
	rt, c := b.Runtime, b.config
	b.gateway = gateway.New(gateway.Config{
		Listen: b.listener.Addr().String(), PublicURL: b.public, Authn: b.signIn, Sessions: b.sessions, Decide: b.decide, Logger: b.log, Served: b.metrics.Request, Tracer: b.export.Tracer(), Audit: b.trail,
		Health: gateway.Health{
			Version: Version(), Commit: Commit(), Started: b.started, Methods: c.Auth.Methods(), OAuthConfigured: c.Auth.OAuthConfigured(),
			Checks:   b.checks,
			Degraded: b.base.degraded,
			Clusters: b.countClusters,
			Stopping: b.stopping.Load,
		},
	})
	kinds := c.Catalog()
	account.Mount(rt.gateway, account.Config{SignIn: b.signIn, Sessions: b.ender, Audit: b.trail, Plugins: b.plugins.List, Would: b.would})
	admin.Mount(rt.gateway, admin.Config{Sessions: b.ender, Directory: rt.people, HostView: b.hostView, Kinds: kinds,
		Policy: policyOf{b.base, kinds}, Configuration: b.configuration, Plugins: b.fleet, Uploads: b.state, Audit: b.trail})
	console.Mount(rt.gateway)
	door.Mount(rt.gateway, door.Config{
		Lease:  func(name string, p *host.Principal) (door.Plugin, bool) { return b.plugins.Lease(name, p) },
		Behind: b.fleet.Behind, Page: b.plugins.Page, PublicURL: b.public,
	})
}

// ServeHTTP answers a request by the gateway of now.
func (b *base) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.current.Load().gateway.ServeHTTP(w, r)
}

// policyOf is the tools for the policy of now. It implements admin.Policy.
type policyOf struct {
	*base
	kinds *capability.Catalog
}

func (p policyOf) tools(rt *Runtime) *policytool.Tools {
	return &policytool.Tools{Engine: rt.policy, Kinds: p.kinds, Directory: rt.people, Log: rt.config.Policy.Log.File}
}

func (p policyOf) Status() authz.Status {
	rt := p.pin()
	defer p.unpin(rt)
	return p.tools(rt).Status()
}

func (p policyOf) Explain(ctx context.Context, q *host.Question) *policytool.Explanation {
	rt := p.pin()
	defer p.unpin(rt)
	return p.tools(rt).Explain(ctx, q)
}

func (p policyOf) Compare(ctx context.Context, bundle []byte) (*policytool.DiffReport, error) {
	rt := p.pin()
	defer p.unpin(rt)
	return p.tools(rt).Compare(ctx, bundle)
}

// hostView is what this host has, for explaining a question about a plugin.
func (s *base) hostView(plugin string) *policytool.HostView {
	v := &policytool.HostView{}
	if p := s.plugins.Get(plugin); p != nil {
		known := p.View()
		v.Routes, v.Check = known.Routes, known.Check
	}
	for _, p := range s.plugins.List(nil) {
		v.Plugins = append(v.Plugins, p.Name)
	}
	for _, c := range s.current.Load().config.Clusters {
		v.Clusters = append(v.Clusters, c.Name)
	}
	return v
}

// checks must pass for requests to be sent here. A policy that is refused while
// an earlier one serves is no reason to send them elsewhere: every replica
// follows the same, and one slip would take out all of them. One that can decide
// nothing is: whatever is sent here is denied.
func (b *base) checks() map[string]error {
	checks := map[string]error{"state": b.state.Ready()}
	if err := b.current.Load().policy.Deciding(); err != nil {
		checks["policy"] = err
	}
	return checks
}

func (b *base) degraded() map[string]error {
	rt := b.current.Load()
	degraded := map[string]error{"directory": rt.people.Degraded(), "configuration": b.configuration.problem(), "plugins": b.fleet.Problem()}
	if rt.certificate != nil {
		degraded["tls"] = rt.certificate.Problem()
	}
	if !rt.config.Audit.Off {
		degraded["audit"] = b.auditProblem()
	}
	if rt.config.Policy.Log.Enabled() {
		degraded["decisionLog"] = rt.policy.LogProblem()
	}
	if rt.policy.Deciding() == nil {
		degraded["policy"] = rt.policy.Ready()
	}
	return degraded
}

func (b *base) countClusters() (up, all int) {
	list := b.current.Load().clusters.Ready()
	for _, c := range list {
		if c.Ready {
			up++
		}
	}
	return up, len(list)
}

// watches counts the watches of API servers that users share.
func (b *base) watches() int { return b.current.Load().clusters.Watches() }

// URL is where the host is reached.
func (s *Server) URL() string { return s.current.Load().public.String() }

func (s *Server) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    gateway.MaxHeaderBytes,
		// OPTIONS * is refused like any other path.
		DisableGeneralOptionsHandler: true,
		// No WriteTimeout: it would cut event streams. Doors bound their calls.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Serve answers requests until ctx is done or the listener fails. It returns
// nil in the first case, with all requests answered and all sessions ended, as
// far as the time for an orderly end allows.
func (s *Server) Serve(ctx context.Context) error {
	srv := s.newServer(s.first.Instrument.handler(s))
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(encrypted{s.listener, s.base}) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	ending, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	// Sockets first: Shutdown does not know of connections taken over.
	s.sessions.Shutdown(ending)
	err := srv.Shutdown(ending)
	<-failed
	return err
}

// Close ends what is left and frees everything, in the opposite order of
// opening. It may be called repeatedly.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	var errs []error
	for len(s.closers) > 0 {
		last := s.closers[len(s.closers)-1]
		s.closers = s.closers[:len(s.closers)-1]
		errs = append(errs, last(ctx))
	}
	return errors.Join(errs...)
}
