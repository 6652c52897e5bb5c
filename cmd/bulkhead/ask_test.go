package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/helm"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/kube"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/pods"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// The question that explain asks is the one that the host asks, for requests
// that the plugins make: the call is as the capability classifies it, but for the
// path, which people do not give.
func TestAQuestionInWordsIsTheOneThatTheHostAsks(t *testing.T) {
	cloud, err := azure.New([]azure.Config{{Name: "prod", Subscription: "00000000-0000-4000-8000-00000000000a", Credential: "cli"}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	const (
		core = "kube://dev/api/v1/"
		rg   = "azure://prod/resourceGroups/rg1/providers/Microsoft."
		all  = "azure://prod/providers/Microsoft."
		aci  = "ContainerInstance/containerGroups"
		aks  = "ContainerService/managedClusters"
		vms  = "Compute/virtualMachines"
		sets = "Compute/virtualMachineScaleSets"
		span = "?metricnames=A&timespan=2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"
	)
	cases := []struct{ request, action, resource string }{
		{"GET azure://prod/resourceGroups", "resourcegroups.read", "prod//resourcegroups"},
		{"GET " + all + aci, "containerinstances.read", "prod//containerinstances"},
		{"GET " + all + aci + "?resourceGroup=rg1", "containerinstances.read", "prod//containerinstances"},
		{"GET " + rg + aci, "containerinstances.read", "prod/rg1/containerinstances"},
		{"GET " + rg + aci + "/Web", "containerinstances.read", "prod/RG1/ContainerInstances:Web"},
		{"GET " + rg + aci + "/web/containers/c/logs?tail=5", "containerinstances.read", "prod/rg1/containerinstances:web"},
		{"POST " + rg + aci + "/web/restart", "containerinstances.restart", "prod/rg1/containerinstances:web"},
		{"POST " + rg + aci + "/web/start", "containerinstances.start", "prod/rg1/containerinstances:web"},
		{"POST " + rg + aci + "/web/stop", "containerinstances.stop", "prod/rg1/containerinstances:web"},
		{"GET " + all + aks, "kubernetesservices.read", "prod//kubernetesservices"},
		{"GET " + rg + aks + "/a/agentPools", "kubernetesservices.read", "prod/rg1/kubernetesservices:a"},
		{"POST " + rg + aks + "/a/stop", "kubernetesservices.stop", "prod/rg1/kubernetesservices:a"},
		{"GET " + rg + sets + "/s/virtualMachines", "virtualmachinescalesets.read", "prod/rg1/virtualmachinescalesets:s"},
		{"POST " + rg + sets + "/s/virtualMachines/3/restart", "virtualmachinescalesets.restart", "prod/rg1/virtualmachinescalesets:s"},
		{"GET " + rg + vms + "/vm", "virtualmachines.read", "prod/rg1/virtualmachines:vm"},
		{"GET " + all + "CostManagement/query?timeframe=MonthToDate", "costmanagement.read", "prod//costmanagement"},
		{"GET " + rg + "CostManagement/query?timeframe=MonthToDate", "costmanagement.read", "prod/rg1/costmanagement"},
		{"GET " + rg + vms + "/vm/providers/Microsoft.Insights/metricDefinitions", "monitor.read", "prod/rg1/monitor:vm"},
		{"GET " + rg + vms + "/vm/providers/Microsoft.Insights/metrics" + span, "monitor.read", "prod/rg1/monitor:vm"},

		{"GET " + core + "namespaces/shop/pods/web", "pods.read", "dev/shop/pods:web"},
		{"GET " + core + "namespaces/shop/pods", "pods.read", "dev/shop/pods"},
		{"GET " + core + "pods", "pods.read", "dev//pods"},
		{"GET " + core + "nodes/n1", "nodes.read", "dev//nodes:n1"},
		{"GET " + core + "namespaces/shop/pods/web/log", "logs.read", "dev/shop/pods/log:web"},
		{"GET kube://dev/apis/argoproj.io/v1alpha1/namespaces/shop/applications/a", "apps.read", "dev/shop/applications.argoproj.io:a"},
		{"GET helm://dev", "helm.read", "dev//releases.helm.sh"},
		{"GET helm://dev/shop", "helm.read", "dev/shop/releases.helm.sh"},
		{"POST helm://dev/shop/web/upgrade", "helm.upgrade", "dev/shop/releases.helm.sh:web"},
		{"DELETE helm://dev/shop/web", "helm.uninstall", "dev/shop/releases.helm.sh:web"},
		{"GET exec://dev/shop/web-0?command=sh", "open", "dev/shop/pods/exec:web-0"},
		{"GET pods://dev/shop/web-0/attach", "open", "dev/shop/pods/attach:web-0"},
		{"GET pods://dev/shop/web-0/portforward?port=80", "open", "dev/shop/pods/portforward:web-0"},
	}
	var asked *host.Question
	broker := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		asked = q
		return host.Decision{} // so that nothing is reached
	}, nil, cloud, pods.New(pods.NewKind(), nil, nil), pods.New(pods.NewAlias(), nil, nil), unopened{helm.NewKind()}, kube.New(nil))
	every := []string{"*"}
	grants := map[string][]capability.Grant{
		"azure": {{Instances: every, Resources: every, ResourceGroups: every, Verbs: every}},
		"kube":  {{Clusters: every, Namespaces: every, Resources: every, Verbs: every}},
		"helm":  {{Clusters: every, Namespaces: every, Actions: every}},
		"exec":  {{Clusters: every, Namespaces: every}},
		"pods":  {{Clusters: every, Namespaces: every, Resources: every, Verbs: every}},
	}
	granted, err := broker.Grant("x", grants)
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, c := range cases {
		method, url, _ := strings.Cut(c.request, " ")
		name, _, _ := strings.Cut(url, "://")
		asked = nil
		caller := &capability.Caller{Principal: &host.Principal{User: "ann"}, Route: host.Route{Mutates: true}, Authority: alive{}}
		r := &abi.Request{Method: method, URL: url}
		if name == "exec" || name == "pods" {
			_, err = granted.Open(t.Context(), caller, name, r)
		} else {
			_, err = granted.Fetch(t.Context(), caller, name, r)
		}
		ask := policytool.Ask{User: "ann", Action: "x:" + c.action, Resource: c.resource}
		got, failed := ask.Question(kinds())
		if asked == nil || failed != nil {
			t.Errorf("%s: %v, %v", c.request, err, failed)
			continue
		}
		want := *asked.Capability
		want.Path = ""
		if *got.Capability != want {
			t.Errorf("%s, asked as %s:\n got %+v\nwant %+v", c.request, c.resource, *got.Capability, want)
		}
		if name == "azure" && got.Resource["instance"] != "prod" || name != "azure" && got.Resource["cluster"] != "dev" {
			t.Errorf("%s: the route's resource is %v", c.request, got.Resource)
		}
		covered[want.Name+" "+want.Resource], covered[want.Name+" "+want.Verb] = true, true
	}
	for _, d := range cloud.Kind().Dimensions {
		for _, v := range d.Values {
			if (d.Name == capability.Resources || d.Name == capability.Verbs) && !covered["azure "+v] {
				t.Errorf("no request is about %s %s", d.Name, v)
			}
		}
	}
}

// unopened is a provider that nothing is asked of.
type unopened struct{ kind *capability.Kind }

func (u unopened) Kind() *capability.Kind { return u.kind }
func (unopened) Fetch(context.Context, *capability.Permit) (*abi.Response, error) {
	return nil, errors.New("it was asked for something")
}

// alive is an authority that is not lost.
type alive struct{}

func (alive) Alive() bool  { return true }
func (alive) Cause() error { return nil }
