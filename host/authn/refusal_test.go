package authn

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

// keepLog redirects the log of the fixture's service to the test.
func (f *fixture) keepLog() *logtest.Log {
	l := &logtest.Log{}
	f.log = slog.New(slog.NewTextHandler(l, nil)) // from level info, as hosts do
	return l
}

// A refused sign-in is one log line at level warn, with the claim, its value and the
// rule.
func TestARefusedSignInNamesTheClaimTheValueAndTheRule(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*idp)
		want []string
	}{
		"domain":        {func(p *idp) { p.person["email"] = "mal@other.example" }, []string{`claim \"email\"`, `mal@other.example`, `outside idDomains`, `example.com`}},
		"not verified":  {func(p *idp) { p.person["email_verified"] = false }, []string{`claim \"email\"`, `ann@example.com`, `email_verified is false`}},
		"another shape": {func(p *idp) { p.person["email"] = []string{"ann@example.com"} }, []string{`claim \"email\"`, `ann@example.com`, `not a non-empty string`}},
		"characters":    {func(p *idp) { p.person["email"] = "jürgen@example.com" }, []string{`claim \"email\"`, `j\\u00fcrgen@example.com`, `is not a valid user id`}},
		"unknown":       {func(p *idp) { p.person["email"] = "zed@example.com" }, []string{`claim \"email\"`, `zed@example.com`, `does not list`}},
	} {
		t.Run(name, func(t *testing.T) {
			f, p, b := withIDP(t, func(o *OIDC) { o.Bearer = true })
			log := f.keepLog()
			p.change(func() { c.edit(p) })
			if to := b.signInAt(p); !strings.Contains(to, "error=not_allowed") {
				t.Errorf("led to %q", to)
			}
			if lines := log.Take(c.want...); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "method=corp") {
				t.Errorf("log %q, want one line with %q", lines, c.want)
			}
			// A refused bearer token is logged the same way, once for many requests.
			raw := p.token(nil)
			for range 5 {
				if _, err := f.Resolve(bearing(raw)); host.KindOf(err) != host.Unauthenticated {
					t.Errorf("bearer: %v", err)
				}
			}
			if lines := log.Take(c.want...); len(lines) != 1 || strings.Contains(lines[0], raw) {
				t.Errorf("log of the bearer token %q", lines)
			}
		})
	}
}

func TestARefusalShowsNoSecretAndIsBounded(t *testing.T) {
	token, err := jwt.New(jwt.SigningMethodHS256).SignedString([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"ann@example.com": `"ann@example.com"`,
		"a\r\nlevel=INFO": `"a\r\nlevel=INFO"`,
		"\u202eann":       `"\u202eann"`,
		token:             "(looks like a token, ",
		"Bearer abc":      "(looks like a token, ",
		"gho_x":           "(looks like a token, ",
	} {
		if got := shown(value); !strings.HasPrefix(got, want) || strings.Contains(got, token) {
			t.Errorf("%q is shown as %s", value, got)
		}
	}
	for _, v := range []any{strings.Repeat("x", 1<<20), []any{strings.Repeat("x", 1<<20)}, strings.Repeat("\xff", 1<<20)} {
		if got := shown(v); len(got) > 5*maxShown {
			t.Errorf("%d bytes are shown of a %T", len(got), v)
		}
	}
	if got := shown([]any{"a", token}); strings.Contains(got, token) {
		t.Errorf("a list shows its token: %s", got)
	}
	if got := shown(nil) + shown(true) + shown(func() {}); got != "(absent)true(a func())" {
		t.Error(got)
	}
}

func TestARefusedDevSignInIsLogged(t *testing.T) {
	f := setUp(t)
	log := f.keepLog()
	b := f.browser(t, f.serve(t))
	b.wantStatus(b.do("POST", "/auth/login", `{"user":"zed"}`), 401)
	if lines := log.Take("sign-in refused", "method=dev", "zed", "does not list"); len(lines) != 1 {
		t.Errorf("log %q", lines)
	}
}
