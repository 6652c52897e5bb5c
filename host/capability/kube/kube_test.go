package kube

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestCallsAreClassifiedByWhatTheyDo(t *testing.T) {
	for request, want := range map[string]string{
		"GET kube://dev/apis/apps/v1/namespaces/shop/deployments/web":             "kube get deployments.apps dev/shop/web",
		"GET kube://dev/apis/argoproj.io/v1alpha1/applications?limit=5":           "kube list applications.argoproj.io dev//",
		"POST kube://dev/api/v1/namespaces/shop/pods":                             "kube create pods dev/shop/",
		"PUT kube://dev/api/v1/namespaces/shop/pods/web/status":                   "kube update pods/status dev/shop/web",
		"PATCH kube://dev/api/v1/namespaces/shop/pods/web":                        "kube patch pods dev/shop/web",
		"DELETE kube://dev/api/v1/namespaces/shop/pods/web":                       "kube delete pods dev/shop/web",
		"DELETE kube://dev/api/v1/namespaces/shop/pods":                           "kube deletecollection pods dev/shop/",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/proxy/admin":              "kube get pods/proxy dev/shop/web",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/exec":                     "kube get pods/exec dev/shop/web",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/log?tailLines=5":          "kube get pods/log dev/shop/web",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=False":         "kube get pods/log dev/shop/web",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=0":             "kube get pods/log dev/shop/web",
		"GET kube://dev/apis/rbac.authorization.k8s.io/v1/clusterroles/a:b":       "kube get clusterroles.rbac.authorization.k8s.io dev//a:b",
		"GET kube://dev/api/v1/namespaces/shop/pods?watch=false&labelSelector=":   "kube list pods dev/shop/",
		"GET kube://dev/api/v1/namespaces/shop/pods?watch=true&resourceVersion=5": "kube watch pods dev/shop/",
		"GET kube://dev/api/v1/pods?changes=true&wait=20&cursor=7%2Fall":          "kube watch pods dev//",
		"GET kube://dev/api/v1/pods?watch=1&resourceVersion=5":                    "kube watch pods dev//",
		"GET kube://dev/api/v1":       "kube list apiresources dev//",
		"GET kube://dev/apis/apps/v1": "kube list apiresources dev//",
	} {
		method, target, _ := strings.Cut(request, " ")
		got, err := classify(&abi.Request{Method: method, URL: target})
		if err != nil || got.Call.String() != want {
			t.Errorf("%s: got %q, %v", request, got.Call.String(), err)
		}
	}
}

