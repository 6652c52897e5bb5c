package azure

import (
	"log/slog"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func fixture(t testing.TB) *Azure {
	a, err := New([]Config{{Name: "prod", Subscription: "00000000-0000-4000-8000-00000000000a", Credential: "cli"}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func TestCallsAreClassifiedByWhatTheyDo(t *testing.T) {
	a := fixture(t)
	const aci = "/providers/Microsoft.ContainerInstance/containerGroups"
	for request, want := range map[string]string{
		"GET azure://prod/resourceGroups":                                                                                      "azure get resourcegroups prod//",
		"GET azure://prod" + aci:                                                                                               "azure get containerinstances prod//",
		"GET azure://prod/RESOURCEGROUPS/Rg1" + aci:                                                                            "azure get containerinstances prod/rg1/",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web":                                                                   "azure get containerinstances prod/rg1/web",
		"POST azure://prod/resourceGroups/rg1" + aci + "/web/restart":                                                          "azure restart containerinstances prod/rg1/web",
		"GET azure://prod/resourceGroups/rg1" + aci + "/WEB":                                                                   "azure get containerinstances prod/rg1/web",
		"POST azure://prod/resourceGroups/rg1" + aci + "/web/STOP":                                                             "azure stop containerinstances prod/rg1/web",
		"GET azure://prod/providers/Microsoft.CostManagement/query?timeframe=MonthToDate":                                      "azure get costmanagement prod//",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web/providers/Microsoft.Insights/metricDefinitions":                    "azure get monitor prod/rg1/web",
		"POST azure://prod/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/3/restart": "azure restart virtualmachinescalesets prod/rg1/s",
		"GET azure://elsewhere/resourceGroups/rg1" + aci + "/web":                                                              "azure get containerinstances elsewhere/rg1/web",
	} {
		method, target, _ := strings.Cut(request, " ")
		call, err := a.Classify(&abi.Request{Method: method, URL: target})
		if err != nil || call.String() != want {
			t.Errorf("%s: got %q, %v", request, call.String(), err)
		}
	}
	if _, err := a.Classify(&abi.Request{Method: "GET", URL: "azure://prod/resourceGroups", Body: []byte("{}")}); host.KindOf(err) != host.Invalid {
		t.Errorf("a body: %v", err)
	}
}

// Whatever parses is sent below the subscription, to a path that is clean, with
// the version that is pinned.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"azure://prod/resourceGroups", "azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerInstance/containerGroups/web/containers/c/logs?tail=5",
		"azure://prod/providers/Microsoft.CostManagement/query?timeframe=Custom&from=2026-01-01&to=2026-01-31&groupBy=ServiceName",
		"azure://prod/subscriptions/00000000-0000-4000-8000-00000000000a/resourceGroups/a/../b", "azure://prod/resourceGroups/a%2fb/providers/x",
	} {
		f.Add("GET", seed)
	}
	f.Add("POST", "azure://prod/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/3/restart")
	a := fixture(f)
	const prefix = "/subscriptions/00000000-0000-4000-8000-00000000000a/"
	f.Fuzz(func(t *testing.T, method, target string) {
		q, err := a.parse(&abi.Request{Method: method, URL: target})
		if err != nil {
			return
		}
		s := session{instance: a.instances["prod"]}
		sent, err := url.Parse(s.url(q.wire(q.names), q.wireQuery()).String())
		if err != nil || !strings.HasPrefix(sent.Path, prefix) || path.Clean(sent.Path) != sent.Path || sent.Host != "management.azure.com" || sent.RawPath != "" {
			t.Fatalf("%q is sent as %v, %v", target, sent, err)
		}
		if versions := sent.Query()["api-version"]; len(versions) != 1 || versions[0] != q.version {
			t.Fatalf("%q is sent with the versions %v", target, versions)
		}
		if c := q.call(); c.Resource == "" || c.Verb == "" || c.ResourceGroup != strings.ToLower(c.ResourceGroup) {
			t.Fatalf("%q was taken as %+v", target, c)
		}
	})
}
