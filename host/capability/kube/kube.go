// Package kube is the capability "kube": requests of the Kubernetes API, as the
// user. Its URLs are kube://CLUSTER/PATH?QUERY where PATH is the API server's
// own, such as apis/apps/v1/namespaces/shop/deployments/web.
//
// It defines which requests exist and which parts of a request and its answer pass
// through. host/cluster interprets a request with the API server's own parser; policy
// and RBAC decide whether the user may make it. A watch is fetched in parts, each of which
// policy permits anew; other answers without an end cannot be fetched. The kinds that the API server has of one version of a group, such as
// apis/apps/v1, are a list of the resource apiresources.
package kube

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name    = "kube"
	timeout = 30 * time.Second
)

var (
	methods        = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	requestHeader  = []string{"Accept", "Content-Type"}
	responseHeader = []string{"Content-Type", "Retry-After", "Warning"}
)

// NewKind describes the capability. A grant has clusters, namespaces, resources
// and verbs.
func NewKind() *capability.Kind {
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Clusters}, {Name: capability.Namespaced}, {Name: capability.Resources},
			{Name: capability.Verbs, Values: []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}},
		},
		Classify: classify,
		Spans: func(c *host.CapabilityCall) string {
			if c.Verb == "list" || c.Verb == "watch" {
				return capability.Namespaced
			}
			return ""
		},
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb },
		Words: capability.Words{
			Form: "CLUSTER/NAMESPACE/RESOURCE[:NAME]", Example: "dev/shop/pods:web", Verbs: "get, or list without NAME",
			Claims: func(*capability.Phrase) (bool, error) { return true, nil },
			Call:   asked,
		},
	}
}

// asked returns the call that a question in words is about.
func asked(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	verb := "list"
	if p.Object != "" {
		verb = "get"
	}
	c, route := p.OfCluster(name, cmp.Or(p.Verb, verb))
	c.Effect = host.EffectChange
	if slices.Contains([]string{"get", "list", "watch"}, c.Verb) {
		c.Effect = host.EffectRead
	}
	return c, route, nil
}

// Kube is the provider. Safe for concurrent use.
type Kube struct {
	kind     *capability.Kind
	clusters *cluster.Set
}

// New makes the provider for the clusters of this host.
func New(clusters *cluster.Set) *Kube { return &Kube{NewKind(), clusters} }

// Kind returns the kind of NewKind.
func (k *Kube) Kind() *capability.Kind { return k.kind }

// request is a guest's request in typed parts.
type request struct {
	method string
	target *capability.Target
	path   string
	access cluster.Access
	header http.Header
	body   []byte
	// changes is set for a request for changes, which is a watch for policy.
	changes *cluster.Watch
}

func parse(r *abi.Request) (*request, error) {
	if !slices.Contains(methods, r.Method) {
		return nil, host.E(host.Invalid, name, "the method must be one of %s", strings.Join(methods, ", "))
	}
	t, err := capability.ParseTarget(name, r.URL)
	if err != nil {
		return nil, err
	}
	path := "/" + strings.Join(t.Segments, "/")
	access, err := accessOf(r.Method, path, t)
	if err != nil {
		return nil, err
	}
	q := &request{method: r.Method, target: t, path: path, access: access, header: headerOf(r.Header), body: r.Body}
	if t.Query.Has("changes") {
		q.changes, err = changesOf(q)
		return q, err
	}
	if access.Endless {
		if err := checkWatch(q); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// apiResources is the resource by which grants and permissions name the kinds of one
// version of a group. The API server has no resource of this name.
const apiResources = "apiresources"

func accessOf(method, path string, t *capability.Target) (cluster.Access, error) {
	s := t.Segments
	kinds := len(s) == 2 && s[0] == "api" || len(s) == 3 && s[0] == "apis"
	if kinds && len(t.Query) == 0 && cluster.Discovers(method, path) {
		return cluster.Access{Verb: "list", Resource: apiResources, Version: s[len(s)-1]}, nil
	}
	return cluster.Classify(method, path, t.Query)
}

// classify parses the request as the API server would.
func classify(r *abi.Request) (capability.Prepared, error) {
	q, err := parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Payload: q, Call: host.CapabilityCall{
		Name: name, Cluster: q.target.Cluster, Verb: q.access.Verb,
		Group: q.access.Group, Resource: q.access.Resource, Subresource: q.access.Subresource,
		Namespace: q.access.Namespace, Object: q.access.Name, Path: q.path,
		Effect: q.access.Effect(len(q.body) > 0),
	}}, nil
}

// Fetch sends the request as the user. Refusals of the API server are errors
// that keep its status and message.
func (k *Kube) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q := p.Payload.(*request)
	client, err := k.clusters.As(ctx, q.target.Cluster, p.Obligations.Impersonate, p.Caller.Authority)
	if err != nil {
		return nil, err
	}
	// The kinds that exist are the same for every namespace, so they are not narrowed.
	if q.access.Verb == "list" && q.access.Namespace == "" && q.access.Resource != apiResources && !p.Narrowing.All() {
		if q.access.Group == "" && q.access.Resource == "namespaces" {
			return listNamespaces(ctx, client, q, p.Narrowing)
		}
		return listWithin(ctx, client, q, p.Narrowing, p.Caller.Logger)
	}
	if q.changes != nil {
		return k.changes(ctx, p, q)
	}
	if q.access.Endless {
		if q.access.Namespace == "" && !p.Narrowing.All() {
			return nil, host.E(host.Forbidden, name, "you may watch some namespaces only; name one")
		}
		if len(p.Obligations.Redact) > 0 {
			// The pointers are for objects and lists, and would not hold for events.
			return nil, &host.Error{Kind: host.Forbidden, Op: name, Message: "what must be redacted cannot be watched", Detail: "not_redactable"}
		}
		return part(ctx, client, q)
	}
	if len(p.Obligations.Redact) > 0 {
		// Redaction pointers are for the objects themselves, not for a table.
		q.header.Set("Accept", "application/json")
	}
	if q.access.Applies(q.header.Get("Content-Type")) {
		// The API server's authorizer requires the second verb as well.
		creation := p.Call
		creation.Verb = "create"
		if _, err := p.Also(ctx, creation); err != nil {
			return nil, err
		}
	}
	resp, err := client.Do(ctx, &cluster.Request{
		Method: q.method, Path: q.path, Query: q.target.Query, Header: q.header, Body: q.body, Limit: abi.MaxBody,
	})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, err
	}
	return answer(resp), nil
}

func headerOf(pairs []abi.Pair) http.Header {
	h := http.Header{}
	for _, p := range pairs {
		if key := http.CanonicalHeaderKey(p.Name); slices.Contains(requestHeader, key) {
			h.Set(key, p.Value)
		}
	}
	return h
}

func answer(r *cluster.Response) *abi.Response {
	out := &abi.Response{Status: r.Status, Body: r.Body}
	for _, key := range responseHeader {
		if v := r.Header.Get(key); v != "" {
			out.Header = append(out.Header, abi.Pair{Name: key, Value: v})
		}
	}
	return out
}
