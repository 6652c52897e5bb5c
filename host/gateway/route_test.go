package gateway_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
)

func mounting(t *testing.T, routes ...gateway.Route) (g *gateway.Gateway, problem string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprint(p)
		}
	}()
	g = gateway.New(gateway.Config{PublicURL: &url.URL{}, Authn: unlimited{}, Health: surfacetest.Healthy, Logger: slog.New(slog.DiscardHandler)})
	for _, r := range routes {
		r.Access, r.Handle = gateway.Always, func(w http.ResponseWriter, r *http.Request) error {
			gateway.WriteJSON(w, http.StatusOK, gateway.Vars(r))
			return nil
		}
		g.Mount(r)
	}
	return g, ""
}

// A route without an action, or one that another route answers for, is a defect of
// the host and shows when it starts.
func TestARouteThatNamesNoActionOrIsHiddenIsNotMounted(t *testing.T) {
	for name, c := range map[string]struct {
		routes  []gateway.Route
		problem string
	}{
		"no action":              {[]gateway.Route{{Method: "GET", Path: "/x"}}, `GET /x names no action, but ""`},
		"an action without kind": {[]gateway.Route{{Method: "GET", Path: "/x", Action: "x"}}, `GET /x names no action, but "x"`},
		"twice":                  {[]gateway.Route{{Method: "GET", Path: "/healthz", Action: "x:y"}}, "GET /healthz is hidden by /healthz"},
		"behind a general one": {[]gateway.Route{
			{Method: gateway.AnyMethod, Path: "/api/{plugin}/{path:.*}", Action: "x:y"}, {Method: "GET", Path: "/api/admin/sessions", Action: "x:y"},
		}, "GET /api/admin/sessions is hidden by /api/{plugin}/{path:.*}"},
		"before a general one": {[]gateway.Route{
			{Method: "GET", Path: "/api/admin/sessions", Action: "x:y"}, {Method: gateway.AnyMethod, Path: "/api/{plugin}/{path:.*}", Action: "x:y"},
		}, ""},
		"another method": {[]gateway.Route{{Method: "GET", Path: "/x", Action: "x:y"}, {Method: "POST", Path: "/x", Action: "x:y"}}, ""},
	} {
		if _, problem := mounting(t, c.routes...); problem != c.problem {
			t.Errorf("%s: %q, want %q", name, problem, c.problem)
		}
	}
}

// The surface lists every method of every route, and a route of any method answers for
// all of them.
func TestTheSurfaceListsWhatIsServed(t *testing.T) {
	g, problem := mounting(t, gateway.Route{Method: "GET", Path: "/x/y", Action: "x:y.read"}, gateway.Route{Method: gateway.AnyMethod, Path: "/x/{name}", Action: "x:any"})
	if problem != "" {
		t.Fatal(problem)
	}
	list, err := g.Surface()
	if err != nil {
		t.Fatal(err)
	}
	actions := map[string]host.Action{}
	for _, e := range list {
		actions[e.Method+" "+e.Path] = e.Action
	}
	if len(list) != 3+1+5 || actions["GET /x/y"] != "x:y.read" || actions["PATCH /x/{name}"] != "x:any" {
		t.Errorf("%+v", list)
	}
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"} {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(method, "/x/a%20b", nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"a%20b"`) {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}

// Requests that two parsers could read differently go no further than the screen.
func TestAmbiguousRequestsReachNoHandler(t *testing.T) {
	g, problem := mounting(t, gateway.Route{Method: gateway.AnyMethod, Path: "/{path:.*}", Action: "x:any"})
	if problem != "" {
		t.Fatal(problem)
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	for _, target := range []string{
		"/api//echo/echo", "/api/echo/../echo/echo", "/api/echo%2fecho", "/api/echo/echo;x=1", "/api/echo/%2e%2e/echo",
		"/api/echo/echo%00", "/api/./echo/echo", "/api/echo/a%5cb", "/api/echo/echo?a=1;b=2", "/api/echo/%252e",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque, req.URL.RawQuery, _ = strings.Cut(target, "?") // sent as it is
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
}
