package authn

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Person is what the directory knows of a user.
type Person struct {
	Name  string
	Roles []string // sorted
	Teams []string // sorted ids
}

// Directory knows the users. Its methods answer from memory and are safe for
// concurrent use.
type Directory interface {
	// PersonOf reads User, Asserted and Unlisted of the principal. It returns false
	// if the user is disabled, or unlisted where listing is required.
	PersonOf(*host.Principal) (p Person, ok bool)
	// Revision changes whenever a result of PersonOf may have changed.
	Revision() uint64
}

// Store keeps logins and signing keys. *state.Store implements and documents it.
type Store interface {
	CreateLogin(context.Context, host.LoginRecord) (host.LoginRecord, error)
	AdmitLogin(context.Context, host.LoginRecord) (host.LoginRecord, error)
	Once(ctx context.Context, name string, until time.Time) (bool, error)
	Login(host.LoginID) (host.LoginRecord, bool)
	Activity(host.LoginID) (state.Activity, bool)
	Use(host.LoginID, time.Time)
	RenewTokens(ctx context.Context, id host.LoginID, from uint64) (uint64, error)
	Revoked(*host.Principal) error
	Keys() []state.Key
	KeyEpoch() uint64
}

// Sessions ends logins and sessions; *session.Ender does, and says what the methods
// promise.
type Sessions interface {
	End(context.Context, session.Scope, error) (session.Result, error)
	Here(host.UserID) []host.SessionInfo
}

// Config is what a Service is made of.
type Config struct {
	// PublicURL is the console's address for browsers: https, or http on a
	// loopback address. It determines the cookie, the allowed origin and the
	// callback URLs.
	PublicURL *url.URL
	State     Store
	Sessions  Sessions
	Directory Directory
	// Options is the operator's configuration, checked by Options.Check.
	Options Options
	// Rates bound requests per client and account.
	Rates Rates
	// Logger receives sign-ins, those that failed, and sign-outs; nil discards them.
	Logger *slog.Logger
	// Audit records sign-ins, refused ones too, and sign-outs; nil records nothing.
	Audit *audit.Trail
}

// Service resolves the principals of requests and owns sign-in, refresh and logout.
// It is safe for concurrent use.
type Service struct {
	Config
	log     *slog.Logger
	cookie  cookie
	origins map[string]bool
	tokens  tokenCache
	issuer  string
	keys    keys
	life    struct{ token, login, idle time.Duration }

	strict  *jwt.Parser
	lenient *jwt.Parser // for logout only: accepts expired tokens
	states  *jwt.Parser
	codes   *jwt.Parser // of programs

	mappers     map[string]mapper // by login method
	providers   map[string]provider
	bearers     map[string]*oidcProvider // by issuer
	proxy       *trustedProxy            // nil if not configured
	proxyLogins proxyLogins

	operator      atomic.Pointer[token] // of the admin socket; nil before its first request
	operatorLogin singleflight.Group

	clients, accounts *buckets
	reports           *buckets // limit how often a refusal is logged
	forwarded         peerSet
}

// New returns a service. Errors name the invalid option.
func New(c Config) (*Service, error) {
	switch {
	case c.PublicURL == nil || c.PublicURL.Host == "":
		return nil, host.E(host.Invalid, "authn", "publicURL: required")
	case c.State == nil || c.Sessions == nil || c.Directory == nil:
		return nil, host.E(host.Internal, "authn", "state, sessions and directory are required")
	}
	local := c.PublicURL.Scheme == "http" && netaddr.IsLoopback(c.PublicURL.Hostname())
	if c.PublicURL.Scheme != "https" && !local {
		return nil, host.E(host.Invalid, "authn", "publicURL: %s must be https, or http on a loopback address", c.PublicURL)
	}
	if c.Options.Dev != nil && !netaddr.IsLoopback(c.PublicURL.Hostname()) {
		return nil, host.E(host.Invalid, "authn", "auth.dev: needs a publicURL on a loopback address, not %s", c.PublicURL)
	}
	s := &Service{Config: c, log: c.Logger, cookie: cookieFor(c.PublicURL), origins: originsOf(c.PublicURL)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.life.token = lifetime(c.Options.Lifetimes.Token, time.Hour)
	s.life.login = lifetime(c.Options.Lifetimes.Login, 12*time.Hour)
	s.life.idle = lifetime(c.Options.Lifetimes.Idle, 30*time.Minute)
	s.clients, s.accounts = newBuckets(c.Rates.Client, 20), newBuckets(c.Rates.Account, 200)
	s.reports = newBuckets(1.0/reportEvery, 0)
	var err error
	if s.forwarded, err = parsePeers(c.Rates.ForwardedFrom); err != nil {
		return nil, host.E(host.Invalid, "authn", "limits.rates.forwardedFrom: %v", err)
	}
	s.keys = ownKeys{c.State}
	if c.Options.Signing != nil {
		if s.keys, err = newSecretKey(c.Options.Signing, s.log); err != nil {
			return nil, err
		}
	}
	s.issuer = originOf(c.PublicURL)
	s.strict, s.lenient, s.states, s.codes = parsers(s.issuer, s.keys.method())
	return s, s.openMethods()
}

// openMethods sets up the configured login methods. A login by a method that is
// not configured any more is rejected.
func (s *Service) openMethods() error {
	o := &s.Options
	s.mappers, s.providers, s.bearers = map[string]mapper{methodOperator: fixedRoles{"admin"}}, map[string]provider{}, map[string]*oidcProvider{}
	if o.Dev != nil {
		s.mappers[methodDev] = &Mapping{}
	}
	for i, c := range o.OIDC {
		p, err := newOIDC(c, fmt.Sprintf("auth.oidc[%d]", i), s.PublicURL, s.log)
		if err != nil {
			return err
		}
		s.mappers[methodOf(c.Name)] = p
		if c.ClientID != "" {
			s.providers[c.Name] = p
		}
		if c.Bearer {
			s.bearers[c.Issuer] = p
		}
	}
	if o.GitHub != nil {
		p, err := newGitHub(*o.GitHub, s.PublicURL, s.log)
		if err != nil {
			return err
		}
		s.mappers[methodGitHub], s.providers[methodGitHub] = p, p
	}
	if o.Proxy != nil {
		var err error
		if s.proxy, err = newProxy(o.Proxy); err != nil {
			return err
		}
	}
	if o.Disabled != nil {
		s.proxy = newDisabled(o.Disabled)
		s.log.Warn("authentication is disabled: every request that reaches this host is accepted", "roles", o.Disabled.Roles)
	}
	if s.proxy != nil {
		s.mappers[s.proxy.method] = s.proxy.mapping
	}
	return nil
}

// Accepts reports whether the method of p's login is configured.
func (s *Service) Accepts(p *host.Principal) bool {
	_, ok := s.mappers[p.Login.Method]
	return ok
}

func lifetime(d host.Duration, otherwise time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return otherwise
}
