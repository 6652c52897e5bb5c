package authn

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestACrossSiteRefusalNamesBothOriginsAndIsBounded(t *testing.T) {
	f := setUp(t)
	for _, c := range []struct{ header, value, want string }{
		{"Origin", "http://127.0.0.1:9311", `a page of "http://127.0.0.1:9311"; the console's origin is "http://127.0.0.1:8080", from publicURL`},
		{"Origin", "a\x1b[31m\xff" + strings.Repeat("x", 5000), `a page of "a\x1b[31m\xffxxx`},
		{"Sec-Fetch-Site", "cross-site", `a page of another site; the console's origin is "http://127.0.0.1:8080"`},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(c.header, c.value)
		e, ok := errors.AsType[*host.Error](f.CheckSite(r))
		if !ok || !strings.Contains(e.Detail, c.want) || len(e.Detail) > 300 {
			t.Errorf("%.30q: %v", c.value, e)
		}
	}
}

func TestCheckOrigin(t *testing.T) {
	local := setUp(t)
	public := &url.URL{Scheme: "https", Host: "Console.example.com:443"}
	secure := &Service{Config: Config{PublicURL: public}, cookie: cookieFor(public), origins: originsOf(public)}

	const ajax = "X-Requested-With: XMLHttpRequest"
	for _, c := range []struct {
		name    string
		service *Service
		method  string
		cookie  bool
		headers []string
		ok      bool
	}{
		{"a page reads", local.Service, "GET", true, []string{"Sec-Fetch-Site: cross-site"}, true},
		{"a program with a cookie jar", local.Service, "POST", true, []string{ajax}, true},
		{"a program with a JSON body", local.Service, "POST", true, []string{"Content-Type: application/json; charset=utf-8"}, true},
		{"a program without a cookie", local.Service, "POST", false, []string{"Content-Type: text/plain"}, true},
		{"a form", local.Service, "POST", true, []string{"Content-Type: application/x-www-form-urlencoded"}, false},
		{"a form that looks like JSON", local.Service, "POST", true, []string{"Content-Type: text/plain; application/json"}, false},
		{"no content type", local.Service, "DELETE", true, nil, false},
		{"another X-Requested-With", local.Service, "DELETE", true, []string{"X-Requested-With: me"}, false},
		{"our page", local.Service, "POST", true, []string{ajax, "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:8080"}, true},
		{"our page by another name", local.Service, "POST", true, []string{ajax, "Origin: http://localhost:8080"}, true},
		{"another port", local.Service, "POST", true, []string{ajax, "Origin: http://127.0.0.1:9090"}, false},
		{"a foreign page", local.Service, "POST", true, []string{ajax, "Origin: https://evil.example"}, false},
		{"a page that hides", local.Service, "POST", true, []string{ajax, "Origin: null"}, false},
		{"cross-site", local.Service, "PATCH", true, []string{ajax, "Sec-Fetch-Site: cross-site"}, false},
		{"a sibling", local.Service, "POST", true, []string{ajax, "Sec-Fetch-Site: same-site"}, false},
		{"two origins", local.Service, "POST", true, []string{ajax, "Origin: http://127.0.0.1:8080", "Origin: https://evil.example"}, false},
		{"an upgrade by a program", local.Service, "GET", true, []string{"Upgrade: websocket"}, true},
		{"an upgrade by our page", local.Service, "GET", true, []string{"Upgrade: websocket", "Origin: http://127.0.0.1:8080"}, true},
		{"an upgrade by a foreign page", local.Service, "GET", true, []string{"Upgrade: websocket", "Origin: https://evil.example"}, false},
		{"an upgrade without a cookie by a foreign page", local.Service, "GET", false, []string{"Upgrade: websocket", "Origin: https://evil.example"}, false},
		{"https: our page", secure, "POST", true, []string{ajax, "Origin: https://console.example.com"}, true},
		{"https: downgraded", secure, "POST", true, []string{ajax, "Origin: http://console.example.com"}, false},
		{"https: localhost", secure, "POST", true, []string{ajax, "Origin: http://localhost"}, false},
		{"https: suffix", secure, "POST", true, []string{ajax, "Origin: https://console.example.com.evil.example"}, false},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		if c.cookie {
			r.AddCookie(&http.Cookie{Name: c.service.cookie.name, Value: "x"})
		}
		for _, h := range c.headers {
			k, v, _ := strings.Cut(h, ": ")
			r.Header.Add(k, v)
		}
		err := c.service.CheckOrigin(r)
		if (err == nil) != c.ok || err != nil && host.KindOf(err) != host.Forbidden {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
