package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// asAnn returns a client whose requests call f.
func asAnn(ctx context.Context, auth host.Authority, f transportFunc) *Client {
	return newClient(ctx, &endpoint{cluster: "dev", url: "https://api.invalid/base", transport: f}, &host.Impersonation{User: "ann"}, auth)
}

func TestAForwardedRequestIsSentAsThePolicysIdentity(t *testing.T) {
	var sent *http.Request
	c := asAnn(t.Context(), &authority{}, func(r *http.Request) (*http.Response, error) {
		sent = r
		return &http.Response{StatusCode: 201, Header: http.Header{"X": {"y"}}, Body: io.NopCloser(strings.NewReader("made"))}, nil
	})
	r := httptest.NewRequest("POST", "http://objects.helm/api/v1/namespaces/shop/pods?a=b", strings.NewReader("{}"))
	r.Header = http.Header{"Impersonate-User": {"root"}, "Authorization": {"Bearer theirs"}, "Content-Type": {"application/json"}}
	w := httptest.NewRecorder()
	err := c.Forward(w, r, Forwarding{As: &host.Impersonation{User: "eve", Groups: []string{"g"}}})
	if err != nil || w.Code != 201 || w.Body.String() != "made" || w.Header().Get("X") != "y" {
		t.Errorf("%v: %d %s", err, w.Code, w.Body)
	}
	if sent.URL.String() != "https://api.invalid/base/api/v1/namespaces/shop/pods?a=b" || sent.Host != "" && sent.Host != "api.invalid" {
		t.Errorf("sent to %s of %q", sent.URL, sent.Host)
	}
	if sent.Header.Get("Impersonate-User") != "eve" || sent.Header.Get("Impersonate-Group") != "g" || sent.Header.Get("Authorization") != "" || sent.Header.Get("Content-Type") == "" {
		t.Errorf("sent with %v", sent.Header)
	}
}

func TestAForwardedRequestNeedsAnIdentityAndAuthority(t *testing.T) {
	auth, sent := &authority{}, 0
	c := asAnn(t.Context(), auth, func(*http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	for _, as := range []*host.Impersonation{nil, {}, {User: "system:admin"}, {User: "eve", Groups: []string{"system:masters"}}} {
		w := httptest.NewRecorder()
		if err := c.Forward(w, httptest.NewRequest("GET", "/api/v1/pods", nil), Forwarding{As: as}); host.KindOf(err) != host.Forbidden || w.Code != 403 {
			t.Errorf("%+v: %v, %d", as, err, w.Code)
		}
	}
	auth.gone.Store(true)
	w := httptest.NewRecorder()
	err := c.Forward(w, httptest.NewRequest("GET", "/api/v1/pods", nil), Forwarding{As: &host.Impersonation{User: "eve"}})
	if !errors.Is(err, host.ErrLoggedOut) || w.Code != 401 || sent > 0 {
		t.Errorf("without authority: %v, %d, sent %d", err, w.Code, sent)
	}
	var status struct {
		Kind string
		Code int
	}
	if json.Unmarshal(w.Body.Bytes(), &status) != nil || status.Kind != "Status" || status.Code != 401 {
		t.Errorf("the answer is %s", w.Body)
	}
}

func TestAForwardedRequestHasATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := asAnn(t.Context(), &authority{}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		began := time.Now()
		err := c.Forward(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v1/pods", nil), Forwarding{As: &host.Impersonation{User: "eve"}, Timeout: time.Minute})
		if !errors.Is(err, host.ErrTooLong) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestClosingOutlivesAuthorityForItsRequestsAndTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		auth := &authority{}
		var as atomic.Value
		c := asAnn(ctx, auth, func(r *http.Request) (*http.Response, error) {
			if err := r.Context().Err(); err != nil {
				return nil, err
			}
			as.Store(r.Header.Get("Impersonate-User"))
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
		closing, stop, err := c.Closing(10*time.Second, func(method, path string) bool { return method == "PUT" && path == "/mine" })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		auth.gone.Store(true)
		end()
		try := func(method, path string) error {
			_, err := closing.Do(t.Context(), &Request{Method: method, Path: path, Limit: 1})
			return err
		}
		if err := try("PUT", "/mine"); err != nil || as.Load() != "ann" {
			t.Errorf("%v, as %v", err, as.Load())
		}
		for _, other := range [][2]string{{"GET", "/mine"}, {"PUT", "/mine/too"}, {"DELETE", "/mine"}} {
			if err := try(other[0], other[1]); host.KindOf(err) != host.Forbidden {
				t.Errorf("%v: %v", other, err)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := try("PUT", "/mine"); err == nil {
			t.Error("it goes on after its time")
		}
		if _, _, err := c.Closing(time.Second, nil); !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("made without authority: %v", err)
		}
	})
}

func TestDiscoveryRequestsAreRecognised(t *testing.T) {
	for request, want := range map[string]bool{
		"GET /version": true, "GET /api": true, "GET /api/v1": true, "GET /apis": true, "GET /apis/apps": true, "GET /apis/apps/v1": true,
		"GET /openapi/v2": true, "GET /openapi/v3/apis/apps/v1": true,
		"POST /version": false, "HEAD /version": false, "GET /": false, "GET /metrics": false, "GET /healthz": false, "GET /logs": false,
		"GET /api/v1/pods": false, "GET /apis/apps/v1/deployments": false, "GET /version/x": false, "GET /openapi": false,
		"GET /openapi/../metrics": false, "GET /api/": false, "GET //api": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		if Discovers(method, path) != want {
			t.Errorf("%s", request)
		}
	}
}
