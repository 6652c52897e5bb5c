package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// replaced writes text into a secret's file and waits, at most a second, until seen
// reports true.
func replaced(t *testing.T, file, text string, seen func() bool) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !seen(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("what the file holds now does not count")
		}
	}
}

// Origin: secrets were read once, so that after a rotation all sign-ins failed until
// a restart.
func TestAReplacedClientSecretIsUsed(t *testing.T) {
	var got atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, basic, _ := r.BasicAuth()
		got.Store(r.FormValue("client_secret") + basic)
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			base := "http://" + r.Host
			_, _ = w.Write([]byte(`{"issuer":"` + base + `","authorization_endpoint":"` + base + `/a","token_endpoint":"` + base + `/t","jwks_uri":"` + base + `/k"}`))
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}))
	defer srv.Close()
	secret := secretFile(t, "first")
	github, err := newGitHub(GitHub{ClientID: "id", Secret: secret, URL: srv.URL}, &url.URL{Scheme: "https", Host: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	corp, err := newOIDC(OIDC{Name: "corp", Issuer: srv.URL, ClientID: "id", Secret: secret}, "auth.oidc[0]", &url.URL{Scheme: "https", Host: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]provider{"GitHub": github, "OIDC": corp} {
		sent := func() string {
			got.Store("")
			if _, err := p.finish(t.Context(), "code", secrets{verifier: "v"}); err == nil {
				t.Fatalf("%s: it signs in", name)
			}
			return got.Load().(string)
		}
		replaced(t, secret.File, "first", func() bool { return sent() == "first" })
		replaced(t, secret.File, "second", func() bool { return sent() == "second" })
	}
}

// A replaced signing secret signs new tokens at once, and tokens of the old one are
// invalid, cached or not.
func TestAReplacedSigningSecretEndsItsTokens(t *testing.T) {
	const first, second = "kaFoo4eiS9aeRiu7tho0Xaeyeph6ieTh", "oTh3ahj9Quei6ooZ0Iedai4chaeCh1ei"
	secret := secretFile(t, first)
	key, err := newSecretKey(&Signing{Algorithm: "HS256", SecretFile: secret.File}, nil)
	if err != nil {
		t.Fatal(err)
	}
	old, signed, _ := key.newest()
	epoch := key.epoch()
	if string(signed.([]byte)) != first {
		t.Fatalf("%q", signed)
	}
	replaced(t, secret.File, second, func() bool { id, _, _ := key.newest(); return id != old })
	if _, ok := key.find(old); ok {
		t.Error("the old secret still verifies")
	}
	if _, now, _ := key.newest(); string(now.([]byte)) != second {
		t.Errorf("%q", now)
	}
	if key.epoch() == epoch {
		t.Error("what was verified before is still remembered")
	}
}
