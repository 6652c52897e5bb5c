package cluster

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Access is the attributes of a request for the API server's authorizer.
type Access struct {
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection
	Group       string // empty: core
	Version     string
	Resource    string
	Subresource string
	Namespace   string // empty: cluster-wide
	Name        string
	Endless     bool // the answer does not end: a watch, or a followed log
	DryRun      bool // the query asks for a dry run; see Effect
}

// infoFactory is configured like the API server's own, in k8s.io/apiserver/pkg/server.
var infoFactory = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

var verbs = map[string]bool{
	"get": true, "list": true, "watch": true, "create": true, "update": true,
	"patch": true, "delete": true, "deletecollection": true,
}

// Classify reads a request as the API server does, so that policy decides about
// what the API server will do. The error is of kind host.Invalid if it is not a
// request for a resource.
func Classify(method, path string, query url.Values) (Access, error) {
	req := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query.Encode()}}
	info, err := infoFactory.NewRequestInfo(req)
	switch {
	case err != nil:
		return Access{}, host.E(host.Invalid, op, "the path %q is not a path of the Kubernetes API", path)
	case !info.IsResourceRequest || info.Resource == "":
		return Access{}, host.E(host.Invalid, op, "the path %q names no resource", path)
	case !verbs[info.Verb]:
		return Access{}, host.E(host.Invalid, op, "%s %q is not a request of the Kubernetes API", method, path)
	}
	return Access{
		Verb: info.Verb, Group: info.APIGroup, Version: info.APIVersion,
		Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name,
		Endless: info.Verb == "watch" || truth(query["watch"]) || truth(query["follow"]),
		DryRun:  len(query["dryRun"]) > 0 && !slices.ContainsFunc(query["dryRun"], func(s string) bool { return s != metav1.DryRunAll }),
	}, nil
}

// truth reads a boolean query parameter with the API server's own converter: only
// "0", "false" and an absent parameter are false; "f" and "" are true.
func truth(values []string) (yes bool) {
	return runtime.Convert_Slice_string_To_bool(&values, &yes, nil) != nil || yes
}

// Effect returns the effect of the request. A subresource that connects to a
// container or issues a token is a change for every verb. A dry run counts only if
// the API server honours the query, which it ignores for a deletion with a body.
func (a Access) Effect(hasBody bool) host.Effect {
	deletes := a.Verb == "delete" || a.Verb == "deletecollection"
	switch {
	case slices.Contains(connecting, a.Subresource):
		return host.EffectChange
	case a.Verb == "get" || a.Verb == "list" || a.Verb == "watch":
		return host.EffectRead
	case a.Verb == "create" && slices.Contains(reviews, a.Resource+"."+a.Group):
		return host.EffectRead
	case a.DryRun && !(deletes && hasBody):
		return host.EffectDryRun
	}
	return host.EffectChange
}

var (
	connecting = []string{"attach", "exec", "portforward", "proxy", "token"}
	// reviews are answered when they are created, and not stored.
	reviews = []string{
		"localsubjectaccessreviews.authorization.k8s.io", "selfsubjectaccessreviews.authorization.k8s.io",
		"selfsubjectrulesreviews.authorization.k8s.io", "subjectaccessreviews.authorization.k8s.io",
		"selfsubjectreviews.authentication.k8s.io",
	}
)

// Applies reports whether a request with this verb and Content-Type is a
// server-side apply, which creates an object that is absent.
func (a Access) Applies(contentType string) bool {
	return a.Verb == "patch" && strings.Contains(strings.ToLower(contentType), "apply-patch")
}
