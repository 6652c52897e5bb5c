package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// apiServer is a cluster whose API server is a test's function. It counts what it
// was asked for.
type apiServer struct {
	set *cluster.Set
	mu  sync.Mutex
	got []string
}

func newAPIServer(t *testing.T, answer http.HandlerFunc) *apiServer {
	t.Helper()
	a := &apiServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		a.mu.Lock()
		a.got = append(a.got, r.Method+" "+r.URL.RequestURI())
		a.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config")
	config := `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}],
		clusters: [{name: c, cluster: {server: "` + server.URL + `"}}], users: [{name: u, user: {token: x}}]}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	a.set, err = cluster.Open(t.Context(), []cluster.Config{{Name: "dev", Kubeconfig: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.set.Close)
	return a
}

// as fetches as a person whom policy answers with decide.
func (a *apiServer) as(t *testing.T, grant capability.Grant, decide func(*host.Question) host.Decision) func(method, target, contentType string) (*abi.Response, error) {
	t.Helper()
	b := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		d := decide(q)
		d.Obligations.Impersonate = clustertest.Viewer
		return d
	}, slog.New(slog.DiscardHandler), New(a.set))
	granted, err := b.Grant("p", map[string][]capability.Grant{"kube": {grant}})
	if err != nil {
		t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "x"}, Route: host.Route{Mutates: true}, Authority: &clustertest.Authority{}}
	return func(method, target, contentType string) (*abi.Response, error) {
		return granted.Fetch(t.Context(), caller, "kube", &abi.Request{Method: method, URL: target,
			Header: []abi.Pair{{Name: "Content-Type", Value: contentType}}, Body: []byte("{}")})
	}
}

var everything = capability.Grant{Clusters: []string{"*"}, Namespaces: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}

func TestServerSideApplyNeedsBothVerbs(t *testing.T) {
	const target = "kube://dev/api/v1/namespaces/shop/configmaps/a"
	for name, c := range map[string]struct {
		granted, permitted []string
		contentType        string
		sent               bool
	}{
		"both":                            {[]string{"patch", "create"}, []string{"patch", "create"}, "application/apply-patch+yaml", true},
		"policy permits patch only":       {[]string{"*"}, []string{"patch"}, "application/apply-patch+yaml", false},
		"policy permits create only":      {[]string{"*"}, []string{"create"}, "application/apply-patch+yaml", false},
		"patch only is granted":           {[]string{"patch"}, []string{"patch", "create"}, "application/apply-patch+yaml", false},
		"another patch creates nothing":   {[]string{"patch"}, []string{"patch"}, "application/merge-patch+json", true},
		"in CBOR":                         {[]string{"*"}, []string{"patch"}, "application/apply-patch+cbor", false},
		"with a parameter, other letters": {[]string{"*"}, []string{"patch"}, "Application/Apply-Patch+YAML; charset=utf-8", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPIServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
			grant := everything
			grant.Verbs = c.granted
			_, err := a.as(t, grant, func(q *host.Question) host.Decision {
				return host.Decision{Allow: slices.Contains(c.permitted, q.Capability.Verb)}
			})("PATCH", target, c.contentType)
			if (err == nil) != c.sent || len(a.got) == 1 != c.sent {
				t.Errorf("%v; sent %v", err, a.got)
			}
			if err != nil && host.KindOf(err) != host.Forbidden {
				t.Errorf("refused as %v", err)
			}
		})
	}
}

// refusing is an API server that lets nobody see the namespaces bank and till.
func refusing(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) >= 4 && (parts[3] == "bank" || parts[3] == "till") {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"kind":"Status","status":"Failure","code":403,"reason":"Forbidden","message":"pods is forbidden in %s"}`, parts[3])
		return
	}
	if len(parts) == 4 {
		fmt.Fprintf(w, `{"metadata":{"name":%q}}`, parts[3])
		return
	}
	fmt.Fprintf(w, `{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"web","namespace":%q}}]}`, parts[3])
}

