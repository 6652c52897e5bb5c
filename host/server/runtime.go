package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

// Runtime is everything that one configuration describes, but for the plugins, whose
// generations the registry holds. It is built whole and never changed. What has to be
// closed in it is a part, shared with the runtimes before and after it where they are
// configured alike, and closed once nothing uses it any more.
type Runtime struct {
	config *Config
	digest string // of the configuration
	parts  map[string]*part
	opened []*part // in this order
	// brokers are those of the plugins, by name. A plugin keeps its own while the
	// providers that it is granted are the same.
	brokers map[string]*part

	certificate *follow.Value[*tls.Certificate] // nil without TLS
	public      *url.URL
	clusters    *cluster.Set
	people      *directory.Directory
	peopleID    uint64 // of its part
	policy      *authz.Engine
	broker      *capability.Broker
	signIn      *authn.Service
	gateway     *gateway.Gateway

	holds atomic.Int64 // of who published it and of requests that are being admitted
}

// part returns the part of this name, nil if there is none. A nil Runtime has none.
func (rt *Runtime) part(name string) *part {
	if rt == nil {
		return nil
	}
	return rt.parts[name]
}

// close releases all parts.
func (rt *Runtime) close() { releaseAll(rt.opened) }

// building is a Runtime on its way.
type building struct {
	*base
	*Runtime
	previous *Runtime // nil: this is the first one
}

// add makes p, which was used for it, a part of the runtime.
func (b *building) add(name string, p *part) {
	b.parts[name] = p
	b.opened = append(b.opened, p)
}

// build makes the runtime of a checked configuration. It takes over from previous, the
// one that serves, each part that is configured alike. On error everything that it
// opened is closed, nothing of previous has changed, and the error names the fields.
func build(c *Config, b *base, previous *Runtime) (*Runtime, error) {
	next := &building{base: b, previous: previous, Runtime: &Runtime{
		config: c, digest: config.Digest(config.Sections(c)), parts: map[string]*part{}, brokers: map[string]*part{},
	}}
	for _, step := range []func() error{
		next.openListener, next.openClusters, next.openDirectory, next.openPolicy, next.openFacts, next.openAudit, next.openProviders, next.openSignIn,
	} {
		if err := step(); err != nil {
			next.close()
			return nil, err
		}
	}
	next.mount()
	next.holds.Store(1)
	return next.Runtime, nil
}

// openListener reads the certificate. The listener itself is the base's.
func (b *building) openListener() (err error) {
	if b.public, err = b.config.public(b.listener.Addr()); err != nil {
		return config.At("publicURL", err)
	}
	t := b.config.TLS
	if t == nil {
		return nil
	}
	b.certificate, _, err = partOf(b, "tls", t, nil, func() (*follow.Value[*tls.Certificate], func(), error) {
		v, err := follow.KeyPair(t.Cert, t.Key, b.log)
		return v, nil, config.At("tls", err)
	})
	return err
}

// openClusters opens what capabilities reach and the directory may be read from.
func (b *building) openClusters() (err error) {
	b.clusters, _, err = partOf(b, "clusters", b.config.Clusters, nil, func() (*cluster.Set, func(), error) {
		before := new(cluster.Set)
		if b.previous != nil {
			before = b.previous.clusters
		}
		set, err := before.Reopen(b.life, b.config.Clusters, b.log)
		if err != nil {
			return nil, nil, err
		}
		return set, set.Close, nil
	})
	return err
}

// openPolicy opens the policy engine.
func (b *building) openPolicy() (err error) {
	policy := b.config.Policy.config()
	policy.Keep, policy.Directory, policy.Logger = filepath.Join(b.config.Data, "policy"), b.people, b.log
	policy.Changed = b.policyChanged
	policy.Labels = map[string]string{"app": "bulkhead", "version": Version()}
	b.policy, _, err = partOf(b, "policy", b.config.Policy, []*part{b.parts["directory"]}, func() (*authz.Engine, func(), error) {
		e, err := authz.Open(b.life, policy)
		if err != nil {
			return nil, nil, err
		}
		if err := e.Deciding(); err != nil && b.previous != nil {
			return nil, nil, config.At("policy", errors.Join(err, e.Close())) // the earlier one decides
		}
		return e, func() {
			if err := e.Close(); err != nil {
				b.log.Warn("the policy engine was not closed in order", "error", err)
			}
		}, nil
	})
	return err
}

