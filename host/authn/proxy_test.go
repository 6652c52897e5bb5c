package authn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// behindProxy returns a service that trusts the proxy headers of 10.1.0.0/16.
func behindProxy(t testing.TB, edit ...func(*Proxy)) *fixture {
	p := &Proxy{From: []string{"10.1.0.0/16", "fd00:1::/32"}}
	for _, e := range edit {
		e(p)
	}
	f := setUp(t, func(c *Config) { c.Options = Options{Proxy: p} })
	f.people.set("ann@example.com", Person{Name: "Ann Lee"})
	f.people.set("ben@example.com", Person{Name: "Ben"})
	return f
}

// via returns a request over a connection from an address, as the gateway passes it.
func (f *fixture) via(from string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = from
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	f.Screen(r)
	return r
}

const (
	proxyAddr = "10.1.2.3:4444"
	email     = "X-Auth-Request-Email"
)

func TestIdentityHeadersCountFromATrustedProxyOnly(t *testing.T) {
	f := behindProxy(t)
	for name, c := range map[string]struct {
		from    string
		headers []string
		want    host.UserID
	}{
		"the proxy":                   {proxyAddr, []string{email, "ann@example.com"}, "ann@example.com"},
		"the proxy, capitals":         {proxyAddr, []string{email, "Ann@Example.com"}, "ann@example.com"},
		"the proxy, IPv6":             {"[fd00:1::9]:1", []string{email, "ann@example.com"}, "ann@example.com"},
		"the proxy, IPv4 in IPv6":     {"[::ffff:10.1.2.3]:1", []string{email, "ann@example.com"}, "ann@example.com"},
		"another address":             {"10.2.2.3:4444", []string{email, "ann@example.com"}, ""},
		"loopback is not the proxy":   {"127.0.0.1:4444", []string{email, "ann@example.com"}, ""},
		"not an address":              {"@", []string{email, "ann@example.com"}, ""},
		"no user":                     {proxyAddr, nil, ""},
		"an empty user":               {proxyAddr, []string{email, ""}, ""},
		"two users":                   {proxyAddr, []string{email, "ann@example.com", email, "ben@example.com"}, ""},
		"a list":                      {proxyAddr, []string{email, "ann@example.com,ben@example.com"}, ""},
		"underscores":                 {proxyAddr, []string{"X_auth_request_email", "ann@example.com"}, ""},
		"some underscores":            {proxyAddr, []string{"X-Auth_request-Email", "ann@example.com"}, ""},
		"raw capitals":                {proxyAddr, []string{"X-AUTH-REQUEST-EMAIL", "ann@example.com"}, ""},
		"another proxy's name for it": {proxyAddr, []string{"X-Forwarded-User", "ann@example.com"}, ""},
		"the client's twin beside it": {proxyAddr, []string{"X_auth_request_email", "ben@example.com", email, "ann@example.com"}, "ann@example.com"},
		"not in the directory":        {proxyAddr, []string{email, "eve@example.com"}, ""},
		"system user":                 {proxyAddr, []string{email, "system:admin"}, ""},
		"with a space":                {proxyAddr, []string{email, "ann@example.com "}, ""},
		"system user, in capitals":    {proxyAddr, []string{email, "SYSTEM:admin@example.com"}, ""},
		"very long":                   {proxyAddr, []string{email, strings.Repeat("a", 5000)}, ""},
	} {
		p, err := f.Resolve(f.via(c.from, c.headers...))
		if c.want == "" && (p.Principal != nil || host.KindOf(err) != host.Unauthenticated) || c.want != "" && (err != nil || p.User != c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, p, err, c.want)
		}
	}
}

// Origin: kobs kept the first user's cookie after a change of account at the proxy,
// and split groups without trimming; an empty header was one team.
func TestTheProxyAssertsTheUserOfEachRequest(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) {
		p.Unlisted = true
		p.Map = map[string]Belongs{"ops": {Roles: []string{"admin"}}}
	})
	assert := func(user, groups string) *host.Principal {
		t.Helper()
		p, err := f.Resolve(f.via(proxyAddr, email, user, "X-Auth-Request-Groups", groups))
		if err != nil {
			t.Fatal(err)
		}
		return p.Principal
	}
	claims := func(p *host.Principal) []string { return texts(p.Claims[groupsClaim]) }
	ann := assert("ann@example.com", "payments, ops ,,")
	if !slices.Equal(claims(ann), []string{"payments", "ops"}) {
		t.Errorf("groups %q", claims(ann))
	}
	if got := claims(assert("ann@example.com", "")); len(got) != 0 {
		t.Errorf("an empty list of groups is %q", got)
	}
	r := f.via(proxyAddr, email, "ben@example.com")
	cookie, _ := f.signInBy(t, "ann@example.com")
	r.AddCookie(&http.Cookie{Name: "bulkhead", Value: cookie})
	if p, err := f.Resolve(r); err != nil || p.User != "ben@example.com" {
		t.Errorf("the proxy says ben, a cookie ann: %+v, %v", p, err)
	}
	m := f.proxy.mapping.asserted(map[string]any{groupsClaim: []any{"ops", "payments"}})
	if !slices.Equal(m.Roles, []string{"admin"}) || !slices.Equal(m.Teams, []string{"payments"}) {
		t.Errorf("asserted %+v", m)
	}
	if again := assert("ann@example.com", "payments, ops ,,"); again != ann {
		t.Error("the same words made another principal")
	}
	if again := assert("ann@example.com", "x"); again.Login.ID != ann.Login.ID {
		t.Error("other groups made another login")
	}
}

