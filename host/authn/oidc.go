package authn

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// oidcProvider is a provider as its discovery document describes it. It is
// discovered when it is first needed, so that the host starts and serves
// without it.
type oidcProvider struct {
	OIDC
	secret   string
	redirect string
	client   *http.Client

	discovering singleflight.Group
	mu          sync.Mutex
	found       *discovered
	failed      error
	failedAt    time.Time
}

// retryDiscovery is how long a failure to discover is believed.
const retryDiscovery = 2 * time.Second

type discovered struct {
	*oidc.Provider
	oauth  oauth2.Config
	verify *oidc.IDTokenVerifier // of sign-ins
	bearer *oidc.IDTokenVerifier // of tokens for any audience, which is for the caller to check
	also   struct {
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

func newOIDC(c OIDC, at string, public *url.URL) (*oidcProvider, error) {
	p := &oidcProvider{OIDC: c, redirect: callbackURL(public, c.Name)}
	var err error
	if c.ClientID != "" {
		if p.secret, err = c.Secret.read(at); err != nil {
			return nil, err
		}
	}
	p.client, err = newClient(at, c.CAFile)
	return p, err
}

func callbackURL(public *url.URL, method string) string {
	return originOf(public) + "/auth/callback/" + method
}

// newClient returns what providers are asked with: verified TLS, no proxy of a
// redirect's choosing, and bounds on time, size and rate. The rate is what keeps
// tokens signed with keys that do not exist from making us fetch keys each time.
func newClient(at, caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 4
	transport.ResponseHeaderTimeout = exchangeTimeout
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("%s.caFile: %w", at, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.caFile: %s holds no certificate", at, caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{
		Transport: &bounded{transport, rate.NewLimiter(5, 10)},
		Timeout:   exchangeTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { // a secret goes where it was meant to
			return http.ErrUseLastResponse
		},
	}, nil
}

// maxAnswer bounds what a provider may answer.
const maxAnswer = 1 << 20

// bounded limits an identity provider's answers, and how often keys are fetched.
type bounded struct {
	*http.Transport
	keys *rate.Limiter
}

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	// go-oidc marks its fetching of keys like this, and waits for one at a time.
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

// discover returns the provider's own description.
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
	if err := provider.Claims(&d.also); err != nil {
		return nil, fmt.Errorf("discovery of %s: %w", p.Name, err)
	}
	for field, u := range map[string]string{"authorization_endpoint": d.also.Authorize, "token_endpoint": d.also.Token,
		"jwks_uri": d.also.Keys, "userinfo_endpoint": d.also.UserInfo} {
		var bad complaints
		if u != "" || field == "jwks_uri" {
			checkEndpoint(&bad, field, u)
		}
		if len(bad) > 0 {
			return nil, fmt.Errorf("discovery of %s: %w", p.Name, bad[0])
		}
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if m := d.also.AuthMethods; len(m) > 0 && !slices.Contains(m, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	scopes := p.Scopes
	if len(scopes) == 0 {
		scopes = []string{"profile", "email"}
	}
	d.oauth = oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.secret, Endpoint: endpoint, RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, scopes...),
	}
	d.verify = provider.Verifier(&oidc.Config{ClientID: p.ClientID})
	d.bearer = provider.Verifier(&oidc.Config{SkipClientIDCheck: true})
	return d, nil
}

// checkEndpoint is checkURL for a URL that may have a query.
func checkEndpoint(bad *complaints, field, s string) {
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
	return d.also.Issuer, d.also.SendsIssuer, nil
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
	tokens, err := d.oauth.Exchange(ctx, code, oauth2.VerifierOption(once.verifier))
	if err != nil {
		return Identity{}, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" || len(raw) > maxIDToken {
		return Identity{}, unreadable{errors.New("the provider sent no usable id_token")}
	}
	id, err := d.verify.Verify(ctx, raw)
	if err != nil {
		return Identity{}, unreadable{err}
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(once.nonce)) != 1 {
		return Identity{}, unreadable{errors.New("the id_token's nonce is of another sign-in")}
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			return Identity{}, unreadable{err}
		}
	}
	claims, err := p.claimsOf(id)
	if err != nil {
		return Identity{}, unreadable{err}
	}
	if p.wants(claims) && d.also.UserInfo != "" {
		if err := addUserInfo(ctx, d, tokens, id.Subject, claims); err != nil {
			return Identity{}, unreadable{err}
		}
	}
	return p.identity(id, claims)
}

// maxIDToken bounds a provider's token before it is parsed.
const maxIDToken = 64 << 10

// claimsOf returns a verified token's claims, of which it demands what both
// uses of ID tokens need.
func (p *oidcProvider) claimsOf(id *oidc.IDToken) (map[string]any, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, err
	}
	azp, _ := claims["azp"].(string)
	switch {
	case id.Subject == "" || id.IssuedAt.IsZero() || id.Expiry.IsZero():
		return nil, errors.New("the id_token lacks sub, iat or exp")
	case azp != "" && azp != p.ClientID && !slices.Contains(p.Audiences, azp):
		return nil, errors.New("the id_token was given to another client")
	}
	return claims, nil
}

// wants reports whether claims that the mapping reads are absent.
func (p *oidcProvider) wants(claims map[string]any) bool {
	for _, name := range append([]string{p.User, p.Teams, p.Roles}, p.Claims...) {
		if _, ok := claims[name]; !ok && name != "" {
			return true
		}
	}
	return false
}

// addUserInfo adds what the provider says at its userinfo endpoint and not in
// the token (OpenID Connect Core 1.0, section 5.3).
func addUserInfo(ctx context.Context, d *discovered, tokens *oauth2.Token, subject string, claims map[string]any) error {
	info, err := d.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return err
	}
	if info.Subject != subject {
		return errors.New("the userinfo is about somebody else")
	}
	var more map[string]any
	if err := info.Claims(&more); err != nil {
		return err
	}
	// That an address is verified is said of that address alone.
	if email, ok := claims["email"]; ok && more["email"] != email {
		delete(more, "email_verified")
	}
	maps.Copy(more, claims)
	maps.Copy(claims, more)
	return nil
}

func (p *oidcProvider) identity(id *oidc.IDToken, claims map[string]any) (Identity, error) {
	user, err := p.userID(p.Name, claims)
	if err != nil {
		return Identity{}, err
	}
	display := p.Display
	if display == "" {
		display = "name"
	}
	name, _ := claims[display].(string)
	return Identity{
		Issuer: id.Issuer, Subject: id.Subject, User: user, Method: methodOf(p.Name), Name: printableName(name), Source: sourceClaim(p.User),
		Claims: p.kept(claims),
	}, nil
}

// methodOf is how a login says which provider it came by.
func methodOf(name string) string { return "oidc:" + name }

// printableName keeps a display name short and on one line.
func printableName(s string) string {
	runes := []rune(s)
	runes = slices.DeleteFunc(runes[:min(len(runes), 100)], func(r rune) bool { return r < ' ' || r == 0x7f })
	return string(runes)
}

// signOut is where a browser signs out of the provider, if it has such a place.
func (p *oidcProvider) signOut(public *url.URL) string {
	p.mu.Lock()
	d := p.found
	p.mu.Unlock()
	if !p.EndSession || d == nil || d.also.EndSession == "" {
		return ""
	}
	u, err := url.Parse(d.also.EndSession)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.ClientID)
	q.Set("post_logout_redirect_uri", originOf(public)+signInPage)
	u.RawQuery = q.Encode()
	return u.String()
}
