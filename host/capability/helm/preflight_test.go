package helm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

// judged is a bridge whose policies reject objects with the label "bad".
func judged(seen *[]string) *bridge {
	judge := func(_ context.Context, _ *capability.Caller, policy string, request []byte) error {
		var r struct {
			Kind                       struct{ Group, Version, Kind string }
			Resource                   struct{ Resource string }
			Name, Namespace, Operation string
			UserInfo                   struct{ Username string }
			Object                     struct {
				Metadata struct{ Labels map[string]string }
			}
		}
		if err := json.Unmarshal(request, &r); err != nil {
			return err
		}
		*seen = append(*seen, strings.Join([]string{policy, r.Operation, r.Kind.Group, r.Kind.Version, r.Kind.Kind, r.Resource.Resource, r.Namespace, r.Name, r.UserInfo.Username}, " "))
		if _, bad := r.Object.Metadata.Labels["bad"]; bad {
			return &host.Error{Kind: host.Forbidden, Message: "rejected: it is bad", Detail: "policy_rejected"}
		}
		return nil
	}
	p := &capability.Permit{Caller: &capability.Caller{RequestID: "r1"}}
	p.Obligations.Impersonate = &host.Impersonation{User: "ann@example.com"}
	return &bridge{request: &request{namespace: "shop", release: "web", cluster: "dev"}, permit: p, policies: &preflight{[]string{"labels"}, judge}}
}

// writeRecord sends the record of a release with this manifest to the bridge.
func writeRecord(t *testing.T, b *bridge, method string, rel *release.Release) error {
	t.Helper()
	rel.Name, rel.Namespace, rel.Info, rel.Chart = "web", "shop", &release.Info{Status: release.StatusPendingInstall}, &chart.Chart{Metadata: &chart.Metadata{}}
	packed, err := pack(rel)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": key{namespace: "shop", release: "web", revision: rel.Version}.secret()}, "data": map[string]any{"release": packed},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, "http://"+hostRecords+"/api/v1/namespaces/shop/secrets", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	access, err := cluster.Classify(method, r.URL.Path, r.URL.Query())
	if err != nil {
		t.Fatal(err)
	}
	return b.own(r, access)
}

func TestPoliciesJudgeAllObjectsBeforeTheRecordIsWritten(t *testing.T) {
	var seen []string
	b := judged(&seen)
	rel := &release.Release{Version: 1,
		Manifest: "# Source: a\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: edge}\n---\n" +
			"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n",
		Hooks: []*release.Hook{{Manifest: "apiVersion: v1\nkind: Pod\nmetadata: {name: test}\n"}}}
	if err := writeRecord(t, b, "POST", rel); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"labels CREATE apps v1 Deployment deployments shop web ann@example.com",
		"labels CREATE networking.k8s.io v1 Ingress ingresses edge web ann@example.com",
		"labels CREATE  v1 Service services shop a ann@example.com",
		"labels CREATE  v1 Pod pods shop test ann@example.com",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("the policies saw\n%s", strings.Join(seen, "\n"))
	}
	if !b.accepted() {
		t.Error("the objects count as not judged")
	}
	seen = nil
	if err := writeRecord(t, b, "POST", &release.Release{Version: 2, Manifest: "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"}); err != nil || len(seen) != 1 || !strings.Contains(seen[0], "UPDATE") {
		t.Errorf("%v, %q", err, seen)
	}
}

