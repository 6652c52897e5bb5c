package authn

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Person is who somebody is, as far as it can change.
type Person struct {
	Name  string
	Roles []string // sorted
	Teams []string // sorted ids
}

// Directory knows the users. Its methods answer from memory and are safe for
// concurrent use.
type Directory interface {
	// PersonOf reads User, Asserted and Unlisted of the principal. It returns ok
	// false for somebody disabled or unknown, who is then nobody.
	PersonOf(*host.Principal) (p Person, ok bool)
	// Revision changes whenever an answer of PersonOf may have changed.
	Revision() uint64
}

// Store keeps logins and signing keys; *state.Store is one, and says what the
// methods promise.
type Store interface {
	CreateLogin(context.Context, state.LoginRecord) (state.LoginRecord, error)
	Login(host.LoginID) (state.LoginRecord, bool)
	Revoked(*host.Principal) error
	EndLogin(context.Context, host.LoginID) error
	EndLoginAndSessions(context.Context, host.LoginID) error
	EndUserLogins(context.Context, host.UserID) error
	Keys() []state.Key
	KeyEpoch() uint64
}

// Sessions ends what people have running; *session.Table is one. Authority is
// gone when a method returns; ctx bounds the wait for the rest.
type Sessions interface {
	EndUser(ctx context.Context, user host.UserID, cause error) session.Result
	EndLogin(ctx context.Context, user host.UserID, id host.LoginID, cause error) session.Result
}

// Config is what a Service is made of.
type Config struct {
	// PublicURL is where browsers find the console: https, or http on a
	// loopback address. The cookie and the allowed origin follow from it.
	PublicURL *url.URL
	State     Store
	Sessions  Sessions
	Directory Directory
	// Dev lets anybody on this machine sign in as anybody in the directory.
	Dev bool
	// TokenLife is how long a token is good without a refresh; 0 means 1 h.
	TokenLife time.Duration
	// LoginLife is how long a login lasts at most; 0 means 12 h.
	LoginLife time.Duration
	// Logger receives sign-ins and sign-outs; nil discards them.
	Logger *slog.Logger
}

// Service resolves requests and keeps people's sign-in. It is safe for
// concurrent use.
type Service struct {
	Config
	log     *slog.Logger
	cookie  cookie
	origins map[string]bool
	tokens  tokenCache
	issuer  string
	strict  *jwt.Parser
	lenient *jwt.Parser // for signing out only: expiry does not matter
}

// New returns a service. An error names the field of Config that is wrong.
func New(c Config) (*Service, error) {
	switch {
	case c.PublicURL == nil || c.PublicURL.Host == "":
		return nil, host.E(host.Invalid, "authn", "publicURL: required")
	case c.State == nil || c.Sessions == nil || c.Directory == nil:
		return nil, host.E(host.Internal, "authn", "state, sessions and directory are required")
	case c.TokenLife < 0 || c.LoginLife < 0:
		return nil, host.E(host.Invalid, "authn", "lifetimes must not be negative")
	}
	local := c.PublicURL.Scheme == "http" && isLoopback(c.PublicURL.Hostname())
	if c.PublicURL.Scheme != "https" && !local {
		return nil, host.E(host.Invalid, "authn", "publicURL: %s must be https, or http on a loopback address", c.PublicURL)
	}
	if c.Dev && !isLoopback(c.PublicURL.Hostname()) {
		return nil, host.E(host.Invalid, "authn", "auth.dev: only with a publicURL on a loopback address, not %s", c.PublicURL)
	}
	if c.TokenLife == 0 {
		c.TokenLife = time.Hour
	}
	if c.LoginLife == 0 {
		c.LoginLife = 12 * time.Hour
	}
	s := &Service{Config: c, log: c.Logger, cookie: cookieFor(c.PublicURL), origins: originsOf(c.PublicURL)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.issuer = originOf(c.PublicURL)
	s.strict, s.lenient = parsers(s.issuer)
	return s, nil
}

func isLoopback(hostname string) bool {
	if hostname == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(hostname)
	return err == nil && addr.Unmap().IsLoopback()
}

func isLoopbackAddr(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