// signInBy makes a login by the fixture's login method.
func (f *fixture) signInBy(t testing.TB, user host.UserID) (string, *host.Principal) {
	t.Helper()
	raw, p, err := f.Issue(t.Context(), Identity{Issuer: "x", Subject: string(user), User: user, Method: f.proxy.method})
	if err != nil {
		t.Fatal(err)
	}
	return raw, p
}

func TestLogoutBehindAProxyEndsTheSessions(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.SignOut = "/oauth2/sign_out" })
	before, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	post := func(headers ...string) (*httptest.ResponseRecorder, error) {
		r := f.via(proxyAddr, append([]string{email, "ann@example.com"}, headers...)...)
		r.Method = "POST"
		w := httptest.NewRecorder()
		return w, f.Logout(w, r)
	}
	// The browser adds the proxy's cookie by itself, like the host's.
	if _, err := post("Content-Type", "application/x-www-form-urlencoded"); host.KindOf(err) != host.Forbidden {
		t.Errorf("a form: %v", err)
	}
	if _, err := post("X-Requested-With", "XMLHttpRequest", "Origin", "https://evil.example"); host.KindOf(err) != host.Forbidden {
		t.Errorf("a foreign page: %v", err)
	}
	w, err := post("X-Requested-With", "XMLHttpRequest")
	if err != nil || !strings.Contains(w.Body.String(), `"signOut":"/oauth2/sign_out"`) {
		t.Errorf("%s, %v", w.Body, err)
	}
	if err := f.store.Revoked(before.Principal); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("what began before goes on: %v", err)
	}
	after, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com"))
	if err != nil || after.Login.ID == before.Login.ID {
		t.Errorf("the proxy's next word: %+v, %v", after, err)
	}
	// Refresh is refused: a cookie would be valid without the proxy.
	r := f.via(proxyAddr, email, "ann@example.com", "X-Requested-With", "XMLHttpRequest")
	r.Method = "POST"
	if err := resolving(f.Service, f.Refresh)(httptest.NewRecorder(), r); host.KindOf(err) != host.Invalid {
		t.Errorf("refresh: %v", err)
	}
}

// A Unix socket is a trusted proxy only if from contains "unix".
func TestAUnixSocketMayBeTheProxy(t *testing.T) {
	for _, c := range []struct {
		from, network string
		want          host.UserID
	}{
		{"unix", "unix", "ann@example.com"}, {"unix", "tcp", ""}, {"10.1.0.0/16", "unix", ""},
	} {
		f := behindProxy(t, func(p *Proxy) { p.From = []string{c.from} })
		network, want := c.network, c.want
		var local net.Addr = &net.UnixAddr{Name: "/run/bulkhead.sock", Net: "unix"}
		if network == "tcp" {
			local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
		}
		r := httptest.NewRequest("GET", "/", nil).WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local))
		r.RemoteAddr = "@"
		r.Header.Set(email, "ann@example.com")
		f.Screen(r)
		p, err := f.Resolve(r)
		if (want == "") != (err != nil) || want != "" && p.User != want {
			t.Errorf("from %s, over %s: %+v, %v", c.from, network, p, err)
		}
	}
}

