package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a directory.
type people struct {
	mu       sync.Mutex
	revision uint64
	listed   map[host.UserID]Person

	unlisted bool // accepts users that are not listed
	mirror   bool // and have every role and team that is asserted
}

func (d *people) PersonOf(p *host.Principal) (Person, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x, ok := d.listed[p.User]
	if d.mirror {
		x.Roles, x.Teams = p.Asserted.Roles, p.Asserted.Teams
	}
	return x, ok || d.unlisted && p.Unlisted
}

func (d *people) Revision() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision
}

func (d *people) set(id host.UserID, p Person) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listed[id] = p
	d.revision++
}

func (d *people) remove(id host.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.listed, id)
	d.revision++
}

// fixture is a service over a real store and a real session table.
type fixture struct {
	*Service
	store  *state.Store
	table  *session.Table
	people *people
	dir    string
}

func setUp(t testing.TB, edit ...func(*Config)) *fixture {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(t.Context(), state.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{dir: dir, store: store, table: session.NewTable(store.Revoked, session.Options{}), people: &people{
		listed: map[host.UserID]Person{
			"ann": {Name: "Ann Lee", Roles: []string{"editor"}, Teams: []string{"payments"}},
			"ben": {Name: "Ben"}, "gone": {},
		},
	}}
	public, err := url.Parse("http://127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{PublicURL: public, State: store, Sessions: session.NewEnder(f.table, store), Directory: f.people, Options: Options{Dev: &struct{}{}}, Rates: Rates{Client: -1, Account: -1}}
	for _, e := range edit {
		e(&c)
	}
	if f.Service, err = New(c); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) signIn(t testing.TB, user host.UserID) (string, *host.Principal) {
	t.Helper()
	raw, p, err := f.Issue(t.Context(), Identity{Issuer: "dev", Subject: string(user), User: user, Method: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	return raw, p
}

// expired returns an expired, genuine token of a live login.
func (f *fixture) expired(t testing.TB, user host.UserID) string {
	t.Helper()
	_, p := f.signIn(t, user)
	raw, err := f.sign(user, p.Login.ID, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// revoked returns an unexpired token of a revoked login.
func (f *fixture) revoked(t testing.TB, user host.UserID) string {
	t.Helper()
	raw, p := f.signIn(t, user)
	if err := f.store.EndLogin(t.Context(), p.Login.ID); err != nil {
		t.Fatal(err)
	}
	return raw
}

// forge signs the content of a genuine token of a live login after edit changed it.
// With a nil edit the result is genuine.
func (f *fixture) forge(t testing.TB, user host.UserID, edit func(header map[string]any, body jwt.MapClaims) (jwt.SigningMethod, any)) string {
	t.Helper()
	_, p := f.signIn(t, user)
	key := f.store.Keys()[0]
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": f.issuer, "aud": audience, "sub": string(user), "sid": string(p.Login.ID), "jti": "1",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	token.Header["typ"], token.Header["kid"] = tokenType, key.ID
	method, signer := edit(token.Header, token.Claims.(jwt.MapClaims))
	token.Method = method
	if method != jwt.SigningMethodEdDSA {
		token.Header["alg"] = method.Alg()
	}
	if signer == nil {
		signer = key.Private
	}
	raw, err := token.SignedString(signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func request(method, header, cookieValue string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	if cookieValue != "" {
		r.AddCookie(&http.Cookie{Name: "bulkhead", Value: cookieValue})
	}
	return r
}

func TestCacheIsBoundedAndHoldsNoRefusal(t *testing.T) {
	var c tokenCache
	for i := range 4 * cacheShards * cachePerShard {
		c.put(tokenHash{byte(i), byte(i >> 8), byte(i >> 16)}, &token{})
	}
	total := 0
	for i := range c.shards {
		total += len(c.shards[i].tokens)
	}
	if total != cacheShards*cachePerShard {
		t.Errorf("%d tokens cached, want %d", total, cacheShards*cachePerShard)
	}
	f := setUp(t)
	if _, err := f.Resolve(request("GET", "Bearer garbage", "rubbish")); err == nil {
		t.Error("garbage resolved")
	}
	for i := range f.tokens.shards {
		if len(f.tokens.shards[i].tokens) != 0 {
			t.Error("a refused token takes up the cache")
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	f := setUp(t)
	for name, c := range map[string]struct {
		url  string
		dev  bool
		want string
	}{
		"plain http off loopback": {"http://console.example.com", false, "publicURL"},
		"no host":                 {"https://", false, "publicURL"},
		"dev off loopback":        {"https://console.example.com", true, "auth.dev"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		cfg := f.Config
		cfg.PublicURL, cfg.Options.Dev = u, nil
		if c.dev {
			cfg.Options.Dev = &struct{}{}
		}
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to name %s", name, err, c.want)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	f := setUp(b)
	raw, _ := f.signIn(b, "ann")
	for name, r := range map[string]*http.Request{"hit/header": request("GET", "Bearer "+raw, ""), "hit/cookie": request("GET", "", raw)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Resolve(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("miss", func(b *testing.B) {
		r := request("GET", "Bearer "+raw, "")
		b.ReportAllocs()
		for b.Loop() {
			f.tokens = tokenCache{}
			if _, err := f.Resolve(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("garbage", func(b *testing.B) {
		r := request("GET", "Bearer "+raw[:len(raw)-4]+"AAAA", "")
		for b.Loop() {
			if _, err := f.Resolve(r); err == nil {
				b.Fatal("garbage resolved")
			}
		}
	})
}
