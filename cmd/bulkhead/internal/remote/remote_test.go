package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type people struct{}

func (people) PersonOf(*host.Principal) (authn.Person, bool) { return authn.Person{Name: "Ann"}, true }
func (people) Revision() uint64                              { return 1 }

// hostOf serves sign-in as a host does, with its real store, and notes the URLs.
type hostOf struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
}

func serve(t *testing.T, token time.Duration) *hostOf {
	t.Helper()
	store, err := state.Open(t.Context(), state.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	table := session.NewTable(store.Revoked, session.Options{})
	h := &hostOf{}
	mux := http.NewServeMux()
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.paths = append(h.paths, r.URL.String())
		h.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	public, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := authn.New(authn.Config{
		PublicURL: public, State: store, Sessions: session.NewEnder(table, store), Directory: people{},
		Options: authn.Options{Dev: &struct{}{}, Lifetimes: authn.Lifetimes{Token: host.Duration(token)}}, Rates: authn.Rates{Client: -1, Account: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolving := func(f func(http.ResponseWriter, *http.Request, authn.Resolved) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			who, err := s.Resolve(r)
			if err != nil {
				return err
			}
			return f(w, r, who)
		}
	}
	for path, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /auth/login": s.Login, "GET /auth/cli": s.CLIPage, "POST /auth/cli": resolving(s.CLIAllow), "POST /auth/cli/token": s.CLIToken,
		"POST /auth/refresh": resolving(s.Refresh), "POST /auth/logout": s.Logout, "GET /auth/me": resolving(s.Me),
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				e, _ := errors.AsType[*host.Error](err)
				w.WriteHeader(e.HTTPStatus())
				_ = json.NewEncoder(w).Encode(map[string]string{"error": e.Public(), "detail": e.Detail})
			}
		})
	}
	return h
}

// browser is a user who is signed in, and allows what a page asks.
type browser struct {
	t    *testing.T
	http *http.Client
	base string
}

func (h *hostOf) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t, &http.Client{Jar: jar, Transport: &http.Transport{}}, h.URL}
	t.Cleanup(b.http.CloseIdleConnections)
	b.post("/auth/login", map[string]string{"user": "ann"})
	return b
}

func (b *browser) post(path string, v any) (answer map[string]any) {
	b.t.Helper()
	text, _ := json.Marshal(v)
	resp, err := b.http.Post(b.base+path, "application/json", strings.NewReader(string(text)))
	if err != nil {
		b.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&answer)
	return answer
}

// allow does what the page's script does, and returns the code.
func (b *browser) allow(address string) string {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Error(err)
		return ""
	}
	q := u.Query()
	code, _ := b.post("/auth/cli", map[string]string{"challenge": q.Get("challenge")})["code"].(string)
	if port := q.Get("port"); port != "" {
		for state, status := range map[string]int{"of-another-page": 404, q.Get("state"): 200} {
			resp, err := b.http.Get("http://127.0.0.1:" + port + "/?" + url.Values{"code": {code}, "state": {state}}.Encode())
			if err != nil {
				b.t.Error(err)
				return ""
			}
			resp.Body.Close()
			if resp.StatusCode != status && state == "of-another-page" {
				b.t.Errorf("a redirect with another state: %d", resp.StatusCode)
			}
			if status == 200 {
				break
			}
		}
	}
	return code
}