// Headers of a trusted proxy are accepted or refused. They are never ignored:
// otherwise another user's cookie would decide who acts.
func TestProxyHeadersAreAcceptedOrRefusedAndNeverIgnored(t *testing.T) {
	const groups = "X-Auth-Request-Groups"
	for name, c := range map[string]struct {
		headers []string
		source  string
		rule    string
	}{
		"a Windows domain":           {[]string{email, `CORP\ann`}, email, "no login method accepts"},
		"not ASCII":                  {[]string{email, "J\u00fcrgen"}, email, "not printable ASCII"},
		"a space":                    {[]string{email, "ann lee"}, email, "a space"},
		"a space at the end":         {[]string{email, "ann@example.com "}, email, "a space"},
		"system user":                {[]string{email, "system:admin"}, email, "system:"},
		"empty":                      {[]string{email, ""}, email, "is empty"},
		"twice":                      {[]string{email, "ann@example.com", email, "ann@example.com"}, email, "more than once"},
		"a list":                     {[]string{email, "ann@example.com,ben@example.com"}, email, "no login method accepts"},
		"very long":                  {[]string{email, strings.Repeat("a", 5000)}, email, "longer than"},
		"outside idDomains":          {[]string{email, "mal@other.example"}, email, "idDomains"},
		"no address, with idDomains": {[]string{email, "ann"}, email, "idDomains"},
		"not in the directory":       {[]string{email, "zed@example.com"}, email, "does not list"},
		"groups of no user":          {[]string{groups, "ops"}, email, "missing, but header " + groups},
		"a token as the user":        {[]string{email, "eyJhbGciOiJub25lIn0.e30."}, email, "idDomains"},
	} {
		t.Run(name, func(t *testing.T) {
			f := behindProxy(t, func(p *Proxy) { p.IDDomains = []string{"example.com"} })
			log := f.keepLog()
			cookie, eve := f.signInBy(t, "ben@example.com")
			ask := func() *http.Request {
				r := f.via(proxyAddr, c.headers...)
				r.AddCookie(&http.Cookie{Name: "bulkhead", Value: cookie})
				return r
			}
			for _, authorization := range []string{"", "Bearer garbage", "Basic x"} {
				r := ask()
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
				p, err := f.Resolve(r)
				e, _ := errors.AsType[*host.Error](err)
				if p.Principal != nil || host.KindOf(err) != host.Unauthenticated || !strings.Contains(e.Detail, c.rule) || !strings.Contains(e.Detail, c.source) {
					t.Errorf("with %q: %+v, %v", authorization, p, err)
				}
				if p.RefreshDue {
					t.Error("another user's cookie is due")
				}
			}
			if lines := log.Take("sign-in refused", c.source, c.rule, "method=proxy"); len(lines) != 1 || strings.Contains(lines[0], "eyJ") {
				t.Errorf("log %q, want one line", lines)
			}
			// The cookie's user is neither signed out nor refreshed.
			r := ask()
			r.Method = "POST"
			r.Header.Set("X-Requested-With", "XMLHttpRequest")
			if err := f.Logout(httptest.NewRecorder(), r); host.KindOf(err) != host.Unauthenticated {
				t.Errorf("logout: %v", err)
			}
			if err := resolving(f.Service, f.Refresh)(httptest.NewRecorder(), r); host.KindOf(err) != host.Unauthenticated {
				t.Errorf("refresh: %v", err)
			}
			if err := f.store.Revoked(eve); err != nil {
				t.Errorf("the cookie's login: %v", err)
			}
		})
	}
	f := behindProxy(t)
	cookie, _ := f.signInBy(t, "ben@example.com")
	for name, r := range map[string]*http.Request{
		"no user":             f.via(proxyAddr),
		"an empty list":       f.via(proxyAddr, groups, ""),
		"is not the proxy":    f.via("192.0.2.7:1", email, `CORP\ann`),
		"of another spelling": f.via(proxyAddr, "X_auth_request_email", `CORP\ann`),
	} {
		r.AddCookie(&http.Cookie{Name: "bulkhead", Value: cookie})
		if p, err := f.Resolve(r); err != nil || p.User != "ben@example.com" {
			t.Errorf("%s: %+v, %v, want the cookie's user", name, p, err)
		}
	}
}

// A valid bearer token takes precedence over the proxy's headers.
func TestABearerTokenWinsOverTheProxy(t *testing.T) {
	f := behindProxy(t)
	raw, _ := f.signInBy(t, "ben@example.com")
	if p, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com", "Authorization", "Bearer "+raw)); err != nil || p.User != "ben@example.com" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestIDDomainsRestrictTheUsersOfAProxy(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.IDDomains, p.Unlisted = []string{"example.com"}, true })
	f.people.unlisted = true
	for user, ok := range map[string]bool{
		"ann@example.com": true, "Zed@Example.COM": true, "zed@other.example": false, "zed@sub.example.com": false, "zed": false,
		"zed@other.example@example.com": false, "@example.com": false, "example.com": false,
	} {
		if p, err := f.Resolve(f.via(proxyAddr, email, user)); (err == nil) != ok {
			t.Errorf("%s: %+v, %v", user, p, err)
		}
	}
}