func TestWhatIsNotFetched(t *testing.T) {
	for _, request := range []string{
		"GET kube://dev/api/v1/pods?watch=true", "GET kube://dev/api/v1/pods?watch=1", "GET kube://dev/api/v1/pods?watch=yes",
		"GET kube://dev/api/v1/watch/pods", "GET kube://dev/api/v1/pods?watch", "GET kube://dev/api/v1/pods?watch=f",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow", "GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=",
		"GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=f", "GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=00", "GET kube://dev/api/v1/namespaces/shop/pods/web/log?follow=true",
		"GET kube://dev/api/v1/pods?watch=true&resourceVersion=0", "GET kube://dev/api/v1/pods?watch=yes&resourceVersion=5", "GET kube://dev/api/v1/watch/pods?watch=true&resourceVersion=5",
		"GET kube://dev/apis/apps/v1/watch/deployments?watch=true&resourceVersion=5", "GET kube://dev/api/v1/pods?watch=true&resourceVersion=5&follow=true", "GET kube://dev/api/v1/namespaces/shop/pods/a?watch=true&resourceVersion=5",
		"GET kube://dev/api/v1/pods?watch=true&resourceVersion=5&timeoutSeconds=0", "GET kube://dev/api/v1/pods?watch=true&resourceVersion=5&timeoutSeconds=x", "GET kube://dev/api/v1/pods?watch=true&resourceVersion=5&sendInitialEvents=true",
		"POST kube://dev/api/v1/namespaces/shop/pods?watch=true&resourceVersion=5", "GET kube://dev/healthz", "GET kube://dev", "GET kube://dev/api", "GET kube://dev/apis/apps", "GET kube://dev/apis", "GET kube://dev/version", "GET kube://dev/openapi/v3",
		"GET kube://dev/api/v1/pods?changes=1", "GET kube://dev/api/v1/pods?changes=true&wait=21", "GET kube://dev/api/v1/pods?changes=true&limit=5",
		"GET kube://dev/api/v1/pods?changes=true&watch=true&resourceVersion=5", "GET kube://dev/api/v1/namespaces/shop/pods/a?changes=true", "GET kube://dev/api/v1?changes=true",
		"POST kube://dev/api/v1/namespaces/shop/pods?changes=true", "POST kube://dev/api/v1", "GET kube://dev/apis/apps/v1?x=y", "HEAD kube://dev/api/v1/pods", "get kube://dev/api/v1/pods",
		"GET kube://dev/api/v1/namespaces/../secrets", "GET kube://dev/api/v1/namespaces/shop/pods/a%2f..%2fb",
		"GET kube://dev//api/v1/pods", "GET kube://dev/api/v1/pods?watch=false&watch=true", "GET https://dev/api/v1/pods",
	} {
		method, target, _ := strings.Cut(request, " ")
		if got, err := classify(&abi.Request{Method: method, URL: target}); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: got %+v, %v", request, got.Call, err)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("GET", "kube://dev/api/v1/namespaces/shop/pods/web?watch=false")
	f.Add("DELETE", "kube://dev/apis/apps/v1/deployments")
	f.Add("GET", "kube://dev/api/v1/../secrets")
	f.Fuzz(func(t *testing.T, method, target string) {
		q, err := parse(&abi.Request{Method: method, URL: target})
		if err != nil {
			return
		}
		sent, err := url.Parse("https://api.invalid" + (&url.URL{Path: q.path, RawQuery: q.target.Query.Encode()}).String())
		if q.access.Resource == apiResources && q.access.Verb == "list" && (strings.Count(q.path, "/") == 2 || strings.HasPrefix(q.path, "/apis/")) {
			return
		}
		if err != nil || sent.Path != q.path || path.Clean(sent.Path) != sent.Path || sent.Host != "api.invalid" {
			t.Fatalf("%q is sent as %v, %v", target, sent, err)
		}
		if !strings.HasPrefix(q.path, "/api/") && !strings.HasPrefix(q.path, "/apis/") || q.access.Resource == "" || q.access.Endless && !sent.Query().Has("resourceVersion") {
			t.Fatalf("%q was taken as %+v", target, q.access)
		}
	})
}

func TestHeadersOfTheGuestAreChosen(t *testing.T) {
	h := headerOf([]abi.Pair{
		{Name: "accept", Value: "application/json"}, {Name: "content-TYPE", Value: "application/merge-patch+json"},
		{Name: "Authorization", Value: "x"}, {Name: "Impersonate-User", Value: "root"}, {Name: "impersonate-group", Value: "system:masters"}, {Name: "Host", Value: "x"},
	})
	if len(h) != 2 || h.Get("Accept") != "application/json" || h.Get("Content-Type") != "application/merge-patch+json" {
		t.Errorf("got %v", h)
	}
}

// person fetches through a broker whose policy allows everything, as one user.
func person(t *testing.T, user *host.Impersonation, o host.Obligations) fetch {
	t.Helper()
	return asking(t, user, o, "")
}

type fetch func(method, target, body string) (*abi.Response, error)

// asking is a person whose requests have an Accept header.
func asking(t *testing.T, user *host.Impersonation, o host.Obligations, accept string) fetch {
	t.Helper()
	o.Impersonate = user
	policy := func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: o}
	}
	b := capability.NewBroker(policy, slog.New(slog.DiscardHandler), New(clustertest.Start(t).Open(t)))
	any := []string{"*"}
	granted, err := b.Grant("p", map[string][]capability.Grant{"kube": {{Clusters: any, Namespaces: any, Resources: any, Verbs: any}}})
	if err != nil {
		t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "x"}, Route: host.Route{Mutates: true}, Authority: &clustertest.Authority{}}
	return func(method, target, body string) (*abi.Response, error) {
		return granted.Fetch(t.Context(), caller, "kube", &abi.Request{Method: method, URL: target, Body: []byte(body),
			Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}, {Name: "Accept", Value: accept}}})
	}
}

type objects struct {
	Kind  string
	Items []struct {
		Metadata struct{ Name, Namespace string }
	}
}

