// Package exec is the capability "exec": a command in a container, as the user,
// its streams spliced to the user's socket. Its URLs are
//
//	exec://CLUSTER/NAMESPACE/POD?container=&command=a&command=b&tty=true&cols=80&rows=24
//
// It owns the two wire protocols of the socket (v5.go, control.go), their bounds and the
// ends of a session. It has the session recorded if policy says so: output that cannot
// be recorded is not sent. Nothing is dropped: a side that sends faster than the other
// reads has to wait. Authority is checked before every frame in either direction.
// host/cluster runs the command; policy and RBAC decide who may.
package exec

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name        = "exec"
	verbCreate  = "create"
	openTimeout = 15 * time.Second
	maxCommand  = 64 // words
	maxWords    = 8 << 10
	maxAnswer   = 4 << 20 // a pod with a long history of managed fields
)

// NewKind describes the capability. A grant has clusters and namespaces.
func NewKind() *capability.Kind {
	return &capability.Kind{
		Name:       name,
		Dimensions: []capability.Dimension{{Name: capability.Clusters}, {Name: capability.Namespaced}},
		Streams:    true,
		Classify:   classify,
		// RBAC's verb is create, whatever the call says.
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), verbCreate },
		Words: capability.Words{
			Form: "CLUSTER/NAMESPACE/pods/exec:POD", Example: "dev/shop/pods/exec:web", Verbs: verbCreate,
			Claims: func(p *capability.Phrase) (bool, error) { return p.Resource == "pods/exec", nil },
			Call: func(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
				c, route := p.OfCluster(name, cmp.Or(p.Verb, verbCreate))
				c.Effect = host.EffectChange
				return c, route, nil
			},
		},
	}
}

// Exec is the provider. Safe for concurrent use.
type Exec struct {
	kind       *capability.Kind
	clusters   *cluster.Set
	recordings *recording.Store
}

// New makes the provider for the clusters of this host. recordings may be nil; then
// terminals that policy requires to be recorded do not open.
func New(clusters *cluster.Set, recordings *recording.Store) *Exec {
	return &Exec{NewKind(), clusters, recordings}
}

// Kind returns the kind of NewKind.
func (e *Exec) Kind() *capability.Kind { return e.kind }

// request is a guest's request in typed parts.
type request struct {
	cluster string
	options cluster.ExecOptions
	size    cluster.Size
}

func parse(r *abi.Request) (*request, error) {
	if r.Method != http.MethodGet || len(r.Body) > 0 {
		return nil, host.E(host.Invalid, name, "exec is opened with GET and no body")
	}
	t, err := capability.ParseTarget(name, r.URL, "command")
	if err != nil {
		return nil, err
	}
	if err := t.Only(name, "container", "command", "tty", "cols", "rows"); err != nil {
		return nil, err
	}
	if len(t.Segments) != 2 || !dnsname.IsLabel(t.Segments[0]) || !dnsname.IsSubdomain(t.Segments[1]) {
		return nil, host.E(host.Invalid, name, "the URL is not exec://CLUSTER/NAMESPACE/POD")
	}
	q := &request{cluster: t.Cluster, options: cluster.ExecOptions{
		Namespace: t.Segments[0], Pod: t.Segments[1], Container: t.Query.Get("container"), Command: t.Query["command"],
	}}
	if c := q.options.Container; c != "" && !dnsname.IsLabel(c) {
		return nil, host.E(host.Invalid, name, "container: %q is not a valid container name", q.options.Container)
	}
	return q, q.readTerminal(t)
}

func (q *request) readTerminal(t *capability.Target) (err error) {
	if len(q.options.Command) == 0 {
		q.options.Command = []string{"/bin/sh"}
	}
	words := strings.Join(q.options.Command, "\x00")
	if q.options.Command[0] == "" || len(q.options.Command) > maxCommand || len(words) > maxWords {
		return host.E(host.Invalid, name, "command must have 1 to %d words and at most %d bytes", maxCommand, maxWords)
	}
	if v := t.Query.Get("tty"); v != "" {
		if q.options.TTY, err = strconv.ParseBool(v); err != nil {
			return host.E(host.Invalid, name, "tty must be true or false")
		}
	}
	if q.size.Cols, err = characters(t, "cols", 80); err != nil {
		return err
	}
	q.size.Rows, err = characters(t, "rows", 24)
	return err
}

func characters(t *capability.Target, key string, otherwise uint16) (uint16, error) {
	n, err := strconv.ParseUint(cmp.Or(t.Query.Get(key), fmt.Sprint(otherwise)), 10, 16)
	if err != nil || n == 0 {
		return 0, host.E(host.Invalid, name, "%s must be a number from 1 to 65535", key)
	}
	return uint16(n), nil
}

// classify parses the request. Opening a command is a create, whatever the HTTP method.
func classify(r *abi.Request) (capability.Prepared, error) {
	q, err := parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Payload: q, Call: host.CapabilityCall{
		Name: name, Verb: verbCreate, Cluster: q.cluster, Resource: "pods", Subresource: "exec",
		Namespace: q.options.Namespace, Object: q.options.Pod, Effect: host.EffectChange,
	}}, nil
}

// Fetch refuses every call: a command is opened as a stream.
func (*Exec) Fetch(context.Context, *capability.Permit) (*abi.Response, error) {
	return nil, host.E(host.Invalid, name, "exec has streams only; open one")
}