// A list with another separator is one unknown group, so the user loses all teams:
// the log must say so.
func TestGroupsOfAProxyMayBeSeparatedByOtherCharacters(t *testing.T) {
	const groups = "X-Auth-Request-Groups"
	for _, c := range []struct {
		separator, header string
		want              []string
		warns             bool
	}{
		{"", "payments, ops", []string{"payments", "ops"}, false},
		{"|", "payments|ops", []string{"payments", "ops"}, false},
		{";", "CN=ops,OU=Groups,DC=x; CN=dev,DC=x", []string{"CN=ops,OU=Groups,DC=x", "CN=dev,DC=x"}, false},
		{" ", "payments  ops", []string{"payments", "ops"}, false},
		{"", "payments|ops", []string{"payments|ops"}, true},
		{"", "payments;ops", []string{"payments;ops"}, true},
		{"", `["payments","ops"]`, []string{`["payments"`, `"ops"]`}, true},
		{"", "CN=ops,OU=Groups,DC=x", []string{"CN=ops", "OU=Groups", "DC=x"}, true},
		{"|", "payments,ops", []string{"payments,ops"}, true},
		{"", "Domain Users,ops", []string{"Domain Users", "ops"}, false},
	} {
		f := behindProxy(t, func(p *Proxy) { p.TeamsSeparator = c.separator })
		log := f.keepLog()
		p, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com", groups, c.header))
		if err != nil || !slices.Equal(texts(p.Claims[groupsClaim]), c.want) {
			t.Errorf("%q by %q: %+v, %v", c.header, c.separator, p, err)
		}
		if lines := log.Take(groups, "teamsSeparator"); (len(lines) == 1) != c.warns || len(lines) > 1 {
			t.Errorf("%q by %q: log %q", c.header, c.separator, lines)
		}
	}
	if err := problems(&Options{Proxy: &Proxy{From: []string{"10.0.0.1"}, TeamsSeparator: "--"}}); err == nil || !strings.HasPrefix(err.Error(), "auth.proxy.teamsSeparator") {
		t.Error(err)
	}
}

// Header names are compared as HTTP does, in any case of the configuration.
func TestProxyHeadersMayBeConfiguredInAnyCase(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.User, p.Teams = "x-remote-user", "X-REMOTE-groups" })
	p, err := f.Resolve(f.via(proxyAddr, "X-Remote-User", "ann@example.com", "X-Remote-Groups", "ops"))
	if err != nil || p.User != "ann@example.com" || !slices.Equal(texts(p.Claims[groupsClaim]), []string{"ops"}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// Concurrent requests of one user make one login, and a refused user gets none.
// Each new login counts against the client's rate.
func TestAProxysUserHasOneLogin(t *testing.T) {
	f := behindProxy(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com")); err != nil {
				t.Error(err)
			}
			if _, err := f.Resolve(f.via(proxyAddr, email, "zed@example.com")); err == nil {
				t.Error("zed is not listed")
			}
		})
	}
	all.Wait()
	if n := len(f.store.Logins("ann@example.com")); n != 1 {
		t.Errorf("ann has %d logins", n)
	}
	if n := len(f.store.Logins("zed@example.com")); n != 0 {
		t.Errorf("zed has %d logins", n)
	}
	f = behindProxy(t)
	f.clients = newBuckets(1, 0)
	limited := 0
	for i := range 20 {
		if _, err := f.Resolve(f.via(proxyAddr, email, "user"+strconv.Itoa(i)+"@example.com")); host.KindOf(err) == host.Limited {
			limited++
		}
	}
	if limited < 5 {
		t.Errorf("%d of 20 unknown users were refused unlooked at", limited)
	}
}

func TestTheLoginsOfAProxyAreBounded(t *testing.T) {
	var s proxyLogins
	for i := range 2*maxProxyLogins + 1 {
		s.put(host.UserID(strconv.Itoa(i)), "x")
	}
	if n := len(s.logins); n == 0 || n > maxProxyLogins {
		t.Errorf("%d logins are remembered", n)
	}
}

// A user who is disabled after a sign-in is refused at the next
// request, with the same log line as an unlisted user.
func TestADisabledUserOfAProxyIsRefusedAndLogged(t *testing.T) {
	f := behindProxy(t)
	ask := func() error { _, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com")); return err }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	log := f.keepLog()
	f.people.remove("ann@example.com")
	for range 3 {
		e, _ := errors.AsType[*host.Error](ask())
		if e == nil || e.Kind != host.Unauthenticated || !strings.Contains(e.Detail, "does not list") {
			t.Errorf("%v", e)
		}
	}
	if lines := log.Take("sign-in refused", email, "ann@example.com", "does not list"); len(lines) != 1 {
		t.Errorf("log %q", lines)
	}
}
