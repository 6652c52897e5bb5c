package pods

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
)

const maxSelector = 4 << 10

// ownerKind is a kind of object that selects pods.
type ownerKind struct{ resource, group, path string }

var ownerKinds = map[string]*ownerKind{
	"deployments.apps":       {"deployments", "apps", "/apis/apps/v1"},
	"replicasets.apps":       {"replicasets", "apps", "/apis/apps/v1"},
	"statefulsets.apps":      {"statefulsets", "apps", "/apis/apps/v1"},
	"daemonsets.apps":        {"daemonsets", "apps", "/apis/apps/v1"},
	"jobs.batch":             {"jobs", "batch", "/apis/batch/v1"},
	"replicationcontrollers": {"replicationcontrollers", "", "/api/v1"},
	"services":               {"services", "", "/api/v1"},
}

// readSelection reads which pods: the one that the path names, or a selection.
func (q *request) readSelection(t *capability.Target) error {
	o, selector, owner := &q.logs, t.Query.Get("selector"), t.Query.Get("owner")
	chosen := 0
	for _, x := range []string{q.pod, selector, owner} {
		if x != "" {
			chosen++
		}
	}
	if chosen != 1 {
		return host.E(host.Invalid, name, "exactly one of pod, selector and owner is required")
	}
	if len(selector) > maxSelector {
		return host.E(host.Invalid, name, "selector: is over %d bytes", maxSelector)
	}
	if _, err := labels.Parse(selector); err != nil {
		return host.E(host.Invalid, name, "selector: %v", err)
	}
	o.selector = selector
	if owner != "" {
		resource, object, _ := strings.Cut(owner, "/")
		if o.owner = ownerKinds[resource]; o.owner == nil || !dnsname.IsSubdomain(object) {
			return host.E(host.Invalid, name, "owner must be RESOURCE/NAME, such as deployments.apps/web")
		}
		o.ownerName = object
	}
	return nil
}

// resolve asks policy whether the user may list pods, and turns an owner into the
// selector of its pods.
func (q *request) resolve(ctx context.Context, p *capability.Permit, client *cluster.Client) (err error) {
	if err := alsoKube(ctx, p, q, "list", "pods", "", ""); err != nil {
		return err
	}
	if q.logs.owner != nil {
		q.logs.selector, err = q.selectorOf(ctx, p, client, q.logs.owner, q.logs.ownerName)
	}
	return err
}

// alsoKube asks policy about a read that an operation takes.
func alsoKube(ctx context.Context, p *capability.Permit, q *request, verb, resource, group, object string) error {
	_, err := p.Also(ctx, host.CapabilityCall{
		Name: "kube", Verb: verb, Cluster: q.cluster, Namespace: q.namespace, Group: group, Resource: resource, Object: object,
		Effect: host.EffectRead, Via: name,
	})
	return err
}

// selectorOf returns the selector of the pods of an owner, as the user.
func (q *request) selectorOf(ctx context.Context, p *capability.Permit, client *cluster.Client, k *ownerKind, object string) (string, error) {
	if err := alsoKube(ctx, p, q, "get", k.resource, k.group, object); err != nil {
		return "", err
	}
	var owner struct {
		Spec struct{ Selector json.RawMessage }
	}
	path := k.path + "/namespaces/" + q.namespace + "/" + k.resource + "/" + object
	if err := ask(ctx, client, &cluster.Request{Method: http.MethodGet, Path: path}, &owner); err != nil {
		return "", err
	}
	var set metav1.LabelSelector
	var err error
	if slices.Contains([]string{"services", "replicationcontrollers"}, k.resource) {
		err = json.Unmarshal(orEmpty(owner.Spec.Selector), &set.MatchLabels)
	} else {
		err = json.Unmarshal(orEmpty(owner.Spec.Selector), &set)
	}
	if err != nil {
		return "", &host.Error{Kind: host.Upstream, Op: name, Message: "the cluster's answer cannot be read", Err: err}
	}
	if len(set.MatchLabels)+len(set.MatchExpressions) == 0 {
		return "", host.E(host.Invalid, name, "%s %q selects no pods by labels", k.resource, object)
	}
	selector, err := metav1.LabelSelectorAsSelector(&set)
	if err != nil {
		return "", host.E(host.Invalid, name, "%s %q: %v", k.resource, object, err)
	}
	return selector.String(), nil
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}
