package authn

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// serve mounts the handlers on a loopback listener, as the gateway does.
func (f *fixture) serve(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /auth/login": f.Login, "POST /auth/logout": f.Logout, "POST /auth/refresh": resolving(f.Service, f.Refresh), "GET /auth/me": resolving(f.Service, f.Me),
		"GET /auth/login": f.Begin, "GET /auth/callback/{method}": f.Callback, "GET /login": f.Page,
		"GET /auth/cli": f.CLIPage, "POST /auth/cli": resolving(f.Service, f.CLIAllow), "POST /auth/cli/token": f.CLIToken,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				e, _ := errors.AsType[*host.Error](err)
				http.Error(w, e.Public(), e.HTTPStatus())
			}
		})
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// browser is a client with a cookie jar.
type browser struct {
	t testing.TB
	*http.Client
	base   *url.URL
	server *httptest.Server
}

func (f *fixture) browser(t testing.TB, srv *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: srv.Client().Transport}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, client, base, srv}
}

type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (b *browser) do(method, path, body string, headers ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base.String()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, text: strings.TrimSpace(string(text))}
	_ = json.Unmarshal(text, &out.body)
	return out
}

func (b *browser) cookie() string {
	for _, c := range b.Jar.Cookies(b.base) {
		if c.Name == "bulkhead" {
			return c.Value
		}
	}
	return ""
}

func (b *browser) signIn(user string) {
	b.t.Helper()
	if r := b.do("POST", "/auth/login", `{"user":"`+user+`"}`); r.status != 200 || b.cookie() == "" {
		b.t.Fatalf("sign-in: %d %s", r.status, r.text)
	}
}

func (b *browser) wantStatus(r reply, status int) {
	b.t.Helper()
	if r.status != status {
		b.t.Errorf("status %d (%s), want %d", r.status, r.text, status)
	}
}

// resolving does what the chain does before a handler that needs to know who is
// asking.
func resolving(s *Service, f func(http.ResponseWriter, *http.Request, Resolved) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := s.Resolve(r)
		if err != nil {
			return err
		}
		return f(w, r, who)
	}
}