func decode(t *testing.T, r *abi.Response, err error) (list objects) {
	t.Helper()
	if err == nil {
		err = json.Unmarshal(r.Body, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestViewerReadsAndTheClusterRefusesTheRest(t *testing.T) {
	viewer := person(t, clustertest.Viewer, host.Obligations{})
	resp, err := viewer("GET", "kube://dev/apis/apps/v1/namespaces/shop/deployments", "")
	if list := decode(t, resp, err); len(list.Items) == 0 || list.Kind != "DeploymentList" {
		t.Errorf("got %+v", list)
	}
	for request, status := range map[string]int{
		"DELETE kube://dev/apis/apps/v1/namespaces/shop/deployments/web": 403,
		"GET kube://dev/apis/apps/v1/namespaces/shop/deployments/absent": 404,
		"GET kube://dev/api/v1/namespaces/shop/nonsense":                 403,
		"GET kube://other/api/v1/pods":                                   404,
	} {
		method, target, _ := strings.Cut(request, " ")
		_, err := viewer(method, target, "")
		if e, ok := errors.AsType[*host.Error](err); !ok || e.HTTPStatus() != status {
			t.Errorf("%s: got %v", request, err)
		}
	}
	_, err = viewer("DELETE", "kube://dev/apis/apps/v1/namespaces/shop/deployments/web", "")
	if x := capability.ErrorFrame(err); x.Origin != abi.OriginUpstream || !strings.Contains(x.Message, clustertest.Viewer.User) {
		t.Errorf("the refusal reads %+v", x)
	}
}

func TestEditorWrites(t *testing.T) {
	editor := person(t, clustertest.Editor, host.Obligations{})
	const at = "kube://dev/api/v1/namespaces/shop/configmaps"
	_, _ = editor("DELETE", at+"/kube-test", "")
	resp, err := editor("POST", at, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-test"},"data":{"a":"b"}}`)
	if err != nil || resp.Status != 201 {
		t.Fatalf("got %v, %v", resp, err)
	}
	_, err = editor("POST", at, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-test"}}`)
	if host.KindOf(err) != host.Conflict {
		t.Errorf("created twice: %v", err)
	}
	if _, err = editor("DELETE", at+"/kube-test", ""); err != nil {
		t.Error(err)
	}
}

func TestListFansOutOverPermittedNamespaces(t *testing.T) {
	for _, permitted := range [][]string{{"shop", "bank"}, {"*op", "bank"}} {
		list := person(t, clustertest.Viewer, host.Obligations{Namespaces: permitted})
		resp, err := list("GET", "kube://dev/apis/apps/v1/deployments?limit=1", "")
		seen := map[string]int{}
		for _, item := range decode(t, resp, err).Items {
			seen[item.Metadata.Namespace]++
		}
		if seen["shop"] < 2 || seen["bank"] < 1 || len(seen) != 2 {
			t.Errorf("%v shows %v", permitted, seen)
		}
	}
	none := person(t, clustertest.Viewer, host.Obligations{Namespaces: []string{}})
	resp, err := none("GET", "kube://dev/apis/apps/v1/deployments", "")
	if list := decode(t, resp, err); len(list.Items) != 0 {
		t.Errorf("no namespace is permitted, and %v is shown", list)
	}
}

func TestWithoutAnIdentityNothingIsSent(t *testing.T) {
	nobody := person(t, nil, host.Obligations{})
	if _, err := nobody("GET", "kube://dev/api/v1/namespaces", ""); host.KindOf(err) != host.Forbidden {
		t.Errorf("got %v", err)
	}
}

func TestNamespacesThemselvesAreListedAsFarAsPermitted(t *testing.T) {
	for _, c := range []struct {
		permitted []string
		query     string
		want      string
	}{
		{[]string{"shop", "bank", "absent"}, "", "bank shop"}, // asked for one by one
		{[]string{"*op", "bank"}, "?limit=1", "bank shop"},    // listed and filtered
		{[]string{"shop", "bank"}, "?fieldSelector=metadata.name%3Dshop", "shop"},
		{[]string{}, "", ""},
	} {
		list := person(t, clustertest.Viewer, host.Obligations{Namespaces: c.permitted})
		resp, err := list("GET", "kube://dev/api/v1/namespaces"+c.query, "")
		var names []string
		got := decode(t, resp, err)
		for _, item := range got.Items {
			names = append(names, item.Metadata.Name)
		}
		if strings.Join(names, " ") != c.want || got.Kind != "NamespaceList" {
			t.Errorf("%v%s shows %s %v", c.permitted, c.query, got.Kind, names)
		}
	}
}

func TestRedactionHoldsWhateverFormTheGuestAsksFor(t *testing.T) {
	redacted := host.Obligations{Redact: []string{"/items/*/spec/template", "/items/*/metadata/name"}}
	for _, accept := range []string{"", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf", "application/yaml"} {
		resp, err := asking(t, clustertest.Viewer, redacted, accept)("GET", "kube://dev/apis/apps/v1/namespaces/shop/deployments", "")
		var list struct {
			Kind  string
			Items []struct {
				Metadata struct{ Name, Namespace string }
				Spec     map[string]any
			}
		}
		if err == nil {
			err = json.Unmarshal(resp.Body, &list)
		}
		if err != nil || list.Kind != "DeploymentList" || len(list.Items) == 0 {
			t.Fatalf("%q: %s %v, %v", accept, list.Kind, list.Items, err)
		}
		for _, item := range list.Items {
			if item.Metadata.Name != "" || item.Metadata.Namespace != "shop" || item.Spec["template"] != nil || item.Spec["replicas"] == nil {
				t.Errorf("%q shows %+v", accept, item)
			}
		}
	}
}

// Kinds are the same for every namespace: whoever may see one namespace sees all kinds.
func TestKindsAreListedForUsersOfOneNamespace(t *testing.T) {
	for _, o := range []host.Obligations{{}, {Namespaces: []string{"shop"}}} {
		get := person(t, clustertest.Viewer, o)
		resp, err := get("GET", "kube://dev/apis/apps/v1", "")
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Resources []struct {
				Name, Kind string
				Namespaced bool
			}
		}
		if err := json.Unmarshal(resp.Body, &list); err != nil || len(list.Resources) < 5 {
			t.Fatalf("got %s, %v", resp.Body, err)
		}
		found := false
		for _, r := range list.Resources {
			found = found || r.Name == "deployments" && r.Kind == "Deployment" && r.Namespaced
		}
		if !found {
			t.Errorf("got %+v", list)
		}
		if _, err := get("GET", "kube://dev/apis/absent.example.com/v1", ""); host.KindOf(err) != host.NotFound {
			t.Errorf("got %v", err)
		}
	}
}
