package authn

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// idp is an OpenID Connect provider whose behaviour tests control, honest or not.
type idp struct {
	*httptest.Server
	mu       sync.Mutex
	keys     map[string]*ecdsa.PrivateKey // published
	signWith string
	codes    map[string]url.Values // what the authorization request of each code said
	person   jwt.MapClaims         // claims of the user who signs in
	userinfo jwt.MapClaims         // nil: none
	edit     func(header map[string]any, claims jwt.MapClaims)
	answer   func(w http.ResponseWriter, code string) bool // answers the token request itself
	keyLoads int
	exchange int

	meta           jwt.MapClaims // of the discovery document, beside what is always there
	inBody         bool          // takes the client's secret in the body alone
	userinfoStatus int           // 0: 200, or 404 without userinfo
	sent           string        // the last ID token of a sign-in
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newIDP(t testing.TB) *idp {
	p := &idp{keys: map[string]*ecdsa.PrivateKey{"k1": newKey(t)}, signWith: "k1", codes: map[string]url.Values{}, person: jwt.MapClaims{
		"sub": "1001", "email": "ann@example.com", "email_verified": true, "name": "Ann Lee", "groups": []string{"payments"},
	}}
	mux := http.NewServeMux()
	discovery := func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		doc := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"userinfo_endpoint": p.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"ES256"},
			"authorization_response_iss_parameter_supported": true, "end_session_endpoint": p.URL + "/end",
		}
		maps.Copy(doc, p.meta)
		json.NewEncoder(w).Encode(doc)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", discovery)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", discovery)
	mux.HandleFunc("GET /keys", p.serveKeys)
	mux.HandleFunc("POST /token", p.serveToken)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.userinfo == nil || p.userinfoStatus != 0 {
			w.WriteHeader(cmp.Or(p.userinfoStatus, http.StatusNotFound))
			return
		}
		json.NewEncoder(w).Encode(p.userinfo)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) serveKeys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keyLoads++
	var list []map[string]any
	for id, k := range p.keys {
		b64 := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
		list = append(list, map[string]any{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": b64(k.X), "y": b64(k.Y)})
	}
	json.NewEncoder(w).Encode(map[string]any{"keys": list})
}

// serveToken follows RFC 6749 and 7636 strictly: a code is valid once, PKCE is
// checked, the client is authenticated, and the redirect URI is exact.
func (p *idp) serveToken(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exchange++
	code := r.PostFormValue("code")
	asked, ok := p.codes[code]
	delete(p.codes, code)
	if p.answer != nil && p.answer(w, code) {
		return
	}
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret) // RFC 6749, section 2.3.1
	if p.inBody {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	switch {
	case id != "console" || secret != "the client's secret":
		refuse("invalid_client")
		return
	case !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || asked.Get("code_challenge_method") != "S256":
		refuse("invalid_grant")
		return
	case r.PostFormValue("redirect_uri") != asked.Get("redirect_uri"):
		refuse("redirect_uri_mismatch")
		return
	}
	raw := p.idToken(jwt.MapClaims{"nonce": asked.Get("nonce")})
	p.sent = raw
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"access_token": "an access token", "token_type": "Bearer", "id_token": raw, "expires_in": 60})
}

// idToken signs the claims of the provider's user. Call it with mu held.
func (p *idp) idToken(more jwt.MapClaims) string {
	now := time.Now()
	c := jwt.MapClaims{"iss": p.URL, "aud": "console", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	maps.Copy(c, p.person)
	maps.Copy(c, more)
	t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	t.Header["kid"] = p.signWith
	if p.edit != nil {
		p.edit(t.Header, c)
	}
	key := p.keys[t.Header["kid"].(string)]
	raw, err := t.SignedString(key)
	if err != nil {
		panic(err)
	}
	return raw
}

func (p *idp) token(more jwt.MapClaims) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idToken(more)
}

// change edits the provider's behaviour.
func (p *idp) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// approve returns the callback to which the provider redirects the browser after
// the user consents.
func (p *idp) approve(t testing.TB, authorize string) *url.URL {
	t.Helper()
	u, err := url.Parse(authorize)
	if err != nil || !strings.HasPrefix(authorize, p.URL+"/authorize?") {
		t.Fatalf("sent to %q", authorize)
	}
	q := u.Query()
	code := string(newLoginID())
	p.change(func() { p.codes[code] = q })
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}.Encode()
	return back
}

func secretFile(t testing.TB, text string) Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Secret{File: path}
}

// corp is the provider as an operator configures it.
func corp(t testing.TB, p *idp) OIDC {
	return OIDC{Name: "corp", Issuer: p.URL, ClientID: "console", Secret: secretFile(t, "the client's secret"),
		Mapping: Mapping{User: "email", IDDomains: []string{"example.com"}, Teams: "groups"}}
}

// withIDP returns a service with a provider, and a browser.
func withIDP(t testing.TB, edit ...func(*OIDC)) (*fixture, *idp, *browser) {
	t.Helper()
	p := newIDP(t)
	c := corp(t, p)
	for _, e := range edit {
		e(&c)
	}
	f := setUp(t, func(cfg *Config) { cfg.Options = Options{Dev: &struct{}{}, OIDC: []OIDC{c}} })
	f.people.set("ann@example.com", Person{Name: "Ann Lee", Roles: []string{"editor"}})
	return f, p, f.browser(t, f.serve(t))
}

// begin starts a sign-in and returns the URL of the provider's page.
func (b *browser) begin(query string) string {
	b.t.Helper()
	r := b.do("GET", "/auth/login"+query, "")
	b.wantStatus(r, 303)
	return r.header.Get("Location")
}

// comeBack follows the provider's redirect and returns the next redirect.
func (b *browser) comeBack(to *url.URL) string {
	b.t.Helper()
	r := b.do("GET", to.RequestURI(), "")
	if r.status != 303 {
		b.t.Errorf("the callback answers %d %s", r.status, r.text)
	}
	return r.header.Get("Location")
}

// signInAt performs the whole sign-in and returns the final redirect.
func (b *browser) signInAt(p *idp) string {
	b.t.Helper()
	return b.comeBack(p.approve(b.t, b.begin("?method=corp&redirect=/pods?ns=shop")))
}

func (b *browser) who() string {
	b.t.Helper()
	r := b.do("GET", "/auth/me", "")
	user, _ := r.body["user"].(string)
	return user
}
