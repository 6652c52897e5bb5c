package azure_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestWhatAzureSaysLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var hits atomic.Int32
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer elsewhere.Close()
	own := f.Endpoint + "/subscriptions/" + f.Subscription
	for _, link := range []string{
		elsewhere.URL + "/subscriptions/" + f.Subscription + "/resourceGroups/rg1/providers/Microsoft.ContainerInstance/containerGroups",
		strings.Replace(own, "https", "http", 1) + "/resourceGroups/rg1/providers/Microsoft.ContainerInstance/containerGroups",
		own + "/resourceGroups/rg2/providers/Microsoft.ContainerInstance/containerGroups",
		own + "/../x", f.Endpoint + "/subscriptions/00000000-0000-4000-8000-0000000000ff/resourceGroups", "//example.com/x", "nonsense", own + "%2f..",
	} {
		body, _ := json.Marshal(map[string]any{"value": []any{}, "nextLink": link})
		f.Fail(azuretest.Fault{Body: string(body), Times: 1})
		f.Forget()
		_, err := p.do("GET", groupsIn)
		if n := len(f.Requests()); host.KindOf(err) != host.Upstream || n != 1 {
			t.Errorf("page link %s: %d requests, %v", link, n, err)
		}
		if strings.HasPrefix(link, own+"/resourceGroups") {
			continue // another list of the subscription may well tell a state
		}
		f.Fail(azuretest.Fault{Status: 202, Body: "{}", Location: link, Times: 1})
		var begun outcome
		if resp := p.get("POST", web+"/restart", &begun); resp.Status != 202 || begun.ID != "" {
			t.Errorf("state at %s: %d %+v", link, resp.Status, begun)
		}
	}
	f.Fail(azuretest.Fault{Status: 307, Location: elsewhere.URL, Times: 1})
	if _, err := p.do("GET", web); host.KindOf(err) != host.Upstream {
		t.Errorf("a redirect: %v", err)
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests went elsewhere", hits.Load())
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Fail(azuretest.Fault{Body: `"` + strings.Repeat("x", abi.MaxBody) + `"`, Times: 1})
	if _, err := p.do("GET", web); host.KindOf(err) != host.Upstream || !strings.Contains(err.Error(), "narrow the request") {
		t.Errorf("a body over the limit: %v", err)
	}
	item := `{"id":"` + strings.Repeat("x", 1000) + `"}`
	f.Fail(azuretest.Fault{Body: `{"value":[` + strings.Repeat(item+",", 5000) + item + `]}`, Times: 1})
	var l listing
	if p.get("GET", groups, &l); !l.Truncated || len(l.Value) == 0 || len(l.Value) > 5000 {
		t.Errorf("a long list: %d items, truncated %v", len(l.Value), l.Truncated)
	}
	// A list whose pages have no end.
	next := f.Endpoint + "/subscriptions/" + f.Subscription + "/providers/Microsoft.ContainerInstance/containerGroups?api-version=2023-05-01&$skiptoken=again"
	f.Fail(azuretest.Fault{Body: `{"value":[],"nextLink":"` + next + `"}`})
	f.Forget()
	if p.get("GET", groups, &l); !l.Truncated || len(f.Requests()) != 200 {
		t.Errorf("pages without an end: %d requests, truncated %v", len(f.Requests()), l.Truncated)
	}
}

