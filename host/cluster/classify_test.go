package cluster

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestClassifyReadsRequestsLikeTheAPIServer(t *testing.T) {
	for request, want := range map[string]Access{
		"GET /api/v1/namespaces/shop/pods":                          {Verb: "list", Version: "v1", Resource: "pods", Namespace: "shop"},
		"GET /api/v1/namespaces/shop/pods?watch=true":               {Verb: "watch", Version: "v1", Resource: "pods", Namespace: "shop", Endless: true},
		"GET /api/v1/watch/namespaces/shop/pods":                    {Verb: "watch", Version: "v1", Resource: "pods", Namespace: "shop", Endless: true},
		"GET /api/v1/namespaces/shop/pods/web":                      {Verb: "get", Version: "v1", Resource: "pods", Namespace: "shop", Name: "web"},
		"GET /api/v1/namespaces/shop/pods/web/exec":                 {Verb: "get", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web"},
		"POST /api/v1/namespaces/shop/serviceaccounts/a/token":      {Verb: "create", Version: "v1", Resource: "serviceaccounts", Subresource: "token", Namespace: "shop", Name: "a"},
		"DELETE /apis/apps/v1/namespaces/shop/deployments":          {Verb: "deletecollection", Group: "apps", Version: "v1", Resource: "deployments", Namespace: "shop"},
		"PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale": {Verb: "patch", Group: "apps", Version: "v1", Resource: "deployments", Subresource: "scale", Namespace: "shop", Name: "web"},
		"PUT /apis/rbac.authorization.k8s.io/v1/clusterroles/x":     {Verb: "update", Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles", Name: "x"},
		"GET /api/v1/namespaces/shop":                               {Verb: "get", Version: "v1", Resource: "namespaces", Namespace: "shop", Name: "shop"},
		"GET /api/v1/secrets?fieldSelector=metadata.name%3Dx":       {Verb: "list", Version: "v1", Resource: "secrets", Name: "x"},
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, query, _ := strings.Cut(rest, "?")
		values, _ := url.ParseQuery(query)
		got, err := Classify(method, path, values)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", request, got, err)
		}
	}
}

func TestRequestsWithoutAResourceAreRefused(t *testing.T) {
	for _, request := range []string{
		"GET /", "GET /healthz", "GET /metrics", "GET /api", "GET /api/v1", "GET /apis/apps/v1", "GET /openapi/v3",
		"GET /logs/kube-apiserver.log", "GET /api/v1/proxy/nodes/n", "HEAD2 /api/v1/pods", "GET /apis/apps",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got, err := Classify(method, path, nil); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: got %+v, %v", request, got, err)
		}
	}
}

func TestBooleansAreReadLikeTheAPIServer(t *testing.T) {
	for value, endless := range map[string]bool{"true": true, "1": true, "": true, "f": true, "no": true, "00": true, "F": true, "false": false, "False": false, "0": false} {
		for _, request := range []string{"/api/v1/namespaces/shop/pods/web/log?follow=", "/api/v1/pods?watch="} {
			path, key, _ := strings.Cut(request, "?")
			got, err := Classify("GET", path, url.Values{strings.TrimSuffix(key, "="): {value}})
			if err != nil || got.Endless != endless {
				t.Errorf("%s%s: %+v, %v", request, value, got, err)
			}
		}
	}
}

func TestTheEffectOfARequest(t *testing.T) {
	const at = "/api/v1/namespaces/shop/pods/web"
	for request, want := range map[string]host.Effect{
		"GET " + at:                                                       host.EffectRead,
		"GET " + at + "/log":                                              host.EffectRead,
		"GET /api/v1/pods":                                                host.EffectRead,
		"GET /api/v1/pods?watch=1":                                        host.EffectRead,
		"GET " + at + "/exec":                                             host.EffectChange,
		"GET " + at + "/attach":                                           host.EffectChange,
		"GET " + at + "/portforward":                                      host.EffectChange,
		"GET " + at + "/proxy/x":                                          host.EffectChange,
		"POST " + at + "/exec?dryRun=All":                                 host.EffectChange,
		"POST /api/v1/namespaces/shop/pods":                               host.EffectChange,
		"POST /api/v1/namespaces/shop/pods?dryRun=All":                    host.EffectDryRun,
		"POST /api/v1/namespaces/shop/pods?dryRun=":                       host.EffectChange,
		"POST /api/v1/namespaces/shop/pods?dryRun=all":                    host.EffectChange,
		"POST /api/v1/namespaces/shop/pods?dryRun=All&dryRun=x":           host.EffectChange,
		"PUT " + at + "?dryRun=All":                                       host.EffectDryRun,
		"PATCH " + at + "?dryRun=All":                                     host.EffectDryRun,
		"PATCH " + at:                                                     host.EffectChange,
		"DELETE " + at:                                                    host.EffectChange,
		"DELETE " + at + "?dryRun=All":                                    host.EffectDryRun,
		"DELETE+body " + at + "?dryRun=All":                               host.EffectChange,
		"DELETE+body /api/v1/namespaces/shop/pods?dryRun=All":             host.EffectChange,
		"POST /api/v1/namespaces/shop/serviceaccounts/a/token?dryRun=All": host.EffectChange,
		"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews":     host.EffectRead,
		"POST /apis/example.com/v1/selfsubjectaccessreviews":              host.EffectChange,
	} {
		method, rest, _ := strings.Cut(request, " ")
		method, body, _ := strings.Cut(method, "+")
		path, query, _ := strings.Cut(rest, "?")
		values, _ := url.ParseQuery(query)
		access, err := Classify(method, path, values)
		if got := access.Effect(body != ""); err != nil || got != want {
			t.Errorf("%s: %q, %v", request, got, err)
		}
	}
}

func TestServerSideApplyIsRecognisedByItsContentType(t *testing.T) {
	for text, want := range map[string]bool{
		"application/apply-patch+yaml": true, "application/apply-patch+cbor": true, "Application/Apply-Patch+YAML; charset=utf-8": true,
		"application/merge-patch+json": false, "": false,
	} {
		if (Access{Verb: "patch"}).Applies(text) != want || (Access{Verb: "update"}).Applies(text) {
			t.Errorf("%q", text)
		}
	}
}
