package authn

import (
	"context"
	"crypto/ed25519"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// oneLogin is a store and a directory with one user. The real store has background
// work, which the fuzzer would take for new coverage. Tokens are long, so run the
// fuzzer with -fuzzminimizetime=10x, or it only minimises.
type oneLogin struct {
	Store // the rest is not called
	key   ed25519.PrivateKey
	rec   host.LoginRecord
}

func (o *oneLogin) CreateLogin(_ context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	o.rec = rec
	return rec, nil
}

func (o *oneLogin) Login(id host.LoginID) (host.LoginRecord, bool) { return o.rec, id == o.rec.ID }

func (o *oneLogin) Activity(id host.LoginID) (state.Activity, bool) {
	return state.Activity{Used: time.Now()}, id == o.rec.ID
}

func (o *oneLogin) Use(host.LoginID, time.Time) {}

func (o *oneLogin) Revoked(p *host.Principal) error {
	if p.Login.ID != o.rec.ID {
		return host.ErrLoggedOut
	}
	return nil
}

func (o *oneLogin) Keys() []state.Key { return []state.Key{{ID: "key", Private: o.key}} }

func (o *oneLogin) KeyEpoch() uint64 { return 1 }

func (o *oneLogin) PersonOf(p *host.Principal) (Person, bool) { return Person{}, p.User == "ann" }

func (o *oneLogin) Revision() uint64 { return 1 }

// noSessions is a host without sessions.
type noSessions struct{}

func (noSessions) End(context.Context, session.Scope, error) (session.Result, error) {
	return session.Result{}, nil
}

func (noSessions) Here(host.UserID) []host.SessionInfo { return nil }

// FuzzResolve checks that only an issued token yields a principal, and that any
// other input is Unauthenticated.
func FuzzResolve(f *testing.F) {
	public := &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}
	store := &oneLogin{key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	service, err := New(Config{PublicURL: public, State: store, Sessions: noSessions{}, Directory: store,
		Options: Options{Dev: &struct{}{}}, Rates: Rates{Client: -1, Account: -1}})
	if err != nil {
		f.Fatal(err)
	}
	valid, p, err := service.Issue(f.Context(), Identity{Issuer: "dev", Subject: "ann", User: "ann", Method: "dev"})
	if err != nil {
		f.Fatal(err)
	}
	expired, err := service.sign("ann", p.Login.ID, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer "+valid, "")
	f.Add("Bearer "+expired, "bulkhead="+valid)
	f.Add("Basic x", "bulkhead=a; bulkhead="+valid)
	f.Add("Bearer a.b.c", `bulkhead="`+expired+`"`)
	f.Fuzz(func(t *testing.T, header, cookies string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header["Authorization"], r.Header["Cookie"] = []string{header}, []string{cookies}
		p, err := service.Resolve(r)
		if (p.Principal == nil) == (err == nil) {
			t.Fatalf("%+v, %v", p, err)
		}
		if err == nil && !strings.Contains(header+" "+cookies, valid) {
			t.Fatalf("%q and %q are %s", header, cookies, p.User)
		}
		if who, ok, _ := service.loginToEnd(r); ok && !strings.Contains(header+cookies, valid) && !strings.Contains(header+cookies, expired) {
			t.Fatalf("%q and %q sign %s out", header, cookies, who.user)
		}
		if err != nil && host.KindOf(err) != host.Unauthenticated {
			t.Fatal(err)
		}
		_ = service.CheckOrigin(r)
	})
}