func TestHostileIDsNeverReachTheWire(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	other := "00000000-0000-4000-8000-0000000000ff"
	const aci = "/providers/Microsoft.ContainerInstance/containerGroups"
	for _, request := range []string{
		"GET azure://prod/resourceGroups/rg1/../rg2" + aci, "GET azure://prod/resourceGroups/rg1%2f..%2frg2" + aci,
		"GET azure://prod/resourceGroups/rg1" + aci + "/..", "GET azure://prod/resourceGroups/rg1" + aci + "/web/../../x",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web%2Frestart", "GET azure://prod/resourceGroups/rg1" + aci + "/web%00",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web;x", "GET azure://prod/resourceGroups/rg1" + aci + "/web?api-version=2099-01-01",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web?$expand=secrets", "GET azure://prod/resourceGroups/rg1" + aci + "/web#x",
		"GET azure://prod/subscriptions/" + other + "/resourceGroups", "GET azure://prod/subscriptions/" + other + "/resourceGroups/rg1" + aci,
		"GET azure://prod/subscriptions", "GET azure://prod/subscriptions/" + f.Subscription, "GET azure://prod/subscriptions/" + f.Subscription + "/../" + other + "/resourceGroups",
		"GET azure://prod/resourceGroups/rg1/providers/Microsoft.KeyVault/vaults/x/secrets", "GET azure://prod/resourceGroups/rg1/providers/Microsoft.Authorization/roleAssignments",
		"GET azure://prod/resourceGroups/rg1" + aci + "/web/providers/Microsoft.Authorization/roleAssignments",
		"GET azure://prod/resourceGroups/rg1/providers/Microsoft.KeyVault/vaults/x/providers/Microsoft.Insights/metrics?metricnames=a&timespan=2026-01-01T00:00:00Z/2026-01-02T00:00:00Z",
		"POST azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/aks-a/listClusterAdminCredential",
		"POST azure://prod/resourceGroups/rg1" + aci + "/web/containers/web/exec", "DELETE azure://prod/resourceGroups/rg1" + aci + "/web",
		"PUT azure://prod/resourceGroups/rg1" + aci + "/web", "get azure://prod/resourceGroups", "GET azure://prod/", "GET azure://prod", "GET azure:///resourceGroups",
		"GET azure://PROD/resourceGroups", "GET azure://prod@example.com/resourceGroups", "GET azure://prod:443/resourceGroups", "GET https://prod/resourceGroups",
		"GET azure://prod//resourceGroups", "GET azure://prod/resourceGroups/" + strings.Repeat("a", 91) + aci, "GET azure://prod/resourceGroups/rg1." + aci,
		"GET azure://prod/resourceGroups/.." + aci, "GET azure://prod/resourceGroups/rg%28prod%29" + aci, "GET azure://prod" + aci + "?resourceGroup=../rg2", "GET azure://prod" + aci + "?resourceGroup=rg1%2F..%2Frg2",
		"GET azure://prod" + aci + "?resourceGroup=", "GET azure://prod/resourceGroups/rg1" + aci + "?resourceGroup=rg2",
		"GET azure://prod/operations", "GET azure://prod/operations?id=x", "GET azure://prod/operations?id=x&id=y",
		"GET azure://prod/providers/Microsoft.CostManagement/query", "GET azure://prod/providers/Microsoft.CostManagement/query?timeframe=Ever",
		"GET azure://prod/providers/Microsoft.CostManagement/query?timeframe=Custom&from=2026-02-01&to=2026-01-01",
		"GET azure://prod/providers/Microsoft.CostManagement/query?timeframe=MonthToDate&groupBy=SubscriptionId",
	} {
		method, url, _ := strings.Cut(request, " ")
		if _, err := p.do(method, url); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: %v", request, err)
		}
	}
	// A sealed name that leads elsewhere, should somebody have one.
	for _, at := range []string{"@example.com/x", "/subscriptions/" + other + "/providers/x", "/../x", "//example.com/", ":1/x", "/subscriptions/" + f.Subscription + "/%2e%2e/x"} {
		forged, _ := json.Marshal(map[string]any{"i": "prod", "k": "containerinstances", "g": "rg1", "u": at})
		if _, err := p.do("GET", stateOf("azure.change"+string(forged), "0")); err == nil {
			t.Errorf("state at %s was read", at)
		}
	}
	if seen := f.Requests(); len(seen) != 0 {
		t.Errorf("these reached the wire: %+v", seen)
	}
}

func TestAnUnknownInstanceIsAbsent(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	for _, url := range []string{"azure://nowhere/resourceGroups", strings.Replace(web, "prod", "nowhere", 1)} {
		if _, err := p.do("GET", url); host.KindOf(err) != host.NotFound {
			t.Errorf("%s: %v", url, err)
		}
	}
}
