package all

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// What a resource permission of the directory must name for a call, by kind; ""
// where resource permissions are not about the kind.
func TestResourcePermissionsAreAboutCallsOfClusters(t *testing.T) {
	kinds := new(Config).Catalog()
	for _, c := range []struct {
		call host.CapabilityCall
		want string
	}{
		{host.CapabilityCall{Name: "kube", Verb: "get", Group: "apps", Resource: "deployments", Subresource: "scale"}, "get deployments.apps/scale"},
		{host.CapabilityCall{Name: "exec", Verb: "get", Resource: "pods", Subresource: "exec"}, "create pods/exec"},
		{host.CapabilityCall{Name: "pods", Verb: "get", Resource: "pods", Subresource: "log"}, "get pods/log"},
		{host.CapabilityCall{Name: "helm", Verb: "upgrade", Group: "x", Resource: "y"}, "upgrade releases.helm.sh"},
		{host.CapabilityCall{Name: "azure", Verb: "get", Resource: "monitor"}, ""},
	} {
		got := ""
		if permission := kinds.Kind(c.call.Name).Permission; permission != nil {
			resource, verb := permission(&c.call)
			got = verb + " " + resource
		}
		if got != c.want {
			t.Errorf("%s: a permission must cover %q, want %q", c.call.Name, got, c.want)
		}
	}
	if kinds.Kind("telepathy") != nil {
		t.Error("there is a kind that was not described")
	}
}