func TestAChangeThatAPolicyRejectsDoesNotBegin(t *testing.T) {
	for _, c := range []struct{ why, manifest, hook, want string }{
		{"an object", "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {bad: x}}\n", "", `policy "labels", Service shop/a: rejected: it is bad`},
		{"a hook", "", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {bad: x}}\n", `policy "labels", Pod shop/a: rejected: it is bad`},
		{"an item of a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a, labels: {bad: x}}}\n", "", "Service shop/a"},
		{"what cannot be read", "kind: [\n", "", "cannot judge"},
		{"an item that is no object", "apiVersion: v1\nkind: List\nitems: [1]\n", "", "not an object"},
	} {
		var seen []string
		b := judged(&seen)
		rel := &release.Release{Version: 1, Manifest: c.manifest, Hooks: []*release.Hook{{Manifest: c.hook}}}
		if err := writeRecord(t, b, "POST", rel); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
		if _, _, record := b.seen(); record.revision != 0 || b.accepted() {
			t.Errorf("%s: the record counts as written", c.why)
		}
	}
	// A record that is written over one that was not judged does not count as judged.
	var seen []string
	b := judged(&seen)
	if err := writeRecord(t, b, "POST", &release.Release{Version: 1, Manifest: "\x00"}); err == nil && b.accepted() && len(seen) > 0 {
		t.Error("it was judged")
	}
}

// Without a judged record, such as in a test of a release, each new object is judged, and
// a change is refused.
func TestAnObjectWithoutAJudgedRecordIsJudgedByItself(t *testing.T) {
	var seen []string
	b := judged(&seen)
	send := func(body string) error {
		r, err := http.NewRequest("POST", "http://"+hostObjects+"/api/v1/namespaces/shop/pods", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return b.policies.request(r, b, &host.CapabilityCall{Name: "kube", Verb: "create", Resource: "pods"})
	}
	if err := send(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "test"}}`); err != nil || len(seen) != 1 {
		t.Errorf("%v, %q", err, seen)
	}
	err := send(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "test", "labels": {"bad": ""}}}`)
	if e, ok := errors.AsType[*host.Error](err); !ok || e.Kind != host.Forbidden || e.Detail != "policy_rejected" {
		t.Errorf("%v", err)
	}
	if err := send(`{`); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Error(err)
	}
	if err := b.policies.request(nil, b, &host.CapabilityCall{Name: "kube", Verb: "patch", Resource: "pods"}); err == nil || !strings.Contains(err.Error(), "no policy has judged") {
		t.Error(err)
	}
}

func TestPoliciesNeedAHostThatRunsThem(t *testing.T) {
	if _, err := New(Config{Policies: []string{"labels"}}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "helm.policies") {
		t.Error(err)
	}
}

// On a real cluster: a change that a policy rejects leaves neither a record nor an object,
// and one that it accepts is made.
func TestADeniedChangeLeavesTheReleaseAsItWas(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"judged": {
		"templates/map.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: judged\n  labels: {team: shop{{ if .Values.bad }}, bad: \"yes\"{{ end }}}\n",
		"templates/test.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: judged-test\n  annotations: {helm.sh/hook: test}\n",
	}})
	s.fresh("judged")
	var seen []string
	s.helm.policies = judged(&seen).policies
	upgrade := func(values string) error {
		_, err := s.call(t.Context(), "POST judged/upgrade", `{"chart": "own/judged", "values": `+values+`}`)
		return err
	}
	denied := func(what string, err error) {
		t.Helper()
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.Kind != host.Forbidden || e.Detail != "policy_rejected" || !strings.Contains(e.Message, `policy "labels", ConfigMap shop/judged: rejected: it is bad`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("an installation", upgrade(`"bad: true"`))
	if got := s.statuses("judged"); strings.Contains(got, "deployed") || strings.Contains(got, "pending") {
		t.Errorf("after a denied installation: %s", got)
	}
	if err := upgrade(`""`); err != nil {
		t.Fatal(err)
	}
	before := s.statuses("judged")
	denied("an upgrade", upgrade(`"bad: true"`))
	if got := s.statuses("judged"); got != before {
		t.Errorf("after a denied upgrade: %s, was %s", got, before)
	}
	seen = nil
	if _, err := s.call(t.Context(), "POST judged/test", ""); err != nil || len(seen) != 1 || !strings.Contains(seen[0], "ConfigMap configmaps shop judged-test") {
		t.Errorf("a test: %v, the policies saw %q", err, seen)
	}
}
