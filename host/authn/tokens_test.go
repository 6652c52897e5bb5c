package authn

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// aged is a store that reports older times of last use and last refresh.
type aged struct {
	Store
	by   atomic.Int64
	used sync.Map // how much had passed when a login was last used
}

func (a *aged) Activity(id host.LoginID) (state.Activity, bool) {
	x, ok := a.Store.Activity(id)
	by := time.Duration(a.by.Load())
	since := by
	if at, used := a.used.Load(id); used {
		since -= at.(time.Duration)
	}
	x.Used = x.Used.Add(-since)
	if !x.Renewed.IsZero() {
		x.Renewed = x.Renewed.Add(-by)
	}
	return x, ok
}

func (a *aged) Use(id host.LoginID, at time.Time) {
	a.Store.Use(id, at)
	a.used.Store(id, time.Duration(a.by.Load()))
}

func (a *aged) pass(d time.Duration) { a.by.Add(int64(d)) }

func withAge(t *testing.T) (*fixture, *aged) {
	var a *aged
	return setUp(t, func(c *Config) {
		a = &aged{Store: c.State}
		c.State, c.Options.Lifetimes.Idle = a, host.Duration(30*time.Minute)
	}), a
}

// issued returns a token of the login that was issued ago before now.
func (f *fixture) issued(t *testing.T, p *host.Principal, ago time.Duration) string {
	t.Helper()
	raw, err := f.sign(p.User, p.Login.ID, time.Now().Add(-ago), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (f *fixture) wantGood(t *testing.T, what, raw string) {
	t.Helper()
	if _, err := f.Resolve(bearing(raw)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func (f *fixture) wantRefused(t *testing.T, what, raw string) {
	t.Helper()
	if p, err := f.Resolve(bearing(raw)); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("%s: %+v, %v", what, p, err)
	}
}

// An idle login ends with all its tokens. Traffic in a session and a refresh count
// as use.
func TestIdleLoginsEnd(t *testing.T) {
	f, a := withAge(t)
	_, p := f.signIn(t, "ann")
	raw, fresh := f.issued(t, p, 40*time.Minute), f.issued(t, p, 0)
	for range 3 { // and so on, for longer than a login may be idle
		a.pass(29 * time.Minute)
		f.wantGood(t, "used 29 minutes ago", raw)
	}
	a.pass(31 * time.Minute)
	f.wantRefused(t, "unused for 31 minutes", raw)
	f.wantRefused(t, "its other token", fresh)
	if err := f.store.Revoked(p); err == nil {
		t.Error("the login goes on")
	}

	_, p = f.signIn(t, "ann")
	s, err := f.table.Open(t.Context(), p, host.SessionInfo{Kind: host.SessionSocket})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Touch()
	for range 2 {
		f.wantGood(t, "with a terminal in use", f.issued(t, p, 40*time.Minute))
	}
	_, p = f.signIn(t, "ben")
	f.wantGood(t, "refreshed elsewhere", f.issued(t, p, time.Minute))
}

// Found in review: a program that kept a token from before the last refresh ended
// the login of its owner's active browser.
func TestAnOldTokenOfALoginInUseEndsNothing(t *testing.T) {
	f, _ := withAge(t)
	_, p := f.signIn(t, "ann")
	for _, ago := range []time.Duration{0, 40 * time.Minute, 0} {
		f.wantGood(t, "a person who is there", f.issued(t, p, ago))
	}
}

// Found in review: last use was known only for tokens in the cache, which holds
// 8,192.
func TestALoginStaysInUseWhenTheCacheDropsItsToken(t *testing.T) {
	f, _ := withAge(t)
	_, p := f.signIn(t, "ann")
	raw := f.issued(t, p, 40*time.Minute)
	f.wantGood(t, "in use", raw)
	for i := range 4 * cacheShards * cachePerShard {
		f.tokens.put(tokenHash{byte(i), byte(i >> 8), byte(i >> 16)}, &token{})
	}
	f.wantGood(t, "in use, with the cache full of others", raw)
	// A restart does not end the login either: the idle time begins again.
	after := f.restart(t)
	if _, err := after.Resolve(bearing(raw)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func (f *fixture) refresh(t *testing.T, s *Service, raw string) (string, error) {
	t.Helper()
	w := httptest.NewRecorder()
	r := request("POST", "", raw)
	r.Header.Set("X-Requested-With", "XMLHttpRequest")
	err := resolving(s, s.Refresh)(w, r)
	if err != nil {
		return "", err
	}
	return w.Result().Cookies()[0].Value, nil
}

// Found in review: a token that a refresh replaced stayed valid, and could be
// refreshed, until it expired.
func TestAReplacedTokenEndsAfterAShortGraceOnEveryReplica(t *testing.T) {
	f, a := withAge(t)
	other, err := New(f.Config) // of the same store, with another memory
	if err != nil {
		t.Fatal(err)
	}
	here, there := f, &fixture{Service: other}
	first, _ := f.signIn(t, "ann")
	for _, r := range []*fixture{here, there} {
		r.wantGood(t, "before the refresh", first)
	}
	second, err := f.refresh(t, f.Service, first)
	if err != nil {
		t.Fatal(err)
	}
	// A tab that refreshes with the first token gets one of the same generation as
	// the second, and replaces none.
	third, err := f.refresh(t, other, first)
	if err != nil {
		t.Fatal(err)
	}
	a.pass(replacedGrace - 10*time.Second)
	for _, r := range []*fixture{here, there} {
		r.wantGood(t, "replaced, within the grace", first)
	}
	a.pass(20 * time.Second)
	for _, r := range []*fixture{here, there} {
		r.wantRefused(t, "replaced, after the grace", first)
		if _, err := f.refresh(t, r.Service, first); host.KindOf(err) != host.Unauthenticated {
			t.Errorf("it is refreshed: %v", err)
		}
		r.wantGood(t, "the second", second)
		r.wantGood(t, "the third", third)
	}
	fourth, err := f.refresh(t, other, third)
	if err != nil {
		t.Fatal(err)
	}
	a.by.Store(0)
	f.wantRefused(t, "replaced twice, within the grace of the second time", first)
	f.wantGood(t, "replaced once", second)
	f.wantGood(t, "the newest", fourth)
	a.pass(2 * replacedGrace)
	f.wantRefused(t, "after the grace", second)
	// A logout with a replaced token still ends the login.
	w := httptest.NewRecorder()
	if err := f.Logout(w, bearingTo("POST", first)); err != nil {
		t.Fatal(err)
	}
	there.wantRefused(t, "after logout", fourth)
	// The generation survives a restart.
	p1, _ := f.signIn(t, "ben")
	if _, err := f.refresh(t, f.Service, p1); err != nil {
		t.Fatal(err)
	}
	after := f.restart(t)
	a.Store = after.State
	cfg := after.Config
	cfg.State = a
	again, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	(&fixture{Service: again}).wantRefused(t, "after a restart", p1)
}

// A replica may learn of a refresh after the browser's next request has arrived.
func TestATokenOfANewerGenerationThanKnownIsValid(t *testing.T) {
	f := setUp(t)
	_, p := f.signIn(t, "ann")
	raw, err := f.signNext("ann", p.Login.ID, 3, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f.wantGood(t, "of the future", raw)
}

func bearingTo(method, raw string) *http.Request { return request(method, "Bearer "+raw, "") }

// The last character of base64 has unused bits. The same token with other bits there
// would be another key of the cache and of logs.
func TestATokenHasOneEncoding(t *testing.T) {
	f := setUp(t)
	raw, _ := f.signIn(t, "ann")
	f.wantGood(t, "as it was issued", raw)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, raw[len(raw)-1])
	for over := 1; over < 16; over++ { // 64 bytes of signature leave four bits
		f.wantRefused(t, "with other bits left over", raw[:len(raw)-1]+string(letters[last^over]))
	}
}

// Found in review: a build with a new ID token for each job locked out the first
// tokens for good, and ended the login of its owner's browser.
func TestAUserMayUseAnyNumberOfIDTokens(t *testing.T) {
	f, p := withBearer(t)
	browser, _, err := f.Issue(t.Context(), Identity{Issuer: p.URL, Subject: "1001", User: "ann@example.com", Method: "oidc:corp"})
	if err != nil {
		t.Fatal(err)
	}
	var tokens []string
	for i := range 206 {
		tokens = append(tokens, p.token(jwt.MapClaims{"n": i}))
		f.wantGood(t, "used once", tokens[i])
	}
	for _, raw := range tokens { // each dropped login is made again, and drops another
		f.wantGood(t, "used again", raw)
	}
	f.wantGood(t, "used again", tokens[0])
	f.wantGood(t, "the browser", browser)
	// Each token still ends with its own logout.
	if err := f.Logout(httptest.NewRecorder(), bearingTo("POST", tokens[0])); err != nil {
		t.Fatal(err)
	}
	f.wantRefused(t, "after its logout", tokens[0])
	f.wantGood(t, "another one after that logout", tokens[1])
}

// admitted keeps the record of the last admitted ID token.
type admitted struct {
	Store
	rec host.LoginRecord
}

func (a *admitted) AdmitLogin(ctx context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	a.rec = rec
	return a.Store.AdmitLogin(ctx, rec)
}

// Found in review: the key of a logout's record depended on lifetimes.login.
func TestALoggedOutIDTokenStaysRefusedIfLifetimesChange(t *testing.T) {
	for _, login := range []time.Duration{time.Hour, 24 * time.Hour} {
		f, p := withBearer(t)
		expiry := time.Now().Add(48 * time.Hour).Truncate(time.Second)
		raw := p.token(jwt.MapClaims{"exp": expiry.Unix()})
		seen := &admitted{Store: f.State}
		f.State = seen
		f.wantGood(t, "before", raw)
		if !seen.rec.Credential.Equal(expiry) || !seen.rec.Until.Before(expiry) {
			t.Errorf("its logout would be remembered until %v, want %v; its login lasts until %v", seen.rec.Credential, expiry, seen.rec.Until)
		}
		if err := f.Logout(httptest.NewRecorder(), bearingTo("POST", raw)); err != nil {
			t.Fatal(err)
		}
		f.Options.Lifetimes.Login = host.Duration(login)
		(&fixture{Service: f.restart(t)}).wantRefused(t, "after lifetimes.login changed", raw)
	}
}
