package cluster

import (
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Access is what a request means to the API server's authorizer.
type Access struct {
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection
	Group       string // empty: core
	Version     string
	Resource    string
	Subresource string
	Namespace   string // empty: cluster-wide
	Name        string
}

// The API server's own, as k8s.io/apiserver/pkg/server sets it up.
var infoFactory = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

var verbs = map[string]bool{
	"get": true, "list": true, "watch": true, "create": true, "update": true,
	"patch": true, "delete": true, "deletecollection": true,
}

// Classify reads a request the way the API server reads it, so that what is
// decided is what is done. host.Invalid for anything but a request for a
// resource.
func Classify(method, path string, query url.Values) (Access, error) {
	req := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query.Encode()}}
	info, err := infoFactory.NewRequestInfo(req)
	switch {
	case err != nil:
		return Access{}, host.E(host.Invalid, op, "the path %q is not one of the Kubernetes API", path)
	case !info.IsResourceRequest || info.Resource == "":
		return Access{}, host.E(host.Invalid, op, "the path %q names no resource", path)
	case !verbs[info.Verb]:
		return Access{}, host.E(host.Invalid, op, "%s of %q is no verb of the Kubernetes API", method, path)
	}
	return Access{
		Verb: info.Verb, Group: info.APIGroup, Version: info.APIVersion,
		Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name,
	}, nil
}
