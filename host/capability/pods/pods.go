// Package pods is the capability "pods": what goes on in a pod, as the user. Its URLs are
//
//	pods://CLUSTER/NAMESPACE/POD/exec?container=&command=a&command=b&tty=true&cols=80&rows=24
//	pods://CLUSTER/NAMESPACE/POD/attach?container=&cols=80&rows=24
//	pods://CLUSTER/NAMESPACE/POD/log?container=&follow=true&since=&tail=&previous=&match=
//	pods://CLUSTER/NAMESPACE/log?selector=  or  ?owner=deployments.apps/web
//	pods://CLUSTER/NAMESPACE/POD/portforward?port=8080
//	pods://CLUSTER/NAMESPACE/portforward?service=web&port=80
//	pods://CLUSTER/NAMESPACE/POD/list?container=&path=/dir
//	pods://CLUSTER/NAMESPACE/POD/download?container=&path=/file&offset=0
//	pods://CLUSTER/NAMESPACE/POD/upload?container=&path=/file&size=3&sha256=
//
// All are streams that host/stream pumps, so each ends with the session. Each has its own
// resource and verb for policy and grants; RBAC decides as well, since every request is
// made as the user. The capability "exec", with the URLs exec://CLUSTER/NAMESPACE/POD, is
// an alias of the first until the next version of the ABI.
//
// The package owns the protocols of the sockets, their bounds, and the choice of pods and
// containers. host/cluster talks to the API server.
package pods

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name        = "pods"
	alias       = "exec"
	verbCreate  = "create"
	openTimeout = 15 * time.Second
)

// operation is one of the capability's. Where two differ, verb and subresource are
// policy's, and rbac what the API server must allow the user.
type operation struct {
	verb, subresource string
	rbac              rbac
	effect            host.Effect
	parse             func(*request, *capability.Target) error
	open              func(*Pods, context.Context, *capability.Permit, *request, *cluster.Client) (capability.Stream, error)
}

type rbac struct{ verb, subresource string }

// operations are filled by init, because they refer to functions that use them.
var operations map[string]*operation

func init() {
	exec := rbac{"create", "exec"}
	operations = map[string]*operation{
		"exec":        {verbCreate, "exec", exec, host.EffectChange, (*request).parseExec, (*Pods).openTerminal},
		"attach":      {verbCreate, "attach", rbac{"create", "attach"}, host.EffectChange, (*request).parseAttach, (*Pods).openTerminal},
		"log":         {"get", "log", rbac{"get", "log"}, host.EffectRead, (*request).parseLog, (*Pods).openLogs},
		"portforward": {verbCreate, "portforward", rbac{"create", "portforward"}, host.EffectChange, (*request).parsePort, (*Pods).openPort},
		// A copy runs a command, so RBAC must allow exec, and it counts as a change.
		"list":     {"download", "copy", exec, host.EffectChange, (*request).parseList, (*Pods).openCopy},
		"download": {"download", "copy", exec, host.EffectChange, (*request).parseDownload, (*Pods).openCopy},
		"upload":   {"upload", "copy", exec, host.EffectChange, (*request).parseUpload, (*Pods).openCopy},
	}
}

// NewKind describes the capability. A grant has clusters, namespaces, resources and verbs.
func NewKind() *capability.Kind {
	var resources, verbs []string
	for _, o := range operations {
		resources, verbs = append(resources, "pods/"+o.subresource), append(verbs, o.verb)
	}
	slices.Sort(resources)
	slices.Sort(verbs)
	resources, verbs = slices.Compact(resources), slices.Compact(verbs)
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Clusters}, {Name: capability.Namespaced},
			{Name: capability.Resources, Values: resources}, {Name: capability.Verbs, Values: verbs},
		},
		Streams:    true,
		Classify:   classify,
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb },
		Words: capability.Words{
			Form: "CLUSTER/NAMESPACE/RESOURCE[:POD] with RESOURCE of " + strings.Join(resources, ", "), Example: "dev/shop/pods/attach:web",
			Verbs: "that of the resource",
			Claims: func(p *capability.Phrase) (bool, error) {
				return p.Resource != "pods/log" && p.Resource != "pods/exec" && slices.Contains(resources, p.Resource), nil
			},
			Call: inWords,
		},
	}
}

