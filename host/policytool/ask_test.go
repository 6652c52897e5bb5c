package policytool

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func question(t *testing.T, a Ask) *host.Question {
	t.Helper()
	q, err := a.Question(kinds)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// A question about an address finds the user however the address is written.
func TestAQuestionNamesUsersAndTeamsAsPoliciesKnowThem(t *testing.T) {
	q := question(t, Ask{User: "Ann@Example.com", Action: "pods:delete", Teams: []string{"Ops@Example.com", "ops@example.com", "CORP-Ops"}})
	if p := q.Principal; p.User != "ann@example.com" || strings.Join(p.Asserted.Teams, " ") != "CORP-Ops ops@example.com" {
		t.Errorf("%+v", p)
	}
}

func TestQuestionsInWordsAreRead(t *testing.T) {
	for resource, want := range map[string]host.CapabilityCall{
		"dev/shop/pods:web":             {Name: "kube", Verb: "get", Resource: "pods", Object: "web", Namespace: "shop"},
		"dev/shop/pods/exec:web":        {Name: "exec", Verb: "create", Resource: "pods", Subresource: "exec", Object: "web", Namespace: "shop"},
		"dev/shop/releases.helm.sh:web": {Name: "helm", Verb: "upgrade", Resource: "releases", Group: "helm.sh", Object: "web", Namespace: "shop"},
		"dev//applications.argoproj.io": {Name: "kube", Verb: "list", Resource: "applications", Group: "argoproj.io", Spans: true},
		"dev//clusterroles.rbac.authorization.k8s.io:system:node": {
			Name: "kube", Verb: "get", Resource: "clusterroles", Group: "rbac.authorization.k8s.io", Object: "system:node",
		},
		"dev//nodes:n1": {Name: "kube", Verb: "get", Resource: "nodes", Object: "n1"},
	} {
		if want.Cluster, want.Effect = "dev", host.EffectRead; want.Verb == "create" || want.Verb == "upgrade" {
			want.Effect = host.EffectChange
		}
		if q := question(t, Ask{User: "a", Action: "gitops:helm.upgrade", Resource: resource}); *q.Capability != want {
			t.Errorf("%s: %+v", resource, *q.Capability)
		}
	}
	for want, a := range map[string]Ask{
		"needs a user":                             {},
		"needs a user and an action":               {User: "a"},
		"an action PLUGIN:NAME":                    {User: "a", Action: "x"},
		"CLUSTER/NAMESPACE/RESOURCE":               {User: "a", Action: "a:b", Resource: "dev"},
		"require a resource":                       {User: "a", Action: "a:b", Verb: "get"},
		"azure, exec, git, helm, http, kube, pods": {User: "a", Action: "a:b", Resource: "dev/shop/pods", Capability: "teleport"},
		`azure has no resource "vaults"; it has`:   {User: "a", Action: "a:b", Resource: "prod/rg1/vaults", Capability: "azure"},
		`azure has no verb "delete"`:               {User: "a", Action: "a:b", Resource: "prod/rg1/monitor", Verb: "delete"},
		"does not name azure's verb":               {User: "a", Action: "azure:zzz.bogus", Resource: "prod/rg1/monitor"},
		`azure has no resource "monitr"`:           {User: "a", Action: "azure:monitor.read", Resource: "prod/rg1/monitr"},
		`azure has no resource "monitors"`:         {User: "a", Action: "cloud:monitor.read", Resource: "prod/rg1/monitors"},
		`resource "a/b/c/d/e" does not have one`:   {User: "a", Action: "a:b", Resource: "a/b/c/d/e"},
		`resource "a/b/pods:" does not have one`:   {User: "a", Action: "a:b", Resource: "a/b/pods:"},
		"needs a resource group":                   {User: "a", Action: "a:b.read", Resource: "prod//containerinstances:web"},
		"roles: each must have 1":                  {User: "a", Action: "a:b", Roles: []string{""}},
		"teams: each must have 1 to":               {User: "a", Action: "a:b", Teams: []string{strings.Repeat("x", 257)}},
		"roles: at most 100":                       {User: "a", Action: "a:b", Roles: slices.Repeat([]string{"x"}, 101)},
	} {
		if _, err := a.Question(kinds); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", a, err, want)
		}
	}
}