func TestOneForbiddenNamespaceDoesNotHideTheOthers(t *testing.T) {
	for _, of := range []string{"pods", "namespaces"} {
		for permitted, want := range map[string]string{
			"shop":           "1 ",
			"shop bank":      "1 bank",
			"till bank shop": "1 bank till",
			"bank till":      "403",
		} {
			a := newAPIServer(t, refusing)
			resp, err := a.as(t, everything, func(*host.Question) host.Decision {
				return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: strings.Fields(permitted)}}
			})("GET", "kube://dev/api/v1/"+of, "")
			got := "403"
			if err == nil {
				var list struct {
					Items  []json.RawMessage
					Errors []capability.Unreachable
				}
				if err := json.Unmarshal(resp.Body, &list); err != nil {
					t.Fatal(err)
				}
				var left []string
				for _, e := range list.Errors {
					left = append(left, e.Namespace)
					if e.Status != 403 || e.Message != "pods is forbidden in "+e.Namespace {
						t.Errorf("%s of %s: %+v", of, permitted, e)
					}
				}
				got = fmt.Sprint(len(list.Items), " ", strings.Join(left, " "))
			} else if x := capability.ErrorFrame(err); x.Status != 403 || x.Origin != abi.OriginUpstream {
				t.Errorf("%s of %s: %+v", of, permitted, x)
			}
			if got != want {
				t.Errorf("%s of %s: got %q, want %q", of, permitted, got, want)
			}
		}
	}
}

func TestAListIsNarrowedWithItsSelectors(t *testing.T) {
	a := newAPIServer(t, refusing)
	resp, err := a.as(t, everything, func(*host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop", "desk"}}}
	})("GET", "kube://dev/api/v1/pods?labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dweb&limit=1&continue=x", "")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(a.got)
	want := []string{
		"GET /api/v1/namespaces/desk/pods?fieldSelector=metadata.name%3Dweb&labelSelector=app%3Dweb",
		"GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb&labelSelector=app%3Dweb",
	}
	if !slices.Equal(a.got, want) || strings.Count(string(resp.Body), `"name":"web"`) != 2 {
		t.Errorf("asked for %q, got %s", a.got, resp.Body)
	}
}

func TestAListOverNamespacesNeverAsksForAllAtOnce(t *testing.T) {
	a := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/namespaces" {
			fmt.Fprint(w, `{"kind":"NamespaceList","items":[{"metadata":{"name":"shop-a"}},{"metadata":{"name":"bank"}},{"metadata":{"name":"shop-b"}}]}`)
			return
		}
		refusing(w, r)
	})
	_, err := a.as(t, everything, func(*host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop-*"}}}
	})("GET", "kube://dev/api/v1/pods", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range a.got {
		if !strings.Contains(got, "/namespaces/shop-") && !strings.HasPrefix(got, "GET /api/v1/namespaces?") {
			t.Errorf("asked for %q", got)
		}
	}
	if len(a.got) != 3 {
		t.Errorf("asked for %q", a.got)
	}
}

func TestARouteThatReadsMayCheckAChange(t *testing.T) {
	for request, want := range map[string]host.Effect{
		"POST kube://dev/api/v1/namespaces/shop/pods":                 host.EffectChange,
		"POST kube://dev/api/v1/namespaces/shop/pods?dryRun=All":      host.EffectDryRun,
		"DELETE kube://dev/api/v1/namespaces/shop/pods/a?dryRun=All":  host.EffectChange, // its body is what the API server reads
		"GET kube://dev/api/v1/namespaces/shop/pods/a/exec?command=x": host.EffectChange,
		"GET kube://dev/api/v1/namespaces/shop/pods":                  host.EffectRead,
	} {
		method, target, _ := strings.Cut(request, " ")
		got, err := classify(&abi.Request{Method: method, URL: target, Body: []byte("{}")})
		if err != nil || got.Call.Effect != want {
			t.Errorf("%s: %q, %v", request, got.Call.Effect, err)
		}
	}
	got, err := classify(&abi.Request{Method: "DELETE", URL: "kube://dev/api/v1/namespaces/shop/pods/a?dryRun=All"})
	if err != nil || got.Call.Effect != host.EffectDryRun {
		t.Errorf("a deletion without a body: %q, %v", got.Call.Effect, err)
	}
}

func TestNamespacesAreFilteredWithASelectorToo(t *testing.T) {
	a := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"kind":"NamespaceList","items":[{"metadata":{"name":"shop"}},{"metadata":{"name":"bank"}},{"metadata":{"name":"shop-2"}}]}`)
	})
	for permitted, want := range map[string]int{"shop": 1, "shop*": 2, "till": 0} {
		resp, err := a.as(t, everything, func(*host.Question) host.Decision {
			return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{permitted}}}
		})("GET", "kube://dev/api/v1/namespaces?labelSelector=a%3Db", "")
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Items []json.RawMessage }
		if err := json.Unmarshal(resp.Body, &list); err != nil || len(list.Items) != want || strings.Contains(string(resp.Body), "bank") {
			t.Errorf("%s: %s, %v", permitted, resp.Body, err)
		}
	}
}
