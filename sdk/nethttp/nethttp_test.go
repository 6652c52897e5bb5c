package nethttp_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/nethttp"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "web", "version": "1.0.0",
  "routes": [
    {"name": "get", "method": "GET", "path": "/releases/{name}", "action": "read"},
    {"name": "put", "method": "PUT", "path": "/releases/{name}", "action": "put", "mutates": true},
    {"name": "none", "method": "GET", "path": "/none", "action": "read"},
    {"name": "refuse", "method": "GET", "path": "/refuse", "action": "read"}
  ]
}`

func init() {
	nethttp.Route("GET /releases/{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := nethttp.RequestOf(r.Context())
		deadline, ok := r.Context().Deadline()
		w.Header().Set("ETag", `"1"`)
		fmt.Fprintf(w, "%s %s %s %s %s %v", of.User(), r.PathValue("name"), r.URL.Path, r.FormValue("x"), r.Header.Get("accept"),
			ok && time.Until(deadline) > time.Second)
		w.Header().Set("Link", "</too-late>")
	}))
	nethttp.Handle("put", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusTeapot) // which has no effect
		_, _ = w.Write(body)
	}))
	nethttp.Handle("none", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	nethttp.Handle("refuse", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, abi.MaxBody+1))
		http.Error(w, fmt.Sprint(err), http.StatusConflict)
	}))
}

func TestAHandlerOfNetHTTPServesRoutes(t *testing.T) {
	h := sdktest.New(t, manifest)
	resp := h.Do(sdktest.Request{Path: "/releases/a%20b?x=1", Header: []abi.Pair{{Name: "Accept", Value: "text/plain"}}})
	if want := "ann@example.com a b /releases/a b 1 text/plain true"; resp.Status != 200 || resp.Text() != want {
		t.Errorf("got %d %q, want %q", resp.Status, resp.Text(), want)
	}
	for _, p := range resp.Header {
		if p.Name == "Link" {
			t.Error("a header that was set after the status is sent")
		}
	}
	resp = h.Do(sdktest.Request{Method: "PUT", Path: "/releases/web", Body: `{"a": 1}`})
	if resp.Status != 201 || resp.Text() != `{"a": 1}` {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
	if resp = h.Do(sdktest.Request{Path: "/none"}); resp.Status != 204 || len(resp.Body) != 0 {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
	// The status was written with the first byte, as by net/http's own server.
	if resp = h.Do(sdktest.Request{Path: "/refuse"}); resp.Status != 200 || resp.Text() != "the answer is over 8388608 bytes\n" {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}
