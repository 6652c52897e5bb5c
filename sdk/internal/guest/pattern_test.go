package guest

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// unregister forgets everything that a test has registered.
func unregister(t *testing.T) {
	t.Cleanup(func() {
		handlers, sessions, unary, streams = map[string]HandleFunc{}, map[string]SessionFunc{}, nil, nil
	})
}

// The handler is that of the route which the host has matched and policy has decided on, also
// where another pattern fits the path.
func TestThePatternOfTheRouteThatTheHostMatchedIsUsed(t *testing.T) {
	unregister(t)
	for _, p := range []string{"GET /", "GET /releases", "GET /releases/{name}", "DELETE /releases/{name}", "GET /{kind}/latest", "GET /{kind}/{name}/log"} {
		HandlePattern(p, func(*abi.Request) (*abi.Response, error) { return &abi.Response{Status: 200, Body: []byte(p)}, nil })
	}
	param := func(pairs ...string) (out []abi.Pair) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, abi.Pair{Name: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		method, url string
		params      []abi.Pair
		want        string
	}{
		{"GET", "/", nil, "GET /"},
		{"GET", "/releases?x=/a/b", nil, "GET /releases"},
		{"GET", "/releases/web", param("name", "web"), "GET /releases/{name}"},
		{"DELETE", "/releases/web", param("name", "web"), "DELETE /releases/{name}"},
		{"GET", "/releases/a%20b", param("name", "a b"), "GET /releases/{name}"},
		// Both patterns fit this path; the host says which route it is.
		{"GET", "/releases/latest", param("name", "latest"), "GET /releases/{name}"},
		{"GET", "/releases/latest", param("kind", "releases"), "GET /{kind}/latest"},
		{"GET", "/jobs/web/log", param("kind", "jobs", "name", "web"), "GET /{kind}/{name}/log"},
		{"GET", "/jobs/web/log", param("name", "web", "kind", "jobs"), ""},
		{"GET", "/releases/web", param("name", "other"), ""},
		{"GET", "/releases/web", nil, ""},
		{"GET", "/releases/web/x", param("name", "web"), ""},
		{"GET", "/releases/%zz", param("name", "%zz"), ""},
		{"POST", "/releases", nil, ""},
	} {
		frame := abi.AppendRequest(nil, &abi.Request{Method: c.method, URL: c.url, Host: &abi.HostSection{Route: "by-pattern", Params: c.params}})
		resp, err := abi.DecodeReply(Handle(frame))
		got := ""
		if err == nil {
			got = string(resp.Body)
		} else if x, ok := errors.AsType[*abi.Error](err); !ok || x.Code != abi.CodeNoHandler {
			t.Errorf("%s %s: %v", c.method, c.url, err)
		}
		if got != c.want {
			t.Errorf("%s %s %v: %q, want %q", c.method, c.url, c.params, got, c.want)
		}
	}
}

func TestSessionsHavePatternsToo(t *testing.T) {
	unregister(t)
	ran := ""
	SessionPattern("GET /watch/{kind}", func(r *abi.Request) error { ran = r.URL; return nil })
	frame := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "/watch/pods", Host: &abi.HostSection{Route: "w", Params: []abi.Pair{{Name: "kind", Value: "pods"}}}})
	if _, err := abi.DecodeReply(Session(frame)); err != nil || ran != "/watch/pods" {
		t.Errorf("%q, %v", ran, err)
	}
}

func TestHandlersAreListed(t *testing.T) {
	unregister(t)
	f := func(*abi.Request) (*abi.Response, error) { return nil, nil }
	HandleRoute("b", f)
	HandleRoute("a", f)
	HandlePattern("GET /x/{y}", f)
	HandleSession("talk", func(*abi.Request) error { return nil })
	resp, err := abi.DecodeReply(Handlers())
	if err != nil || string(resp.Body) != "unary a\nunary b\nunary GET /x/{y}\nsession talk\n" {
		t.Errorf("%q, %v", resp.Body, err)
	}
}

func TestAPatternThatNoRouteCanHavePanics(t *testing.T) {
	unregister(t)
	f := func(*abi.Request) (*abi.Response, error) { return nil, nil }
	HandlePattern("GET /taken", f)
	for text, c := range map[string]struct {
		f    HandleFunc
		want string
	}{
		"/x": {f, "method and a path"}, "GET": {f, "method and a path"}, "GET x": {f, "method and a path"}, "get /x": {f, "method and a path"},
		"GET /nil": {nil, "is nil"}, "GET /taken": {f, "twice"},
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, c.want) {
					t.Errorf("%s: %q, want %q", text, p, c.want)
				}
			}()
			HandlePattern(text, c.f)
		}()
	}
}
