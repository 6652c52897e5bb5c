package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/account"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/admin"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Server is one running host. Open, then Serve, then Close.
type Server struct {
	config      *Config
	log         *slog.Logger
	listener    net.Listener
	certificate *follow.Value[*tls.Certificate] // nil without TLS
	public      *url.URL
	started     time.Time
	stopping    atomic.Bool

	clusters *cluster.Set
	sessions *session.Table
	ender    *session.Ender
	plugins  *plugin.Registry
	fleet    *fleet.Fleet
	gateway  *gateway.Gateway
	state    *state.Store
	people   *directory.Directory
	policy   *authz.Engine

	closers []func(context.Context) error // in order of opening
}

// Open takes the listener, opens everything and loads the plugins. Requests
// are answered from Serve on. An error is one that the operator can mend and
// names the configuration's field; nothing is left open then.
func Open(ctx context.Context, c *Config, log *slog.Logger) (_ *Server, err error) {
	s := &Server{config: c, log: log, started: time.Now()}
	for _, name := range c.ignored() {
		log.Warn("an environment variable is not a key of the configuration and is ignored", "name", name)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.listener, err = listen(c); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.closing(func(context.Context) error { _ = s.listener.Close(); return nil })
	if t := c.TLS; t != nil {
		if s.certificate, err = follow.KeyPair(t.Cert, t.Key, log); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	if s.public, err = c.public(s.listener.Addr()); err != nil {
		return nil, fmt.Errorf("publicURL: %w", err)
	}
	for _, open := range []func(context.Context) error{s.openCluster, s.openDirectory, s.openFacts, s.openPlugins, s.openFleet, s.openGateway, s.followFacts, s.openStatus, s.openOperator} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// closing registers what Close does, last opened first.
func (s *Server) closing(f func(context.Context) error) { s.closers = append(s.closers, f) }

// openFacts opens the policy engine and the state store.
func (s *Server) openFacts(ctx context.Context) error {
	var err error
	policy := s.config.Policy.config()
	policy.Keep, policy.Directory, policy.Logger = filepath.Join(s.config.Data, "policy"), s.people, s.log
	policy.Labels = map[string]string{"app": "bulkhead", "version": Version()}
	s.policy, err = authz.Open(ctx, policy)
	if err != nil {
		return err
	}
	s.closing(func(context.Context) error { return s.policy.Close() })
	if s.state, err = state.Open(ctx, state.Config{Dir: s.config.Data, Options: s.config.State, Logger: s.log}); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	s.closing(func(context.Context) error { return s.state.Close() })
	s.sessions = session.NewTable(s.state.Revoked, session.Options{
		Bounds: s.config.Limits.bounds(), Lapsed: s.state.Lapsed, Decide: s.policy.Redecide, Logger: s.log,
	})
	s.ender = session.NewEnder(s.sessions, s.state)
	publishing, stop := context.WithCancel(ctx)
	var published sync.WaitGroup
	published.Go(func() { s.sessions.Publish(publishing, s.state) })
	s.closing(func(context.Context) error { stop(); published.Wait(); return nil })
	s.closing(func(ctx context.Context) error { s.sessions.Shutdown(ctx); return nil })
	return nil
}

// followFacts ends the sessions of users whom directory or policy do not permit any
// more, whichever replica brought the change.
func (s *Server) followFacts(ctx context.Context) error {
	absent := func(p *host.Principal) bool {
		_, ok := s.people.PersonOf(p)
		return !ok
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			people, policy := s.people.Changed(), s.policy.Changed()
			s.ender.EndWhere(absent, host.ErrNoLonger)
			s.sessions.Redecide(context.WithoutCancel(ctx))
			select {
			case <-people:
			case <-policy:
			case <-stop:
				return
			}
		}
	}()
	s.closing(func(context.Context) error { close(stop); <-done; return nil })
	return nil
}

// openCluster opens what capabilities reach and the directory may be read from.
func (s *Server) openCluster(ctx context.Context) error {
	var err error
	s.clusters, err = cluster.Open(ctx, s.config.Clusters, s.log)
	if err != nil {
		return err
	}
	s.closing(func(context.Context) error { s.clusters.Close(); return nil })
	return nil
}

// openPlugins loads every plugin of the configuration. All that cannot be
// loaded are named at once.
func (s *Server) openPlugins(ctx context.Context) error {
	recordings, err := recording.Open(s.config.RecordingsDir(), s.config.Recordings, s.log)
	if err != nil {
		return err
	}
	providers, closing, err := s.config.Capabilities.Open(&all.Host{Clusters: s.clusters, Recordings: recordings, Sealer: s.state, Logger: s.log})
	s.closing(func(context.Context) error { closing(); return nil })
	if err != nil {
		return err
	}
	broker := capability.NewBroker(s.policy.Decide, s.log, providers...)
	box, err := sandbox.New(sandbox.Config{CacheDir: filepath.Join(s.config.Data, "compiled"), Logger: s.log})
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	s.plugins, err = plugin.NewRegistry(plugin.Options{
		Sandbox: box, Broker: broker, Limits: s.config.Limits.Plugins, User: s.config.Limits.User,
		Dir: filepath.Join(s.config.Data, "plugins"), Logger: s.log,
		Fetch: fleet.Fetch(s.state, nil),
	})
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	s.closing(s.plugins.Close)
	var problems []error
	for i, p := range s.config.Plugins {
		if _, err := s.plugins.Swap(ctx, plugin.Swap{Config: p, Origin: plugin.File}); err != nil {
			problems = append(problems, fmt.Errorf("plugins[%d]: %w", i, err))
		}
	}
	return errors.Join(problems...)
}

// startTimeout bounds how long a start waits for the plugins that administrators
// installed. They go on to be loaded after it.
const startTimeout = 2 * time.Minute

// openFleet loads what administrators installed, and follows that from then on. What
// cannot be loaded is reported and does not keep the host from serving: it could not be
// mended otherwise.
func (s *Server) openFleet(ctx context.Context) error {
	s.fleet = fleet.New(fleet.Config{Store: s.state, Registry: s.plugins, Logger: s.log})
	s.closing(func(context.Context) error { s.fleet.Close(); return nil })
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.fleet.Start(ctx)
	return nil
}

func (s *Server) openGateway(context.Context) error {
	people, err := authn.New(authn.Config{
		PublicURL: s.public, State: s.state, Sessions: s.ender, Directory: persons{s.people},
		Options: s.config.Auth, Rates: s.config.Limits.Rates, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.gateway = gateway.New(gateway.Config{
		Listen: s.listener.Addr().String(), PublicURL: s.public, Authn: people, Sessions: s.sessions, Decide: s.policy.Decide, Logger: s.log,
		Health: gateway.Health{
			Version: Version(), Started: s.started, Methods: s.config.Auth.Methods(), OAuthConfigured: s.config.Auth.OAuthConfigured(),
			Checks:   s.checks,
			Degraded: s.degraded,
			Clusters: s.countClusters,
			Stopping: s.stopping.Load,
		},
	})
	kinds := s.config.Catalog()
	account.Mount(s.gateway, account.Config{SignIn: people, Sessions: s.ender, Plugins: s.plugins.List, Would: s.policy.Would})
	admin.Mount(s.gateway, admin.Config{Sessions: s.ender, Directory: s.people, HostView: s.hostView, Kinds: kinds, Plugins: s.fleet, Uploads: s.state,
		Policy: &policytool.Tools{Engine: s.policy, Kinds: kinds, Directory: s.people, Log: s.config.Policy.Log.File}})
	door.Mount(s.gateway, door.Config{Lease: func(name string, p *host.Principal) (door.Plugin, bool) { return s.plugins.Lease(name, p) }})
	return nil
}

// hostView is what this host has, for explaining a question about a plugin.
func (s *Server) hostView(plugin string) *policytool.HostView {
	v := &policytool.HostView{}
	if p := s.plugins.Get(plugin); p != nil {
		known := p.View()
		v.Routes, v.Check = known.Routes, known.Check
	}
	for _, p := range s.plugins.List() {
		v.Plugins = append(v.Plugins, p.Name)
	}
	for _, c := range s.config.Clusters {
		v.Clusters = append(v.Clusters, c.Name)
	}
	return v
}

// checks must pass for requests to be sent here. A policy that is refused while
// an earlier one serves is no reason to send them elsewhere: every replica
// follows the same, and one slip would take out all of them. One that can decide
// nothing is: whatever is sent here is denied.
func (s *Server) checks() map[string]error {
	checks := map[string]error{"state": s.state.Ready()}
	if err := s.policy.Deciding(); err != nil {
		checks["policy"] = err
	}
	return checks
}

func (s *Server) degraded() map[string]error {
	degraded := map[string]error{"directory": s.people.Degraded(), "plugins": s.fleet.Problem()}
	if s.certificate != nil {
		degraded["tls"] = s.certificate.Problem()
	}
	if s.config.Policy.Log.Enabled() {
		degraded["decisionLog"] = s.policy.LogProblem()
	}
	if s.policy.Deciding() == nil {
		degraded["policy"] = s.policy.Ready()
	}
	return degraded
}

func (s *Server) countClusters() (up, all int) {
	list := s.clusters.Ready()
	for _, c := range list {
		if c.Ready {
			up++
		}
	}
	return up, len(list)
}

// URL is where the host is reached.
func (s *Server) URL() string { return s.public.String() }

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
	srv := s.newServer(s.gateway)
	failed := make(chan error, 1)
	go func() {
		if s.config.TLS != nil {
			srv.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Get(), nil }}
			failed <- srv.ServeTLS(s.listener, "", "")
		} else {
			failed <- srv.Serve(s.listener)
		}
	}()
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

// Version is the host's version as the Go toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