func TestALoginIsKeptForTheUserAlone(t *testing.T) {
	h := serve(t, time.Hour)
	b := h.browser(t)
	logins := Logins{filepath.Join(t.TempDir(), "below", "logins.json")}
	done := make(chan struct{})
	login, err := logins.SignIn(t.Context(), h.URL, SignIn{Open: func(address, check string) {
		if check == "" || !strings.HasPrefix(address, h.URL+"/auth/cli?") {
			t.Errorf("%q %q", address, check)
		}
		go func() { defer close(done); b.allow(address) }()
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	info, err := os.Stat(logins.Path)
	if err != nil || info.Mode().Perm() != 0o600 || login.User != "ann" {
		t.Errorf("%v %v %+v", info, err, login)
	}
	h.mu.Lock()
	for _, path := range h.paths {
		if strings.Contains(path, login.Token) {
			t.Errorf("the token is in the URL %s", path)
		}
	}
	h.mu.Unlock()
	c, err := logins.Client(h.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	var me struct{ User string }
	if err := c.Do(t.Context(), "GET", "/auth/me", nil, &me); err != nil || me.User != "ann" {
		t.Errorf("%v %v", me, err)
	}
	if err := os.Chmod(logins.Path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "GET", "/auth/me", nil, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	if err := os.Chmod(logins.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := logins.SignOut(t.Context(), h.URL); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "GET", "/auth/me", nil, nil); !errors.Is(err, ErrSignIn) {
		t.Errorf("after signing out: %v", err)
	}
	old, err := WithTokenFile(h.URL, write(t, login.Token+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.http.CloseIdleConnections()
	e, _ := errors.AsType[*Error](old.Do(t.Context(), "GET", "/auth/me", nil, nil))
	if e == nil || e.Status != 401 {
		t.Errorf("the token after signing out: %v", e)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWithoutABrowserTheUserCopiesTheCode(t *testing.T) {
	h := serve(t, time.Hour)
	b := h.browser(t)
	logins := Logins{filepath.Join(t.TempDir(), "logins.json")}
	var address string
	s := SignIn{
		Open: func(a, _ string) { address = a },
		Code: func(context.Context) (string, error) { return " " + b.allow(address) + "\n", nil },
	}
	if _, err := logins.SignIn(t.Context(), h.URL, s); err != nil {
		t.Fatal(err)
	}
	s.Code = func(context.Context) (string, error) { return "no code", nil }
	if _, err := logins.SignIn(t.Context(), h.URL, s); err == nil || !strings.Contains(err.Error(), "bulkhead login") {
		t.Errorf("a wrong code: %v", err)
	}
	all, err := logins.load()
	if err != nil || all[h.URL].User != "ann" {
		t.Errorf("a failed sign-in changes %v, %v", all, err)
	}
}

func TestATokenIsRenewedWhileItIsUsed(t *testing.T) {
	h := serve(t, time.Hour)
	b := h.browser(t)
	logins := Logins{filepath.Join(t.TempDir(), "logins.json")}
	var address string
	first, err := logins.SignIn(t.Context(), h.URL, SignIn{
		Open: func(a, _ string) { address = a },
		Code: func(context.Context) (string, error) { return b.allow(address), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	// As if half of its life were over.
	if err := logins.change(func(all map[string]Login) {
		old := all[h.URL]
		old.At = old.At.Add(-2 * time.Hour)
		all[h.URL] = old
	}); err != nil {
		t.Fatal(err)
	}
	c, err := logins.Client(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	if err := c.Do(t.Context(), "GET", "/auth/me", nil, nil); err != nil {
		t.Fatal(err)
	}
	all, err := logins.load()
	if err != nil || all[h.URL].Token == first.Token || all[h.URL].User != "ann" || !all[h.URL].Until.Equal(first.Until) {
		t.Errorf("%+v, %v; was %+v", all, err, first)
	}
	if err := logins.change(func(all map[string]Login) {
		old := all[h.URL]
		old.Expires = time.Now().Add(-time.Second)
		all[h.URL] = old
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "GET", "/auth/me", nil, nil); !errors.Is(err, ErrSignIn) {
		t.Errorf("an expired token: %v", err)
	}
}

func TestATokenIsSentToNoOtherPlace(t *testing.T) {
	logins := Logins{filepath.Join(t.TempDir(), "logins.json")}
	for _, bad := range []string{"http://console.example.com", "ftp://x", "console.example.com", "https://user:secret@x", "https://x/path", "https://x?q=1"} {
		_, err1 := logins.Client(bad)
		_, err2 := WithTokenFile(bad, "/dev/null")
		_, err3 := logins.SignIn(t.Context(), bad, SignIn{})
		for _, err := range []error{err1, err2, err3} {
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	from := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer from.Close()
	c, err := WithTokenFile(from.URL, write(t, "a-token"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	if err := c.Do(t.Context(), "GET", "/", nil, nil); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a redirect: %v", err)
	}
	for _, content := range []string{"", "two words", strings.Repeat("x", maxTokenFile+1)} {
		c, err := WithTokenFile(from.URL, write(t, content))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Do(t.Context(), "GET", "/", nil, nil); err == nil || !strings.Contains(err.Error(), "--token-file") {
			t.Errorf("a token file with %d bytes: %v", len(content), err)
		}
	}
}

func TestARefusalReadsAsTheHostWroteIt(t *testing.T) {
	for status, c := range map[int]struct{ body, want string }{
		403: {`{"error":"you may not do this","detail":"no_action","requestId":"R"}`, "you may not do this (no_action)"},
		503: {`{"error":"the state store does not answer","requestId":"R"}`, "the state store does not answer; request R"},
		502: {`<html>`, "the host answers 502 Bad Gateway"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, c.body) }))
		client, err := WithTokenFile(srv.URL, write(t, "a-token"))
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), "GET", "/", nil, nil); err == nil || err.Error() != c.want {
			t.Errorf("%d: %v", status, err)
		}
		client.http.CloseIdleConnections()
		srv.Close()
	}
}
