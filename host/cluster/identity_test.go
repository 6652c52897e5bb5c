package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

type authority struct{ gone atomic.Bool }

func (a *authority) Alive() bool { return !a.gone.Load() }
func (a *authority) Cause() error {
	if a.gone.Load() {
		return host.ErrLoggedOut
	}
	return nil
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestReservedIdentitiesAreNotImpersonated(t *testing.T) {
	long := strings.Repeat("x", maxNameSize+1)
	for name, user := range map[string]*host.Impersonation{
		"none":                {},
		"nil":                 nil,
		"blank user":          {User: " \t"},
		"Kubernetes user":     {User: "system:admin"},
		"in other letters":    {User: "System:Admin"},
		"Kubernetes group":    {User: "ann", Groups: []string{"ok", "system:masters"}},
		"empty group":         {User: "ann", Groups: []string{""}},
		"padded group":        {User: "ann", Groups: []string{" system:masters"}},
		"padded user":         {User: "ann "},
		"header in the user":  {User: "ann\r\nImpersonate-Group: system:masters"},
		"header in the group": {User: "ann", Groups: []string{"x\nImpersonate-Group: system:masters"}},
		"long user":           {User: long},
		"many groups":         {User: "ann", Groups: strings.Fields(strings.Repeat("g ", maxGroups+1))},
	} {
		set := &Set{}
		c, err := set.As(t.Context(), "dev", user, &authority{})
		if c != nil || host.KindOf(err) != host.Forbidden {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
	if err := admissible(&host.Impersonation{User: "ann@example.com", Groups: []string{"bulkhead:role:viewer"}}); err != nil {
		t.Error(err)
	}
}

func TestIdentityHeadersOfARequestAreReplaced(t *testing.T) {
	var got http.Header
	g := &guard{ctx: t.Context(), auth: &authority{}, user: &host.Impersonation{User: "ann", Groups: []string{"g1", "g2"}},
		next: transportFunc(func(r *http.Request) (*http.Response, error) {
			got = r.Header
			return &http.Response{Body: http.NoBody}, nil
		})}
	req, _ := http.NewRequest("GET", "https://example.invalid/api", nil)
	req.Header = http.Header{
		"Impersonate-User":        {"root"},
		"impersonate-group":       {"system:masters"},
		"Impersonate-Extra-Scope": {"x"},
		"Impersonate-Uid":         {"1"},
		"X-Remote-User":           {"root"},
		"Authorization":           {"Bearer theirs"},
		"Connection":              {"Impersonate-User"},
		"Accept":                  {"application/json"},
	}
	resp, err := g.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(got) != 3 || got.Get("Impersonate-User") != "ann" || strings.Join(got["Impersonate-Group"], " ") != "g1 g2" || got.Get("Accept") == "" {
		t.Errorf("sent %v", got)
	}
	if req.Header.Get("Impersonate-User") != "root" {
		t.Error("the caller's request was changed")
	}
}

func TestNothingIsSentWithoutAuthority(t *testing.T) {
	auth, sent := &authority{}, 0
	g := &guard{ctx: t.Context(), auth: auth, user: &host.Impersonation{User: "ann"},
		next: transportFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{Body: io.NopCloser(strings.NewReader("secret"))}, nil
		})}
	req, _ := http.NewRequest("GET", "https://example.invalid/api", nil)
	resp, err := g.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	auth.gone.Store(true)
	if text, err := io.ReadAll(resp.Body); len(text) > 0 || !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("the answer went on: %q, %v", text, err)
	}
	if _, err := g.RoundTrip(req); !errors.Is(err, host.ErrLoggedOut) || sent != 1 {
		t.Errorf("sent %d requests, %v", sent, err)
	}
	resp.Body.Close()
}

func TestRequestsEndWithTheirSession(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	g := &guard{ctx: ctx, auth: &authority{}, user: &host.Impersonation{User: "ann"},
		next: transportFunc(func(r *http.Request) (*http.Response, error) {
			cancel(host.ErrRevoked)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
	// Like libraries that do not pass a context.
	req, _ := http.NewRequestWithContext(context.Background(), "GET", "https://example.invalid/api", nil)
	if _, err := g.RoundTrip(req); !errors.Is(err, host.ErrRevoked) {
		t.Errorf("got %v", err)
	}
}
