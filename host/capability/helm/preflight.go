package helm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Judge puts the request of an AdmissionReview to a policy, for a caller. A nil error means
// that the policy accepts it as it is; a policy that cannot be asked is an error.
type Judge func(ctx context.Context, c *capability.Caller, policy string, request []byte) error

// preflight has policies judge what an operation is about to write to the cluster: all
// objects of the release when helm writes its record, which is before it changes anything
// else. Nil: nothing is judged.
type preflight struct {
	policies []string
	judge    Judge
}

// changesObjects are the verbs of requests that create or change an object.
var changesObjects = []string{"create", "update", "patch"}

// record judges the release in the Secret that is to become its record.
func (p *preflight) record(ctx context.Context, b *bridge, packed []byte) error {
	text, err := unpack(packed, newBudget(maxRelease))
	if err != nil {
		return host.E(host.Invalid, name, "a release's record cannot be read for the policies that must judge it: %w", err)
	}
	rel := new(release.Release)
	if err := decodeWhole(text, rel); err != nil {
		return host.E(host.Invalid, name, "a release's record cannot be read for the policies that must judge it: %w", err)
	}
	operation := "UPDATE"
	if rel.Version == 1 {
		operation = "CREATE"
	}
	list := objectsOf(rel.Manifest)
	for _, h := range rel.Hooks {
		if h != nil {
			list = append(list, objectsOf(h.Manifest)...)
		}
	}
	for _, o := range list {
		if o.content == nil {
			return host.E(host.Unprocessable, name, "the chart declares an object that the policies cannot judge, because it cannot be read: %q", firstLine(o.text))
		}
		items := []any{o.content}
		if strings.HasSuffix(o.kind, "List") {
			if inner, ok := o.content["items"].([]any); ok {
				items = inner
			}
		}
		for _, item := range items {
			content, ok := item.(map[string]any)
			if !ok {
				return host.E(host.Unprocessable, name, "%s %q has an item that is not an object", o.kind, o.name)
			}
			if err := p.object(ctx, b, operation, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// request judges the object that a request creates, where no record was judged, such as the
// pod of a test. A change that such a request makes is refused: only a part of the object
// is in it.
func (p *preflight) request(r *http.Request, b *bridge, call *host.CapabilityCall) error {
	if call.Verb != "create" {
		return host.E(host.Forbidden, name, "no policy has judged %s", call)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSecret+1))
	if err != nil || len(body) > maxSecret {
		return host.E(host.Invalid, name, "an object is over %d bytes or incomplete", maxSecret)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var content map[string]any
	if err := json.Unmarshal(body, &content); err != nil {
		return host.E(host.Unprocessable, name, "the policies cannot judge %s, because it is not JSON", call)
	}
	return p.object(r.Context(), b, "CREATE", content)
}

// object puts one object to each policy, in their order; the first that rejects it ends it.
func (p *preflight) object(ctx context.Context, b *bridge, operation string, content map[string]any) error {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	metadata, _ := content["metadata"].(map[string]any)
	objectName, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	namespace = cmp.Or(namespace, b.namespace)
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	of := map[string]string{"group": group, "version": version, "kind": kind}
	resource := map[string]string{"group": group, "version": version, "resource": plural.Resource}
	user := map[string]any{}
	if as := b.permit.Obligations.Impersonate; as != nil { // whom the cluster will see
		user["username"], user["groups"] = as.User, as.Groups
	}
	request, err := json.Marshal(map[string]any{
		"uid": b.permit.Caller.RequestID, "kind": of, "requestKind": of, "resource": resource, "requestResource": resource,
		"name": objectName, "namespace": namespace, "operation": operation, "userInfo": user, "object": content, "dryRun": false,
	})
	if err != nil {
		return host.E(host.Unprocessable, name, "%s %q cannot be judged: %w", kind, objectName, err)
	}
	for _, policy := range p.policies {
		if err := p.judge(ctx, b.permit.Caller, policy, request); err != nil {
			return rejected(policy, kind, namespace+"/"+objectName, err)
		}
	}
	return nil
}

// rejected adds to a policy's error which object it is about.
func rejected(policy, kind, object string, err error) error {
	e, ok := err.(*host.Error)
	if !ok {
		return fmt.Errorf("policy %q, %s %s: %w", policy, kind, object, err)
	}
	out := *e
	out.Op = name
	out.Message = fmt.Sprintf("policy %q, %s %s: %s", policy, kind, object, e.Public())
	return &out
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line[:min(len(line), 80)]
}
