package pods

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

const maxAnswer = 4 << 20 // a pod with a long history of managed fields

// may asks the API server whether the user may do this to a pod, or with pod "" to all
// pods of the namespace. A refusal names the verb and the resource that RBAC lacks.
func (q *request) may(ctx context.Context, client *cluster.Client, need rbac, pod string) error {
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
	review.Spec.ResourceAttributes = attributes{q.namespace, need.verb, "pods", need.subresource, pod}
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
			Message: fmt.Sprintf("the cluster does not allow you to %s pods/%s in namespace %q", need.verb, need.subresource, q.namespace)}
	}
	return err
}

// podObject is what the capability reads of a pod.
type podObject struct {
	Metadata struct {
		Name              string
		UID               string
		Annotations       map[string]string
		DeletionTimestamp *time.Time
		OwnerReferences   []owner
	}
	Spec struct {
		Containers, InitContainers, EphemeralContainers []container
	}
	Status struct {
		Phase      string
		Conditions []struct{ Type, Status string }
		ContainerStatuses, InitContainerStatuses,
		EphemeralContainerStatuses []status
	}
}

type owner struct{ APIVersion, Kind, Name, UID string }

type container struct {
	Name       string
	Stdin, TTY bool
	Ports      []struct {
		Name          string
		ContainerPort int64
	}
}

type status struct {
	Name         string
	RestartCount int
	State        struct {
		Running    *struct{ StartedAt time.Time }
		Waiting    *struct{ Reason, Message string }
		Terminated *struct {
			ExitCode int
			Reason   string
		}
	}
}

func (p *podObject) all() []container {
	return slices.Concat(p.Spec.Containers, p.Spec.InitContainers, p.Spec.EphemeralContainers)
}

// ready reports whether the pod can serve.
func (p *podObject) ready() bool {
	return p.Metadata.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status string }) bool {
		return c.Type == "Ready" && c.Status == "True"
	})
}

// container returns the container with this name, or with "" the pod's default one.
func (p *podObject) container(named string) (*container, error) {
	named = cmp.Or(named, p.Metadata.Annotations["kubectl.kubernetes.io/default-container"])
	for _, c := range p.all() {
		if named == "" || c.Name == named {
			return &c, nil
		}
	}
	return nil, host.E(host.Invalid, name, "pod %q has no container %q", p.Metadata.Name, named)
}

// running refuses a pod that has ended.
func (p *podObject) running() error {
	if phase := p.Status.Phase; phase != "Running" && phase != "Pending" {
		return host.E(host.Conflict, name, "pod %q is %s", p.Metadata.Name, strings.ToLower(cmp.Or(phase, "not running")))
	}
	return nil
}

func (q *request) path(pod string) string {
	path := "/api/v1/namespaces/" + q.namespace + "/pods"
	if pod != "" {
		path += "/" + pod
	}
	return path
}

// get reads the pod of the request.
func (q *request) get(ctx context.Context, client *cluster.Client) (*podObject, error) {
	p := new(podObject)
	return p, ask(ctx, client, &cluster.Request{Method: http.MethodGet, Path: q.path(q.pod)}, p)
}

func ask(ctx context.Context, client *cluster.Client, r *cluster.Request, into any) error {
	r.Limit = max(r.Limit, maxAnswer)
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
