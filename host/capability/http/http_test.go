package http

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type authority struct{ lost atomic.Bool }

func (a *authority) Alive() bool { return !a.lost.Load() }
func (a *authority) Cause() error {
	if a.lost.Load() {
		return host.ErrNoLonger
	}
	return nil
}

// service is a server with TLS behind a site "shop", whose token is s3cret.
type service struct {
	t        *testing.T
	url      string
	provider *HTTP
	granted  *capability.Granted
	auth     authority
	asked    []host.CapabilityCall // questions to policy
	deny     bool
	reads    bool // the route only reads
}

func serve(t *testing.T, verbs string, handle http.HandlerFunc) *service {
	t.Helper()
	srv := httptest.NewTLSServer(handle)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	err := errors.Join(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600),
		os.WriteFile(token, []byte("s3cret\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, url: srv.URL}
	list := []Config{{Name: "shop", URL: srv.URL + "/api", TokenFile: token, CAFile: ca}, {Name: "open", URL: srv.URL + "/api/open/", CAFile: ca}}
	var bad config.Problems
	if CheckConfigs(&bad, list); bad.Err() != nil {
		t.Fatal(bad.Err())
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if s.provider, err = New(list, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.provider.Close)
	broker := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		s.asked = append(s.asked, *q.Capability)
		return host.Decision{Allow: !s.deny, Reason: host.Reason{Code: "no_resource"}}
	}, log, s.provider)
	s.granted, err = broker.Grant("p", map[string][]capability.Grant{"http": {{Instances: []string{"*"}, Verbs: strings.Fields(verbs)}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) send(r *abi.Request) (*abi.Response, error) {
	caller := &capability.Caller{Plugin: "p", Principal: &host.Principal{User: "ann@example.com"}, Route: host.Route{Name: "r", Mutates: !s.reads}, Authority: &s.auth, Logger: slog.New(slog.DiscardHandler)}
	return s.granted.Fetch(s.t.Context(), caller, "http", r)
}

func TestARequestGoesToItsSiteWithTheHostsCredential(t *testing.T) {
	s := serve(t, "*", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=b")
		w.Header().Set("X-Total", "7")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s %s %q", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("X-Mine"), r.Header.Values("Accept"), body)
	})
	resp, err := s.send(&abi.Request{Method: "POST", URL: s.url + "/api/v1/a%20b?x=1&x=2", Body: []byte("hello"),
		Header: []abi.Pair{{Name: "x-mine", Value: "yes"}, {Name: "Accept", Value: "a"}, {Name: "accept", Value: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `POST /api/v1/a%20b?x=1&x=2 Bearer s3cret yes [a b] "hello"`; resp.Status != http.StatusTeapot || string(resp.Body) != want {
		t.Errorf("%d %s", resp.Status, resp.Body)
	}
	for _, h := range resp.Header {
		if h.Name == "Set-Cookie" {
			t.Error("the plugin got a cookie")
		}
	}
	c := s.asked[0]
	if c.Instance != "shop" || c.Verb != "post" || c.Path != "/api/v1/a%20b" || c.GroupResource() != "requests.http/shop" || c.Effect != host.EffectChange {
		t.Errorf("policy saw %+v", c)
	}
	// The longest address counts, and a site without a credential takes the plugin's.
	resp, err = s.send(&abi.Request{Method: "GET", URL: s.url + "/api/open/x", Header: []abi.Pair{{Name: "Authorization", Value: "Basic own"}}})
	if err != nil || s.asked[1].Instance != "open" || !strings.Contains(string(resp.Body), "GET /api/open/x Basic own") {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestWhatDoesNotBelongToASiteIsRefusedBeforeItIsSent(t *testing.T) {
	s := serve(t, "get post", func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) })
	for _, c := range []struct {
		method, url, want string
		header            abi.Pair
	}{
		{"GET", "https://elsewhere.example/", "does not belong to a site", abi.Pair{}},
		{"GET", "http" + strings.TrimPrefix(s.url, "https") + "/api/", "does not belong to a site", abi.Pair{}},
		{"GET", s.url + "/apikeys", "does not belong to a site", abi.Pair{}},
		{"GET", s.url + "/", "does not belong to a site", abi.Pair{}},
		{"GET", s.url + "/api/../admin", `"." or ".."`, abi.Pair{}},
		{"GET", s.url + "/api/%2e%2e/admin", "%2e", abi.Pair{}},
		{"GET", s.url + "/api/a%2Fb", "%2f", abi.Pair{}},
		{"GET", s.url + "/api/%6fpen/x", "%6f", abi.Pair{}}, // the site "open" by another spelling
		{"GET", s.url + "/api//b", "empty part", abi.Pair{}},
		{"GET", s.url + "/api/a;b", ";", abi.Pair{}},
		{"GET", s.url + "/api/a#b", "fragment", abi.Pair{}},
		{"GET", strings.Replace(s.url, "https://", "https://ann@", 1) + "/api/", "no user", abi.Pair{}},
		{"GET", "file:///etc/passwd", "must begin with https://", abi.Pair{}},
		{"GET", s.url + "/api/" + strings.Repeat("a", maxURL), "too long", abi.Pair{}},
		{"TRACE", s.url + "/api/", "the method", abi.Pair{}},
		{"get", s.url + "/api/", "the method", abi.Pair{}},
		{"DELETE", s.url + "/api/a", "is not granted", abi.Pair{}},
		{"GET", s.url + "/api/", "is set by the host", abi.Pair{Name: "authorization", Value: "x"}},
		{"GET", s.url + "/api/", "is set by the host", abi.Pair{Name: "Host", Value: "x"}},
		{"GET", s.url + "/api/", "is set by the host", abi.Pair{Name: "X-Forwarded-For", Value: "x"}},
		{"POST", s.url + "/api/a", "another method", abi.Pair{Name: "x-http-method-override", Value: "DELETE"}},
		{"GET", s.url + "/api/", "another method or path", abi.Pair{Name: "X_Original_URL", Value: "/admin"}},
		{"GET", s.url + "/api/", "control character", abi.Pair{Name: "A", Value: "x\r\nHost: y"}},
		{"GET", s.url + "/api/", "not the name of a header", abi.Pair{Name: "A b", Value: "x"}},
	} {
		r := &abi.Request{Method: c.method, URL: c.url}
		if c.header.Name != "" {
			r.Header = []abi.Pair{c.header}
		}
		if resp, err := s.send(r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.80s: %+v, %v; want %q", c.method, c.url, resp, err, c.want)
		}
	}
	s.deny = true
	if _, err := s.send(&abi.Request{Method: "GET", URL: s.url + "/api/"}); err == nil || !strings.Contains(err.Error(), "not permitted") {
		t.Error(err)
	}
	s.deny, s.reads = false, true
	if _, err := s.send(&abi.Request{Method: "POST", URL: s.url + "/api/"}); err == nil || !strings.Contains(err.Error(), "declared to read") {
		t.Error(err)
	}
}

func TestARedirectIsThePluginsBusiness(t *testing.T) {
	s := serve(t, "*", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	if resp, err := s.send(&abi.Request{Method: "GET", URL: s.url + "/api/"}); err != nil || resp.Status != http.StatusFound {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestAnAnswerHasABound(t *testing.T) {
	s := serve(t, "*", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, abi.MaxBody+1)) })
	if _, err := s.send(&abi.Request{Method: "GET", URL: s.url + "/api/"}); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Error(err)
	}
}

func TestARequestEndsWithItsSession(t *testing.T) {
	var s *service
	s = serve(t, "*", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("first"))
		_ = http.NewResponseController(w).Flush()
		s.auth.lost.Store(true)
		_, _ = w.Write([]byte("second"))
	})
	if resp, err := s.send(&abi.Request{Method: "GET", URL: s.url + "/api/"}); !errors.Is(err, host.ErrNoLonger) {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	h, err := New([]Config{{Name: "gone", URL: srv.URL}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	prepared, err := h.Kind().Classify(&abi.Request{Method: "GET", URL: srv.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Fetch(t.Context(), &capability.Permit{Caller: &capability.Caller{Authority: &authority{}}, Prepared: prepared})
	if e, ok := errors.AsType[*host.Error](err); !ok || e.Kind != host.Unavailable || strings.Contains(e.Public(), "127.0.0.1") {
		t.Errorf("%v", err)
	}
	h.wait = time.Nanosecond
	for range maxCalls {
		h.slots <- struct{}{}
	}
	_, err = h.Fetch(t.Context(), &capability.Permit{Caller: &capability.Caller{Authority: &authority{}}, Prepared: prepared})
	if e, ok := errors.AsType[*host.Error](err); !ok || e.Kind != host.Limited {
		t.Errorf("%v", err)
	}
}

func TestAConfigurationThatCannotBeUsedIsRefused(t *testing.T) {
	for _, c := range []struct {
		list []Config
		want string
	}{
		{[]Config{{Name: "A", URL: "https://a.example"}}, "name"},
		{[]Config{{Name: "a", URL: "https://a.example"}, {Name: "a", URL: "https://b.example"}}, "name"},
		{[]Config{{Name: "a", URL: "https://a.example/"}, {Name: "b", URL: "https://A.example:443"}}, "url"},
		{[]Config{{Name: "a", URL: "http://a.example"}}, "url"},
		{[]Config{{Name: "a", URL: "https://a.example?x=1"}}, "url"},
		{[]Config{{Name: "a", URL: "a.example"}}, "url"},
		{[]Config{{Name: "a", URL: "https://"}}, "url"},
		{[]Config{{Name: "a", URL: "https://a.example", User: "u"}}, "tokenFile"},
		{[]Config{{Name: "a", URL: "https://a.example", User: "u:v", TokenFile: "t"}}, "user"},
	} {
		var bad config.Problems
		CheckConfigs(bad.At("http"), c.list)
		if err := bad.Err(); err == nil || !strings.Contains(err.Error(), "."+c.want) {
			t.Errorf("%+v: %v", c.list, err)
		}
	}
	if _, err := New([]Config{{Name: "a", URL: "https://a.example", TokenFile: "/absent"}}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "http[0].tokenFile") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("https://shop.example.com:8443/a/b?x=1")
	f.Add("https://a.example/%2e%2e/")
	f.Fuzz(func(t *testing.T, raw string) {
		a, problem := parse(raw)
		if problem != "" {
			return
		}
		if again, problem := parse(a.String()); problem != "" || again != a {
			t.Fatalf("%q became %q, then %+v %s", raw, a, again, problem)
		}
	})
}
