package authn

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

const (
	// flowLife is how long a user may take to sign in at the provider.
	flowLife = 10 * time.Minute
	// exchangeTimeout bounds all requests to the provider in one callback.
	exchangeTimeout = 10 * time.Second

	stateType     = "bulkhead-state+jwt"
	stateAudience = "bulkhead-signin"
	maxRedirect   = 1 << 10 // percent-encoded, in bytes
	signInPage    = "/login"
)

// provider is a login method that redirects the browser to a provider, which
// redirects it back with a code (OAuth 2.0, RFC 6749, section 4.1).
type provider interface {
	mapper
	// issuer returns the value of the callback's "iss" parameter (RFC 9207), and
	// whether the parameter is required.
	issuer(context.Context) (name string, always bool, err error)
	// begin returns the URL of the provider's sign-in page.
	begin(ctx context.Context, state string, once secrets) (string, error)
	// finish exchanges the code and returns the identity.
	finish(ctx context.Context, code string, once secrets) (Identity, error)
}

// secrets are those of one sign-in, derived from the secret of the browser that
// started it.
type secrets struct {
	nonce    string
	verifier string // of PKCE, RFC 7636
}

// binding is a browser's secret during sign-in. It is in a cookie, and its hash is
// in each state issued to that browser, so that a state is valid in that browser
// only.
type binding [32]byte

