package authn

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// oidcProvider is a provider as its discovery document describes it. Discovery
// happens at the first use, so that the host starts and serves without the provider.
type oidcProvider struct {
	OIDC
	secret   *follow.Value[string]
	redirect string
	client   *http.Client

	discovering singleflight.Group
	mu          sync.Mutex
	found       *discovered
	failed      error
	failedAt    time.Time
}

// retryDiscovery is how long a failed discovery is not repeated.
const retryDiscovery = 2 * time.Second

type discovered struct {
	*oidc.Provider
	oauth    oauth2.Config
	verify   *oidc.IDTokenVerifier // for sign-ins
	bearer   *oidc.IDTokenVerifier // for bearer tokens; the caller checks the audience
	metadata struct {
		Issuer      string   `json:"issuer"`
		SendsIssuer bool     `json:"authorization_response_iss_parameter_supported"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		EndSession  string   `json:"end_session_endpoint"`
		Token       string   `json:"token_endpoint"`
		Keys        string   `json:"jwks_uri"`
		UserInfo    string   `json:"userinfo_endpoint"`
		Authorize   string   `json:"authorization_endpoint"`
	}
}

func newOIDC(c OIDC, at string, public *url.URL, log *slog.Logger) (*oidcProvider, error) {
	p := &oidcProvider{OIDC: c, redirect: callbackURL(public, c.Name)}
	var err error
	if c.ClientID != "" {
		if p.secret, err = c.Secret.follow(at, log); err != nil {
			return nil, err
		}
	}
	p.client, err = newClient(at, c.CAFile, log)
	return p, err
}

func callbackURL(public *url.URL, method string) string {
	return originOf(public) + "/auth/callback/" + method
}

// newClient returns the HTTP client for a provider: verified TLS, no redirects,
// and limits on time, size and rate. The rate keeps tokens with unknown key ids from
// causing a fetch of keys each.
func newClient(at, caFile string, log *slog.Logger) (*http.Client, error) {
	followed, err := follow.NewTransport(caFile, log, func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 4
		t.ResponseHeaderTimeout = exchangeTimeout
	})
	if err != nil {
		return nil, config.At(at+".caFile", err)
	}
	return &http.Client{
		Transport: &bounded{followed, rate.NewLimiter(5, 10)},
		Timeout:   exchangeTimeout,
		// A redirect must not receive the client secret.
		CheckRedirect: follow.NoRedirects,
	}, nil
}

// maxAnswer bounds a provider's answer, in bytes.
const maxAnswer = 1 << 20

// bounded limits the size of answers and the rate of key fetches.
type bounded struct {
	*follow.Transport
	keys *rate.Limiter
}

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	// Only go-oidc's fetches of keys have this header; they run one at a time.
	if r.Header.Get("Cache-Control") == "no-cache" {
		if err := b.keys.Wait(r.Context()); err != nil {
			return nil, err
		}
	}
	resp, err := b.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// discover returns the provider's metadata (OpenID Connect Discovery 1.0).
func (p *oidcProvider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	found, failed := p.found, p.failed
	if time.Since(p.failedAt) > retryDiscovery {
		failed = nil
	}
	p.mu.Unlock()
	if found != nil || failed != nil {
		return found, failed
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-p.discovering.DoChan("", func() (any, error) {
		found, err := p.fetchDiscovery()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.found, p.failed, p.failedAt = found, err, time.Now()
		return found, err
	}):
		return r.Val.(*discovered), r.Err
	}
}

func (p *oidcProvider) fetchDiscovery() (*discovered, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.Background(), p.client), exchangeTimeout)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery of %s: %w", p.Name, err)
	}
	d := &discovered{Provider: provider}
	if err := provider.Claims(&d.metadata); err != nil {
		return nil, fmt.Errorf("discovery of %s: %w", p.Name, err)
	}
	for field, u := range map[string]string{"authorization_endpoint": d.metadata.Authorize, "token_endpoint": d.metadata.Token,
		"jwks_uri": d.metadata.Keys, "userinfo_endpoint": d.metadata.UserInfo, "end_session_endpoint": d.metadata.EndSession} {
		var bad config.Problems
		if u != "" || field == "jwks_uri" {
			checkEndpoint(&bad, field, u)
		}
		if err := bad.Err(); err != nil {
			return nil, fmt.Errorf("discovery of %s: %w", p.Name, err)
		}
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	m := d.metadata.AuthMethods
	if p.ClientAuth == authPost || p.ClientAuth == "" && len(m) > 0 && !slices.Contains(m, authBasic) {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	scopes := p.Scopes
	if len(scopes) == 0 {
		scopes = []string{"profile", "email"}
	}
	d.oauth = oauth2.Config{
		ClientID: p.ClientID, Endpoint: endpoint, RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, scopes...),
	}
	d.verify = provider.Verifier(&oidc.Config{ClientID: p.ClientID})
	d.bearer = provider.Verifier(&oidc.Config{SkipClientIDCheck: true})
	return d, nil
}

// checkEndpoint is checkURL, but allows a query.
func checkEndpoint(bad *config.Problems, field, s string) {
	if u, err := url.Parse(s); err == nil {
		u.RawQuery = ""
		s = u.String()
	}
	checkURL(bad, field, s)
}

func (p *oidcProvider) issuer(ctx context.Context) (string, bool, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", false, err
	}
	return d.metadata.Issuer, d.metadata.SendsIssuer, nil
}

func (p *oidcProvider) begin(ctx context.Context, state string, once secrets) (string, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return d.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(once.verifier), oidc.Nonce(once.nonce)), nil
}

func (p *oidcProvider) finish(ctx context.Context, code string, once secrets) (Identity, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return Identity{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	tokens, err := withSecret(d.oauth, p.secret).Exchange(ctx, code, oauth2.VerifierOption(once.verifier))
	if err != nil {
		return Identity{}, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" || len(raw) > maxIDToken {
		return Identity{}, unreadable{errors.New("the provider's answer has no id_token, or one that is too large")}
	}
	id, err := d.verify.Verify(ctx, raw)
	if err != nil {
		return Identity{}, unreadable{err}
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(once.nonce)) != 1 {
		return Identity{}, unreadable{errors.New("the id_token's nonce belongs to another sign-in")}
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			return Identity{}, unreadable{err}
		}
	}
	claims, err := claimsOf(id)
	if err == nil {
		err = p.authorized(claims)
	}
	if err != nil {
		return Identity{}, unreadable{err}
	}
	var warning error
	if p.lacksClaims(claims) && d.metadata.UserInfo != "" {
		warning, err = p.addUserInfo(ctx, d, tokens, id.Subject, claims)
		if err != nil {
			return Identity{}, unreadable{err}
		}
	}
	who, err := p.identity(id, claims)
	if err != nil {
		return Identity{}, err
	}
	if warning != nil {
		who.Warnings = append(who.Warnings, warning)
	}
	if p.EndSession && d.metadata.EndSession != "" && len(raw) <= maxHint {
		who.Hint = raw
	}
	return who, nil
}

// maxHint bounds the ID token that is kept for sign-out, in bytes. It becomes part
// of a URL and of the login's record.
const maxHint = 6 << 10

// maxIDToken bounds a provider's token before it is parsed, in bytes.
const maxIDToken = 64 << 10

// claimsOf returns a verified token's claims. The token must have sub, iat and exp.
func claimsOf(id *oidc.IDToken) (map[string]any, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, err
	}
	if id.Subject == "" || id.IssuedAt.IsZero() || id.Expiry.IsZero() {
		return nil, errors.New("the id_token lacks sub, iat or exp")
	}
	return claims, nil
}

// authorized refuses a token that was issued to another client (OpenID Connect
// Core 1.0, section 3.1.3.7).
func (p *oidcProvider) authorized(claims map[string]any) error {
	azp, ok := claims["azp"]
	if name, _ := azp.(string); ok && azp != nil && !p.ours(name) {
		return refuse(sourceClaim("azp"), azp, "is not clientID or one of audiences: the token was issued to another client")
	}
	return nil
}

// ours reports whether client is clientID or one of audiences.
func (p *oidcProvider) ours(client string) bool {
	return client != "" && (client == p.ClientID || slices.Contains(p.Audiences, client))
}

// lacksClaims reports whether claims that the mapping reads are absent.
func (p *oidcProvider) lacksClaims(claims map[string]any) bool {
	return slices.ContainsFunc(p.reads(), func(name string) bool {
		_, ok := claimAt(claims, name)
		return !ok
	})
}

// addUserInfo adds the claims of the userinfo endpoint that the token lacks
// (OpenID Connect Core 1.0, section 5.3). If the endpoint refuses (4xx) and the
// token names the user, warning says so and only the token's groups count. A
// temporary failure is an error: otherwise the user would lack their groups for the
// length of the login.
func (p *oidcProvider) addUserInfo(ctx context.Context, d *discovered, tokens *oauth2.Token, subject string, claims map[string]any) (warning, err error) {
	asked := &lastStatus{RoundTripper: p.client.Transport}
	client := *p.client
	client.Transport = asked
	info, err := d.UserInfo(oidc.ClientContext(ctx, &client), oauth2.StaticTokenSource(tokens))
	if err != nil {
		_, known := claimAt(claims, p.User)
		switch {
		case isBusy(asked.status):
			return nil, busy{fmt.Errorf("the userinfo endpoint answers %d", asked.status)}
		case !asked.refused():
			return nil, err
		case !known:
			return nil, refuse(sourceClaim(p.User), nil, "is not in the id_token, and the userinfo endpoint answers %d", asked.status)
		}
		return refuse("userinfo_endpoint", fmt.Sprintf("status %d", asked.status), "is a refusal; claims that the id_token lacks are missing"), nil
	}
	if info.Subject != subject {
		return nil, errors.New("the userinfo answer has another sub than the id_token")
	}
	var more map[string]any
	if err := info.Claims(&more); err != nil {
		return nil, err
	}
	// email_verified applies to the email beside it only.
	if email, ok := claims["email"]; ok && more["email"] != email {
		delete(more, "email_verified")
	}
	addClaims(claims, more)
	return nil, nil
}

// addClaims adds the members of more that claims lack, also inside objects.
func addClaims(claims, more map[string]any) {
	for name, v := range more {
		have, ok := claims[name]
		if !ok {
			claims[name] = v
			continue
		}
		object, isObject := have.(map[string]any)
		if others, too := v.(map[string]any); isObject && too {
			addClaims(object, others)
		}
	}
}

// lastStatus keeps the status of the last answer.
type lastStatus struct {
	http.RoundTripper
	status int
}

func (l *lastStatus) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		l.status = resp.StatusCode
	}
	return resp, err
}

// refused reports a 4xx status that a retry would not change.
func (l *lastStatus) refused() bool {
	return l.status >= 400 && l.status < 500 && l.status != http.StatusRequestTimeout
}

func (p *oidcProvider) identity(id *oidc.IDToken, claims map[string]any) (Identity, error) {
	if err := p.complete(claims); err != nil {
		return Identity{}, err
	}
	as, err := p.verified(claims)
	if err != nil {
		return Identity{}, err
	}
	user, err := p.userID(p.Name, as)
	if err != nil {
		return Identity{}, err
	}
	display := p.Display
	if display == "" {
		display = "name"
	}
	shownAs, _ := claimAt(claims, display)
	name, _ := shownAs.(string)
	return Identity{
		Issuer: id.Issuer, Subject: id.Subject, User: user, Method: methodOf(p.Name), Name: text.Line(name, maxDisplayName), Source: sourceClaim(p.User),
		Claims: p.kept(claims), Warnings: p.unusable(claims),
	}, nil
}

// methodOf returns the login method of a provider.
func methodOf(name string) string { return "oidc:" + name }

// maxDisplayName bounds a display name, in bytes.
const maxDisplayName = 200

// signOut returns the URL where a browser signs out of the provider, or "" if there
// is none (OpenID Connect RP-Initiated Logout 1.0). The hint is the ID token of the
// sign-in, which some providers require; it may be empty.
func (p *oidcProvider) signOut(public *url.URL, hint string) string {
	p.mu.Lock()
	d := p.found
	p.mu.Unlock()
	if !p.EndSession || d == nil || d.metadata.EndSession == "" {
		return ""
	}
	u, err := url.Parse(d.metadata.EndSession)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.ClientID)
	if hint != "" {
		q.Set("id_token_hint", hint)
	}
	q.Set("post_logout_redirect_uri", originOf(public)+signInPage)
	u.RawQuery = q.Encode()
	return u.String()
}