// openFacts opens what the base has of the first runtime: the store, and what knows it.
func (b *building) openFacts() error { return b.base.openFacts(b.Runtime) }

// openProviders opens the capabilities and makes the broker.
func (b *building) openProviders() error {
	recordings, recorded, err := partOf(b, "recordings", b.config.Recordings, nil, func() (*recording.Store, func(), error) {
		s, err := recording.Open(b.config.RecordingsDir(), b.config.Recordings, b.log)
		return s, nil, err
	})
	if err != nil {
		return err
	}
	h := &all.Host{Clusters: b.clusters, Recordings: recordings, Sealer: b.state, Data: b.config.Data, Logger: b.log}
	// The registry is opened after the first runtime's providers, and before a request.
	h.Judge = func(ctx context.Context, c *capability.Caller, policy string, request []byte) error {
		return b.base.plugins.Judge(ctx, c, policy, request)
	}
	var providers []capability.Provider
	var needs []*part
	var problems []error
	for _, o := range b.config.Openings() {
		var uses []*part
		if o.Clusters {
			uses = append(uses, b.parts["clusters"])
		}
		if o.Recordings {
			uses = append(uses, recorded)
		}
		provider, p, err := partOf(b, providerOf+o.Name, o.Section, uses, func() (capability.Provider, func(), error) {
			p, err := o.Open(h)
			if err != nil {
				return nil, nil, err
			}
			served := b.config.Instrument.provider(p)
			if closer, ok := p.(interface{ Close() }); ok {
				return served, closer.Close, nil
			}
			return served, nil, nil
		})
		if err != nil {
			problems = append(problems, err)
			continue
		}
		providers, needs = append(providers, provider), append(needs, p)
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	broker, p, err := partOf(b, brokerPart, nil, needs, func() (*capability.Broker, func(), error) {
		broker := capability.NewBroker(b.decide, b.log, providers...)
		broker.Audit(b.trail)
		broker.Observe(b.observed(b.config.Instrument.exchanged()))
		return broker, func() { b.base.brokers.Delete(broker) }, nil
	})
	if err == nil {
		b.broker = broker
		b.base.brokers.Store(broker, p)
	}
	return err
}

const (
	brokerPart = "broker"
	providerOf = "provider:" // and the name of the capability
)

// brokerOf returns the broker for a plugin of next that is granted these capabilities:
// that of the previous runtime while none of their providers is another one.
func brokerOf(next, previous *Runtime, name string, granted []string) *capability.Broker {
	p := next.part(brokerPart)
	if previous != nil {
		if old := previous.brokers[name]; old != nil && sameProviders(old, next, granted) {
			p = old
		}
	}
	next.brokers[name] = p.use()
	next.opened = append(next.opened, p)
	return p.value.(*capability.Broker)
}

// sameProviders reports whether a broker has rt's providers of these capabilities.
func sameProviders(old *part, rt *Runtime, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		provider := rt.part(providerOf + name)
		return provider == nil || !slices.Contains(old.needs, provider)
	})
}

// openSignIn opens the login methods.
func (b *building) openSignIn() (err error) {
	c := b.config
	b.signIn, _, err = partOf(b, "auth", []any{c.Auth, c.Limits.Rates, b.public.String()}, nil, func() (*authn.Service, func(), error) {
		s, err := authn.New(authn.Config{
			PublicURL: b.public, State: b.state, Sessions: b.ender, Directory: persons{b.base},
			Options: c.Auth, Rates: c.Limits.Rates, Logger: b.log, Audit: b.trail,
		})
		return s, nil, err
	})
	return err
}