func (b *binding) hash() string {
	sum := sha256.Sum256(b[:])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (b *binding) secrets(flow string) secrets {
	derive := func(purpose string) string {
		mac := hmac.New(sha256.New, b[:])
		mac.Write([]byte(purpose + "\x00" + flow))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	return secrets{nonce: derive("nonce"), verifier: derive("verifier")}
}

func (s *Service) readBinding(r *http.Request) (b binding, ok bool) {
	c, err := r.Cookie(s.cookie.name + "-signin")
	if err != nil {
		return b, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(c.Value)[:min(len(c.Value), 43)])
	return b, err == nil && n == len(b) && len(c.Value) == 43
}

func (s *Service) setBinding(w http.ResponseWriter, b binding) {
	c := cookie{s.cookie.name + "-signin", s.cookie.secure}
	c.write(w, base64.RawURLEncoding.EncodeToString(b[:]), int(flowLife.Seconds()))
}

// flow is the content of the state parameter. It is signed, not stored: an
// abandoned sign-in uses no storage, and a sign-in can finish after a restart.
type flow struct {
	jwt.RegisteredClaims
	Method   string `json:"method"`
	Redirect string `json:"redirect"`
	Browser  string `json:"browser"` // the binding's hash
}

// Begin handles GET /auth/login?method=NAME&redirect=PATH: it redirects the browser
// to the provider, which redirects it to Callback. The method is optional if there
// is only one. A cross-site request is redirected to the sign-in page instead.
func (s *Service) Begin(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	query := r.URL.Query()
	redirect, ok := localPath(query.Get("redirect"))
	if !ok {
		return host.E(host.Invalid, "authn.login", "redirect: must be a path on this site, such as /pods")
	}
	if len(redirect) > maxRedirect {
		redirect = "/" // a longer state may exceed providers' limits for URLs
	}
	method := query.Get("method")
	if method == "" && len(s.providers) == 1 {
		for method = range s.providers {
		}
	}
	p := s.providers[method]
	if p == nil {
		return host.E(host.NotFound, "authn.login", "method: no such login method; GET /login lists them")
	}
	if s.CheckSite(r) != nil {
		http.Redirect(w, r, signInPage+"?"+url.Values{"redirect": {redirect}}.Encode(), http.StatusSeeOther)
		return nil
	}
	browser, ok := s.readBinding(r)
	if !ok {
		rand.Read(browser[:])
	}
	f := flow{Method: method, Redirect: redirect, Browser: browser.hash()}
	f.ID, f.Audience = rand.Text(), jwt.ClaimStrings{stateAudience}
	f.Issuer, f.ExpiresAt = s.issuer, jwt.NewNumericDate(time.Now().Add(flowLife))
	state, err := s.signAs(stateType, f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), exchangeTimeout)
	defer cancel()
	to, err := p.begin(ctx, state, browser.secrets(f.ID))
	if err != nil {
		s.signInFailed(w, r, method, redirect, failure{"provider_unavailable", "", err})
		return nil
	}
	s.setBinding(w, browser)
	if s.switchCookie().read(r) == method {
		to = withAccountChoice(to)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// switchCookie holds, for flowLife, the method of the browser's last sign-in that
// was refused as not_allowed. Without it, a provider that keeps users signed in
// would send the same account again.
func (s *Service) switchCookie() cookie { return cookie{s.cookie.name + "-switch", s.cookie.secure} }

// withAccountChoice makes the provider ask which account to use (OpenID Connect
// Core 1.0, section 3.1.2.1; GitHub supports the parameter too).
func withAccountChoice(authorize string) string {
	u, err := url.Parse(authorize)
	if err != nil {
		return authorize
	}
	q := u.Query()
	q.Set("prompt", "select_account")
	u.RawQuery = q.Encode()
	return u.String()
}

// failure says why a sign-in failed: a code and the provider's description, if any,
// for the page, and the cause for the log.
type failure struct {
	code        string
	description string
	err         error
}

// Callback handles GET /auth/callback/NAME, to which the provider redirects the
// browser. The answer is a redirect: to the path that Begin was given; to
// /login?error=CODE if the sign-in failed; to / if it failed but the browser is
// already signed in.
func (s *Service) Callback(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	method := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	p := s.providers[method]
	if p == nil {
		return host.E(host.NotFound, "authn.callback", "the path names no configured login method")
	}
	f, id, failed := s.finishSignIn(r, method, p)
	if failed.code == "" {
		var raw string
		var who *host.Principal
		id.Remote = s.RemoteAddr(r)
		raw, who, failed = s.admit(r.Context(), id)
		if failed.code == "" {
			if err := s.endPrevious(r); err != nil {
				return err
			}
			s.log.Info("signed in", "user", string(who.User), "method", method, "requestId", w.Header().Get("X-Request-Id"))
			s.cookie.set(w, raw, who.Login.Until)
			s.switchCookie().clear(w)
			http.Redirect(w, r, f.Redirect, http.StatusSeeOther)
			return nil
		}
	}
	s.signInFailed(w, r, method, f.Redirect, failed)
	return nil
}

// finishSignIn checks that this browser started the sign-in on this host and has
// not finished it before, and gets the identity from the provider.
func (s *Service) finishSignIn(r *http.Request, method string, p provider) (f flow, id Identity, failed failure) {
	query := r.URL.Query()
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(query[name]) > 1 { // RFC 6749, section 3.1
			return f, id, failure{"csrf_validation_failed", "", fmt.Errorf("the callback has parameter %s more than once", name)}
		}
	}
	browser, _ := s.readBinding(r)
	f, stateErr := s.readState(query.Get("state"), method, browser)
	if stateErr != nil {
		f = flow{}
	}
	if code := query.Get("error"); code != "" {
		if code != "access_denied" {
			code = "provider_error"
		}
		return f, id, failure{code, text.ASCII(query.Get("error_description"), maxShown), errors.New(text.ASCII(query.Get("error"), maxShown))}
	}
	code := query.Get("code")
	if code == "" {
		return f, id, failure{code: "missing_code"}
	}
	if stateErr != nil {
		return f, id, failure{"csrf_validation_failed", "", stateErr}
	}
	ctx, cancel := context.WithTimeout(r.Context(), exchangeTimeout)
	defer cancel()
	issuer, always, err := p.issuer(ctx)
	if err != nil {
		return f, id, failure{"provider_unavailable", "", err}
	}
	if got := query.Get("iss"); got != issuer && (got != "" || always) {
		return f, id, failure{"csrf_validation_failed", "", refuse("parameter iss", got, "is not the provider's issuer, %q", issuer)}
	}
	first, err := s.State.Once(ctx, "signin/"+f.ID, f.ExpiresAt.Time)
	if err != nil {
		return f, id, failure{"oauth_state_store_failed", "", err}
	}
	if !first {
		return f, id, failure{"csrf_validation_failed", "", errors.New("the state was used before")}
	}
	if id, err = p.finish(ctx, code, browser.secrets(f.ID)); err != nil {
		return f, id, exchangeFailure(err)
	}
	return f, id, failure{}
}

func (s *Service) readState(raw, method string, browser binding) (flow, error) {
	var f flow
	if len(raw) > maxToken {
		return f, errBadToken
	}
	if _, err := s.states.ParseWithClaims(raw, &f, s.keyOf(stateType)); err != nil {
		return f, err
	}
	if subtle.ConstantTimeCompare([]byte(f.Browser), []byte(browser.hash())) != 1 {
		return f, errors.New("the sign-in was started in another browser")
	}
	if f.Method != method || f.ID == "" {
		return f, errors.New("the sign-in was started with another provider")
	}
	return f, nil
}

// admit makes a login for an identity that a provider asserts.
func (s *Service) admit(ctx context.Context, id Identity) (string, *host.Principal, failure) {
	raw, p, err := s.Issue(ctx, id)
	switch host.KindOf(err) {
	case host.Unauthenticated:
		return "", nil, failure{"not_allowed", "", err}
	case host.TooLarge:
		return "", nil, failure{"too_many_groups", "", err}
	}
	if err != nil {
		return "", nil, failure{"temporarily_unavailable", "", err}
	}
	return raw, p, failure{}
}

func (s *Service) signInFailed(w http.ResponseWriter, r *http.Request, method, redirect string, f failure) {
	s.log.Warn("sign-in failed", append(errorAttrs(f.err), "code", f.code, "method", method, "requestId", w.Header().Get("X-Request-Id"))...)
	s.noteRefusal(r, method, f.code, f.err)
	if _, err := s.Resolve(r); err == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if f.code == "not_allowed" {
		s.switchCookie().write(w, method, int(flowLife.Seconds()))
	}
	query := url.Values{"error": {f.code}}
	if f.description != "" {
		query.Set("error_description", f.description)
	}
	if redirect != "" && redirect != "/" {
		query.Set("redirect", redirect)
	}
	http.Redirect(w, r, signInPage+"?"+query.Encode(), http.StatusSeeOther)
}

// unreadable means that the provider's answer does not identify the user.
type unreadable struct{ error }

func (u unreadable) Unwrap() error { return u.error }

// busy means that the provider cannot answer now: it is overloaded, limits
// requests, or fails. It does not mean that the user is refused.
type busy struct{ error }

func (b busy) Unwrap() error { return b.error }

// isBusy reports whether a retry may help after this status.
func isBusy(status int) bool { return status >= 500 || status == http.StatusTooManyRequests }

// exchangeFailure returns the failure for an error in the exchange with the
// provider. The error's text goes to the log only.
func exchangeFailure(err error) failure {
	f := failure{"exchange_failed", "", err}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := 0
		if e.Response != nil {
			status = e.Response.StatusCode
		}
		// Without the body, which may hold tokens.
		f.err = fmt.Errorf("the token endpoint answers %d %s", status, text.ASCII(e.ErrorCode+" "+e.ErrorDescription, maxShown))
		switch {
		case e.ErrorCode == "invalid_client" || e.ErrorCode == "unauthorized_client" || e.ErrorCode == "incorrect_client_credentials":
			f.code = "invalid_client"
		case e.ErrorCode == "redirect_uri_mismatch":
			f.code = "redirect_mismatch"
		case isBusy(status) || e.ErrorCode == "temporarily_unavailable" || e.ErrorCode == "slow_down":
			f.code = "temporarily_unavailable"
		}
	} else if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		f.code = "network_error"
	} else if host.KindOf(err) == host.TooLarge {
		f.code = "too_many_groups"
	} else if _, ok := errors.AsType[busy](err); ok {
		f.code = "temporarily_unavailable"
	} else if _, ok := errors.AsType[unreadable](err); ok {
		f.code = "user_fetch_failed"
	} else if _, ok := errors.AsType[*refusal](err); ok {
		f.code = "not_allowed"
	}
	return f
}

// localPath returns s as a path of this site with its query, or "/" if s is empty.
// It percent-encodes spaces and characters beyond ASCII, which a decoded query
// parameter may contain. It returns false if a browser could read s as a URL of
// another site.
func localPath(s string) (string, bool) {
	if s == "" {
		return "/", true
	}
	if s[0] != '/' || strings.HasPrefix(s, "//") {
		return "", false
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c < ' ' || c == 0x7f || c == '\\':
			return "", false
		case c == ' ' || c > 0x7f:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	s = b.String()
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(u.Path, "\\\t\r\n") {
		return "", false
	}
	return s, true
}