// inWords returns the call of a question in words.
func inWords(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	for _, doing := range slices.Sorted(maps.Keys(operations)) { // of two with one resource the first
		if o := operations[doing]; "pods/"+o.subresource == p.Resource {
			c, route := p.OfCluster(name, cmp.Or(p.Verb, o.verb))
			c.Effect = o.effect
			return c, route, nil
		}
	}
	return host.CapabilityCall{}, nil, host.E(host.Invalid, name, "%q is not a resource of the capability pods", p.Resource)
}

// NewAlias describes the capability "exec". A grant has clusters and namespaces.
func NewAlias() *capability.Kind {
	return &capability.Kind{
		Name:       alias,
		Dimensions: []capability.Dimension{{Name: capability.Clusters}, {Name: capability.Namespaced}},
		Streams:    true,
		Classify:   classifyAlias,
		// RBAC's verb is create, whatever the call says.
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), verbCreate },
		Words: capability.Words{
			Form: "CLUSTER/NAMESPACE/pods/exec:POD", Example: "dev/shop/pods/exec:web", Verbs: verbCreate,
			Claims: func(p *capability.Phrase) (bool, error) { return p.Resource == "pods/exec", nil },
			Call: func(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
				c, route := p.OfCluster(alias, cmp.Or(p.Verb, verbCreate))
				c.Effect = host.EffectChange
				return c, route, nil
			},
		},
	}
}

// Pods is the provider of the capability or of its alias. Safe for concurrent use.
type Pods struct {
	kind       *capability.Kind
	clusters   *cluster.Set
	recordings *recording.Store
}

// New makes the provider of kind, NewKind's or NewAlias's, for the clusters of this host.
// recordings may be nil; then what policy requires to be recorded does not open.
func New(kind *capability.Kind, clusters *cluster.Set, recordings *recording.Store) *Pods {
	return &Pods{kind, clusters, recordings}
}

// Kind returns the kind that New was given.
func (e *Pods) Kind() *capability.Kind { return e.kind }

// classify parses a request of the capability "pods".
func classify(r *abi.Request) (capability.Prepared, error) {
	t, err := target(name, r)
	if err != nil {
		return capability.Prepared{}, err
	}
	if n := len(t.Segments); n == 2 || n == 3 {
		return prepare(t, t.Segments[n-1], t.Segments[:n-1])
	}
	return capability.Prepared{}, host.E(host.Invalid, name, "the URL is not pods://CLUSTER/NAMESPACE[/POD]/OPERATION")
}

func classifyAlias(r *abi.Request) (capability.Prepared, error) {
	t, err := target(alias, r)
	if err != nil {
		return capability.Prepared{}, err
	}
	if len(t.Segments) != 2 {
		return capability.Prepared{}, host.E(host.Invalid, alias, "the URL is not exec://CLUSTER/NAMESPACE/POD")
	}
	prepared, err := prepare(t, "exec", t.Segments)
	prepared.Call.Name = alias
	return prepared, err
}

func target(scheme string, r *abi.Request) (*capability.Target, error) {
	if r.Method != http.MethodGet || len(r.Body) > 0 {
		return nil, host.E(host.Invalid, scheme, "a stream is opened with GET and no body")
	}
	return capability.ParseTarget(scheme, r.URL, "command")
}

func prepare(t *capability.Target, doing string, place []string) (capability.Prepared, error) {
	o := operations[doing]
	if o == nil {
		return capability.Prepared{}, host.E(host.Invalid, name, "%q is not an operation on pods", doing)
	}
	q := &request{operation: o, cluster: t.Cluster}
	if err := q.readPlace(place); err != nil {
		return capability.Prepared{}, err
	}
	if err := o.parse(q, t); err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Payload: q, Call: q.call(q.pod)}, nil
}

// Fetch refuses every call: all operations are streams.
func (e *Pods) Fetch(context.Context, *capability.Permit) (*abi.Response, error) {
	return nil, host.E(host.Invalid, e.kind.Name, "%s has streams only; open one", e.kind.Name)
}

// Open checks, as the user, what can be checked while a refusal can still be plain HTTP:
// RBAC first, so that users without a right do not learn which pods exist.
func (e *Pods) Open(ctx context.Context, p *capability.Permit) (capability.Stream, error) {
	q := p.Payload.(*request)
	checking, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client, err := e.clusters.As(checking, q.cluster, p.Obligations.Impersonate, p.Caller.Authority)
	if err != nil {
		return nil, err
	}
	return q.operation.open(e, checking, p, q, client)
}
