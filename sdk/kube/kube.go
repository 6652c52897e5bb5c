// Package kube is the client of the capability "kube", which calls the API servers of the
// operator's clusters as the user. The host has the credentials and attaches them. A call
// must be allowed by the manifest, the grant, policy and the cluster's own RBAC.
//
// Paths are the API server's own, such as /api/v1/namespaces/shop/pods/web; build them from
// request data with Objects or Path. Objects are structs of your own, with the fields that you
// need:
//
//	type Pod struct {
//		Metadata kube.Metadata `json:"metadata"`
//		Status   struct{ Phase string } `json:"status"`
//	}
//	for pod, err := range kube.Each[Pod](cluster, kube.Objects("v1", "shop", "pods"), kube.ListOptions{}) {
//
// Each and Watch decode one object at a time, so memory does not grow with the list.
//
// Errors are *sdk.Error with the API server's status and message, and Origin says who refused.
// IsNotFound, IsConflict, IsExists and DeniedBy tell the common ones apart.
package kube

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Cluster is a cluster by its name in the operator's config.
type Cluster string

// PatchType is the content type of a patch.
type PatchType string

const (
	JSONPatch      PatchType = "application/json-patch+json"            // RFC 6902
	MergePatch     PatchType = "application/merge-patch+json"           // RFC 7386
	StrategicPatch PatchType = "application/strategic-merge-patch+json" // built-in types only
	ApplyPatch     PatchType = "application/apply-patch+yaml"           // server-side apply; see Apply
)

// Path joins segments to a path and escapes each, so that a name from a request cannot
// reach another resource. Empty segments are kept, so that the call refuses them.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// Objects is the path of the objects of one kind: apiVersion as in a manifest, such as "v1" or
// "apps/v1", the namespace, or "" for all and for objects that belong to none, the plural, and
// optionally the name of one object and its subresource. Like Path, it escapes each.
func Objects(apiVersion, namespace, plural string, rest ...string) string {
	segments := []string{"api", apiVersion}
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		segments = []string{"apis", group, version}
	}
	if namespace != "" {
		segments = append(segments, "namespaces", namespace)
	}
	return Path(append(append(segments, plural), rest...)...)
}

// Resource is a kind that the API server has. Name is the plural in paths, such as
// "deployments" or "pods/log".
type Resource struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	Namespaced bool     `json:"namespaced"`
	Verbs      []string `json:"verbs"`
}

// Resources lists the kinds of an apiVersion, such as "v1" or "apps/v1". The call needs a
// permission to list the resource apiresources. An apiVersion that the API server does not
// have is an error with status 404.
func (c Cluster) Resources(apiVersion string) ([]Resource, error) {
	path := Path("api", apiVersion)
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		path = Path("apis", group, version)
	}
	var list struct {
		Resources []Resource `json:"resources"`
	}
	err := c.Get(path, &list)
	return list.Resources, err
}

// Get reads the object at path into out.
func (c Cluster) Get(path string, out any) error { return c.do("GET", path, "", nil, out) }

// GetMetadata reads the metadata of the object at path, without its content.
func (c Cluster) GetMetadata(path string) (*Partial, error) {
	target, err := c.url(path)
	if err != nil {
		return nil, err
	}
	out := &Partial{}
	return out, rest.Send(fetch, &abi.Request{Method: "GET", URL: target, Header: accept(partialObject)}, out)
}

// Create posts object to the collection at path and reads the created object into out,
// unless out is nil.
func (c Cluster) Create(path string, object, out any) error {
	return c.do("POST", path, "application/json", object, out)
}

// Update replaces the object at path. If object has a resourceVersion and the object has
// changed since, the error IsConflict.
func (c Cluster) Update(path string, object, out any) error {
	return c.do("PUT", path, "application/json", object, out)
}

// Patch changes the object at path. A patch of type []byte or json.RawMessage is sent
// unchanged, any other as JSON.
func (c Cluster) Patch(path string, kind PatchType, patch, out any) error {
	return c.do("PATCH", path, string(kind), patch, out)
}

// Delete removes the object at path.
func (c Cluster) Delete(path string, out any) error { return c.do("DELETE", path, "", nil, out) }

// Fetch makes one call and returns the answer, whatever its status. Only refusals and
// failures of the host are errors.
func (c Cluster) Fetch(method, path string, header []sdk.Pair, body []byte) (*sdk.Response, error) {
	target, err := c.url(path)
	if err != nil {
		return nil, err
	}
	resp, err := guest.Call(fetch, &abi.Request{Method: method, URL: target, Header: header, Body: body})
	return (*sdk.Response)(resp), err
}

func (c Cluster) do(method, path, contentType string, in, out any) error {
	target, err := c.url(path)
	if err != nil {
		return err
	}
	r := &abi.Request{Method: method, URL: target, Header: accept(plainJSON)}
	if in != nil {
		if r.Body, err = encode(in); err != nil {
			return err
		}
		r.Header = append(r.Header, abi.Pair{Name: "Content-Type", Value: contentType})
	}
	return rest.Send(fetch, r, out)
}

// What a call asks for: objects, or only their metadata.
const (
	plainJSON     = "application/json"
	partialObject = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	partialList   = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

func accept(what string) []abi.Pair { return []abi.Pair{{Name: "Accept", Value: what}} }

func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case json.RawMessage:
		return v, nil
	}
	return json.Marshal(v)
}

// url refuses a path that the API server could interpret differently.
func (c Cluster) url(path string) (string, error) {
	base, err := rest.URL("kube", string(c))
	if err != nil {
		return "", err
	}
	if !plainPath(path) {
		return "", &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: "not a path of the API server: " + strconv.Quote(path)}
	}
	return base + path, nil
}

func plainPath(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