// Open checks, as the user, that the pod and the container exist and that the user may
// exec, so that a refusal can still be plain HTTP. The command starts with Splice.
func (e *Exec) Open(ctx context.Context, p *capability.Permit) (capability.Stream, error) {
	q := p.Payload.(*request)
	checking, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client, err := e.clusters.As(checking, q.cluster, p.Obligations.Impersonate, p.Caller.Authority)
	if err != nil {
		return nil, err
	}
	if err := q.mayExec(checking, client); err != nil {
		return nil, err
	}
	if err := q.findContainer(checking, client); err != nil {
		return nil, err
	}
	s := &stream{clusters: e.clusters, permit: p, request: q}
	if what := strongest(p.Obligations.Record, p.Caller.Obligations.Record); what != host.RecordNothing {
		if s.recording, err = e.record(p, q, what); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// strongest returns the stricter of the records that the decisions about the route and
// the call require.
func strongest(a, b host.Record) host.Record {
	if a == host.RecordAll || b == host.RecordAll {
		return host.RecordAll
	}
	return cmp.Or(a, b)
}

// record begins the recording of a terminal, before the client learns that it opens.
func (e *Exec) record(p *capability.Permit, q *request, what host.Record) (*recording.Recording, error) {
	log := cmp.Or(p.Caller.Logger, slog.New(slog.DiscardHandler))
	if !e.recordings.Can(what) {
		log.Error("a terminal cannot be recorded as policy requires; recordings.input permits recording input", "record", string(what))
		return nil, &host.Error{Kind: host.Forbidden, Op: name, Message: "the terminal must be recorded, but cannot be", Detail: "obligation_not_supported"}
	}
	o, who := q.options, p.Caller.Principal
	r, err := e.recordings.Begin(recording.Meta{
		User: string(who.User), Login: string(who.Login.ID), Cluster: q.cluster, Namespace: o.Namespace, Pod: o.Pod, Container: o.Container,
		Decision: p.Decision, RequestID: p.Caller.RequestID, Reason: p.Caller.Reason, TTY: o.TTY,
		Command: strings.Join(o.Command, " "), Cols: q.size.Cols, Rows: q.size.Rows,
	}, what)
	if err == nil {
		log.Info("terminal is recorded", "recording", r.ID(), "record", string(what), "decision", p.Decision)
	}
	return r, err
}

// mayExec asks the API server whether the user may exec. This comes first, so that users
// without this right do not learn which pods exist.
func (q *request) mayExec(ctx context.Context, client *cluster.Client) error {
	type attributes struct {
		Namespace   string `json:"namespace"`
		Verb        string `json:"verb"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Name        string `json:"name"`
	}
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       struct {
			ResourceAttributes attributes `json:"resourceAttributes"`
		} `json:"spec"`
		Status struct {
			Allowed bool   `json:"allowed"`
			Reason  string `json:"reason"`
		} `json:"status"`
	}
	review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SelfSubjectAccessReview"
	review.Spec.ResourceAttributes = attributes{q.options.Namespace, "create", "pods", "exec", q.options.Pod}
	body, err := json.Marshal(review)
	if err != nil {
		return err
	}
	err = ask(ctx, client, &cluster.Request{
		Method: http.MethodPost, Path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Body: body,
		Header: http.Header{"Content-Type": {"application/json"}},
	}, &review)
	if err == nil && !review.Status.Allowed {
		err = &host.Error{Kind: host.Forbidden, Op: name, Status: http.StatusForbidden, Detail: review.Status.Reason,
			Message: fmt.Sprintf("the cluster does not allow you to create pods/exec in namespace %q", q.options.Namespace)}
	}
	return err
}

func (q *request) findContainer(ctx context.Context, client *cluster.Client) error {
	type containers []struct{ Name string }
	var pod struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct{ Containers, InitContainers, EphemeralContainers containers }
		Status   struct{ Phase string }
	}
	path := "/api/v1/namespaces/" + q.options.Namespace + "/pods/" + q.options.Pod
	if err := ask(ctx, client, &cluster.Request{Method: http.MethodGet, Path: path}, &pod); err != nil {
		return err
	}
	if phase := pod.Status.Phase; phase != "Running" && phase != "Pending" {
		return host.E(host.Conflict, name, "pod %q is %s", q.options.Pod, strings.ToLower(cmp.Or(phase, "not running")))
	}
	if q.options.Container == "" {
		q.options.Container = pod.Metadata.Annotations["kubectl.kubernetes.io/default-container"]
	}
	all := slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers, pod.Spec.EphemeralContainers)
	for _, c := range all {
		if q.options.Container == "" || c.Name == q.options.Container {
			q.options.Container = c.Name
			return nil
		}
	}
	return host.E(host.Invalid, name, "pod %q has no container %q", q.options.Pod, q.options.Container)
}

func ask(ctx context.Context, client *cluster.Client, r *cluster.Request, into any) error {
	r.Limit = maxAnswer
	resp, err := client.Do(ctx, r)
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(resp.Body, into); err != nil {
		return &host.Error{Kind: host.Upstream, Op: name, Message: "the cluster's answer cannot be read", Err: err}
	}
	return nil
}
