package authn

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// A sign-in succeeds even if the redirect is too long or not ASCII.
func TestASignInSucceedsWithAnyRedirectPath(t *testing.T) {
	for redirect, want := range map[string]string{
		"/pods?ns=shop":                       "/pods?ns=shop",
		"/caf%C3%A9":                          "/caf%C3%A9",
		"/a%20b?q=%20c":                       "/a%20b?q=%20c",
		"/x%3Fq=" + strings.Repeat("a", 1100): "/",
		"/" + strings.Repeat("%C3%A9", 400):   "/",
		"/x%3Fq=" + strings.Repeat("a", 900):  "/x?q=" + strings.Repeat("a", 900),
		"/a%2520b":                            "/a%20b",
	} {
		_, p, b := withIDP(t)
		to := b.comeBack(p.approve(t, b.begin("?method=corp&redirect="+redirect)))
		if to != want || b.who() != "ann@example.com" {
			t.Errorf("%.40s: led to %.60q as %q, want %.60q", redirect, to, b.who(), want)
		}
	}
}

// After not_allowed the provider asks which account to use: one that keeps users
// signed in would otherwise send the same account again.
func TestAUserNotAllowedMayChooseAnotherAccount(t *testing.T) {
	f, p, b := withIDP(t)
	prompt := func(query string) string {
		u, err := url.Parse(b.begin(query))
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get("prompt")
	}
	if got := prompt("?method=corp"); got != "" {
		t.Errorf("at first the prompt is %q", got)
	}
	p.change(func() { p.person["email"] = "zed@example.com" })
	if to := b.signInAt(p); !strings.Contains(to, "not_allowed") {
		t.Fatalf("led to %q", to)
	}
	if got := prompt("?method=corp"); got != "select_account" {
		t.Errorf("after not_allowed the prompt is %q", got)
	}
	other := f.browser(t, b.server)
	if u := other.begin("?method=corp"); strings.Contains(u, "prompt=") {
		t.Errorf("another browser is sent to %s", u)
	}
	p.change(func() { p.person["email"] = "ann@example.com" })
	if b.signInAt(p); b.who() != "ann@example.com" {
		t.Fatalf("signed in as %q", b.who())
	}
	if got := prompt("?method=corp"); got != "" {
		t.Errorf("after a sign-in the prompt is %q", got)
	}
	// Other failures do not depend on the account.
	b.do("POST", "/auth/logout", "")
	b.comeBack(&url.URL{Path: "/auth/callback/corp", RawQuery: "error=access_denied"})
	if got := prompt("?method=corp"); got != "" {
		t.Errorf("after access_denied the prompt is %q", got)
	}
}

// A callback that repeats a parameter is ambiguous (RFC 6749, section 3.1).
func TestACallbackWithAParameterTwiceIsRefused(t *testing.T) {
	for _, name := range []string{"state", "code", "iss"} {
		_, p, b := withIDP(t)
		back := p.approve(t, b.begin("?method=corp"))
		q := back.Query()
		q.Add(name, q.Get(name))
		back.RawQuery = q.Encode()
		if to := b.comeBack(back); to != "/login?error=csrf_validation_failed" || b.who() != "" {
			t.Errorf("%s: led to %q as %q", name, to, b.who())
		}
	}
}

// The page must say the same as the log: an overloaded endpoint has not refused
// the user.
func TestAnOverloadedTokenEndpointIsATemporaryFailure(t *testing.T) {
	for status, code := range map[int]string{429: "temporarily_unavailable", 500: "temporarily_unavailable", 503: "temporarily_unavailable", 400: "exchange_failed", 404: "exchange_failed"} {
		f, p, b := withIDP(t)
		log := f.keepLog()
		p.change(func() {
			p.answer = func(w http.ResponseWriter, _ string) bool { http.Error(w, "secret body", status); return true }
		})
		if to := b.signInAt(p); !strings.Contains(to, "error="+code) || b.who() != "" {
			t.Errorf("%d: led to %q", status, to)
		}
		if lines := log.Take("sign-in failed", strconv.Itoa(status)); len(lines) != 1 || strings.Contains(lines[0], "secret body") {
			t.Errorf("%d: log %q", status, lines)
		}
	}
}

// restart closes the store and opens a new service on the same data.
func (f *fixture) restart(t testing.TB) *Service {
	t.Helper()
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), state.Config{Dir: f.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cfg := f.Config
	cfg.State, cfg.Sessions = store, session.NewEnder(f.table, store)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Origin: KubeStellar #6028: sign-ins that a restart interrupted failed. Here they
// succeed, and a state that was used before the restart stays used.
func TestASignInSurvivesARestart(t *testing.T) {
	f, p, b := withIDP(t)
	done := p.approve(t, b.begin("?method=corp"))
	b.comeBack(done)
	b.do("POST", "/auth/logout", "")
	waiting := p.approve(t, b.begin("?method=corp"))
	f.Service = f.restart(t)
	b.server = f.serve(t)
	b.base, _ = url.Parse(b.server.URL)
	if to := b.comeBack(done); !strings.Contains(to, "csrf_validation_failed") {
		t.Errorf("a state used before the restart led to %q", to)
	}
	if to := b.comeBack(waiting); to != "/" || b.who() != "ann@example.com" {
		t.Errorf("a sign-in begun before the restart led to %q as %q", to, b.who())
	}
}
