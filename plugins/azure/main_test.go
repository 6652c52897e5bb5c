package main

import (
	_ "embed"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

//go:embed manifest.json
var manifest string

// arm is an azure capability that answers everything with one body and
// remembers what it was asked. host/server tests the plugin on a whole Azure.
type arm struct {
	asked []*abi.Request
	body  string
	err   error
}

func (a *arm) answer(r *abi.Request) (*abi.Response, error) {
	a.asked = append(a.asked, r)
	if a.err != nil {
		return nil, a.err
	}
	return &abi.Response{Status: 200, Body: []byte(a.body)}, nil
}

func do(t *testing.T, a *arm, method, path string) *sdktest.Response {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("azure", a.answer)
	return h.Do(sdktest.Request{Method: method, Path: path})
}

const rest = "/resourceGroups/rg1/providers/Microsoft."

func TestRoutesAskForWhatTheQueryNames(t *testing.T) {
	aci := "containerinstances/containergroup"
	one := "?resourceGroup=rg1&containerGroup=web"
	for request, want := range map[string]string{
		"GET /prod/resourcegroups":                                                                                                                    "GET azure://prod/resourceGroups",
		"GET /prod/containerinstances/containergroups":                                                                                                "GET azure://prod/providers/Microsoft.ContainerInstance/containerGroups",
		"GET /prod/containerinstances/containergroups?resourceGroup=a&resourceGroup=b":                                                                "GET azure://prod/providers/Microsoft.ContainerInstance/containerGroups?resourceGroup=a&resourceGroup=b",
		"GET /prod/" + aci + "/details" + one:                                                                                                         "GET azure://prod" + rest + "ContainerInstance/containerGroups/web",
		"GET /prod/" + aci + "/logs" + one + "&container=c":                                                                                           "GET azure://prod" + rest + "ContainerInstance/containerGroups/web/containers/c/logs?tail=1000",
		"GET /prod/" + aci + "/logs" + one + "&container=c&tail=5&timestamps=true":                                                                    "GET azure://prod" + rest + "ContainerInstance/containerGroups/web/containers/c/logs?tail=5&timestamps=true",
		"PUT /prod/" + aci + "/restart" + one:                                                                                                         "POST azure://prod" + rest + "ContainerInstance/containerGroups/web/restart",
		"PUT /prod/" + aci + "/start" + one:                                                                                                           "POST azure://prod" + rest + "ContainerInstance/containerGroups/web/start",
		"PUT /prod/" + aci + "/stop" + one:                                                                                                            "POST azure://prod" + rest + "ContainerInstance/containerGroups/web/stop",
		"GET /prod/kubernetesservices/managedclusters":                                                                                                "GET azure://prod/providers/Microsoft.ContainerService/managedClusters",
		"GET /prod/kubernetesservices/managedcluster/details?resourceGroup=rg1&managedCluster=k":                                                      "GET azure://prod" + rest + "ContainerService/managedClusters/k",
		"GET /prod/kubernetesservices/managedcluster/nodepools?resourceGroup=rg1&managedCluster=k":                                                    "GET azure://prod" + rest + "ContainerService/managedClusters/k/agentPools",
		"PUT /prod/kubernetesservices/managedcluster/stop?resourceGroup=rg1&managedCluster=k":                                                         "POST azure://prod" + rest + "ContainerService/managedClusters/k/stop",
		"PUT /prod/kubernetesservices/managedcluster/start?resourceGroup=rg1&managedCluster=k":                                                        "POST azure://prod" + rest + "ContainerService/managedClusters/k/start",
		"GET /prod/virtualmachinescalesets/virtualmachinescalesets":                                                                                   "GET azure://prod/providers/Microsoft.Compute/virtualMachineScaleSets",
		"GET /prod/virtualmachinescalesets/virtualmachinescaleset/details?resourceGroup=rg1&virtualMachineScaleSet=s":                                 "GET azure://prod" + rest + "Compute/virtualMachineScaleSets/s",
		"GET /prod/virtualmachinescalesets/virtualmachinescaleset/virtualmachines?resourceGroup=rg1&virtualMachineScaleSet=s":                         "GET azure://prod" + rest + "Compute/virtualMachineScaleSets/s/virtualMachines",
		"PUT /prod/virtualmachinescalesets/virtualmachinescaleset/virtualmachine/restart?resourceGroup=rg1&virtualMachineScaleSet=s&virtualMachine=3": "POST azure://prod" + rest + "Compute/virtualMachineScaleSets/s/virtualMachines/3/restart",
		"GET /prod/virtualmachines/virtualmachines":                                                                                                   "GET azure://prod/providers/Microsoft.Compute/virtualMachines",
		"GET /prod/virtualmachines/virtualmachine/details?resourceGroup=rg1&virtualMachine=vm":                                                        "GET azure://prod" + rest + "Compute/virtualMachines/vm",
		"GET /prod/costmanagement/actualcost":                                                                                                         "GET azure://prod/providers/Microsoft.CostManagement/query?groupBy=ResourceGroupName&groupBy=ServiceName&timeframe=MonthToDate",
		"GET /prod/costmanagement/actualcost?scope=All&timeframe=TheLastMonth&groupBy=service&granularity=Daily":                                      "GET azure://prod/providers/Microsoft.CostManagement/query?granularity=Daily&groupBy=ServiceName&timeframe=TheLastMonth",
		"GET /prod/costmanagement/actualcost?scope=rg1&timeframe=Custom&from=2026-01-01&to=2026-01-31&groupBy=location":                               "GET azure://prod" + rest + "CostManagement/query?from=2026-01-01&groupBy=ResourceLocation&timeframe=Custom&to=2026-01-31",
		"GET /prod/monitor/metricdefinitions?resourceGroup=rg1&provider=microsoft.compute/virtualmachines/vm":                                         "GET azure://prod" + rest + "Compute/virtualMachines/vm/providers/Microsoft.Insights/metricDefinitions",
		"GET /prod/monitor/metrics?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/vm&metricNames=A,B+c&timeStart=0&timeEnd=21600":       "GET azure://prod" + rest + "Compute/virtualMachines/vm/providers/Microsoft.Insights/metrics?aggregation=Average&interval=PT1M&metricnames=A&metricnames=B c&timespan=1970-01-01T00:00:00Z/1970-01-01T06:00:00Z",
		"GET /prod/monitor/metrics?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/vm&metricNames=A&aggregationType=Total&timeStart=2026-01-01T00:00:00Z&timeEnd=2027-01-01T00:00:00%2B01:00": "GET azure://prod" + rest + "Compute/virtualMachines/vm/providers/Microsoft.Insights/metrics?aggregation=Total&interval=P1D&metricnames=A&timespan=2026-01-01T00:00:00Z/2026-12-31T23:00:00Z",
		"GET /prod/changes?id=abc&wait=20": "GET azure://prod/operations?id=abc&wait=20",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := &arm{body: `{"status":"InProgress","id":"x"}`}
		resp := do(t, a, method, path)
		if resp.Err != nil || len(a.asked) != 1 {
			t.Errorf("%s: %d %s after %d calls", request, resp.Status, resp.Text(), len(a.asked))
			continue
		}
		if method == "PUT" && resp.Status != 202 || method == "GET" && resp.Status != 200 {
			t.Errorf("%s: status %d", request, resp.Status)
		}
		got, err := url.QueryUnescape(a.asked[0].Method + " " + a.asked[0].URL)
		if err != nil || got != want {
			t.Errorf("%s\n got %s\nwant %s", request, got, want)
		}
	}
}

func TestBadInputIsRefusedAndAsksNobody(t *testing.T) {
	const (
		group   = "?resourceGroup=rg1&containerGroup=web"
		metrics = "GET /prod/monitor/metrics?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/vm"
	)
	for request, want := range map[string]string{
		"GET /prod/containerinstances/containergroup/details":                                               "resourceGroup is required",
		"GET /prod/containerinstances/containergroup/details?resourceGroup=rg1":                             "name is required",
		"GET /prod/containerinstances/containergroup/details?resourceGroup=rg1&containerGroup=..%2Fx":       `name "../x" is not a name`,
		"GET /prod/containerinstances/containergroup/details?resourceGroup=rg1%2F..%2Frg2&containerGroup=x": `resourceGroup "rg1/../rg2" is not a name`,
		"GET /prod/containerinstances/containergroup/logs" + group:                                          "container is required",
		"GET /prod/containerinstances/containergroup/logs" + group + "&container=a%2Fb":                     `container "a/b" is not a name`,
		"GET /prod/containerinstances/containergroup/logs" + group + "&container=a&tail=0":                  "tail must be a number from 1 to 10000",
		"GET /prod/containerinstances/containergroup/logs" + group + "&container=a&timestamps=maybe":        "timestamps must be true or false",
		"PUT /prod/containerinstances/containergroup/restart?resourceGroup=rg1&containerGroup=web%3Fx%3D":   `name "web?x=" is not a name`,
		"GET /pr@d/resourcegroups":                                                                                       `instance "pr@d" is not a name`,
		"GET /prod/costmanagement/actualcost?timeframe=0":                                                                "timeframe must be from 1 to 366 days",
		"GET /prod/costmanagement/actualcost?groupBy=nothing":                                                            "groupBy must be one of location, meterCategory, resourceGroup, resourceType, service",
		"GET /prod/costmanagement/actualcost?groupBy=service&groupBy=location&groupBy=resourceType":                      "costs are grouped by at most two things",
		"GET /prod/costmanagement/actualcost?granularity=Hourly":                                                         "granularity is neither None nor Daily",
		"GET /prod/costmanagement/actualcost?scope=a%2Fb":                                                                `resourceGroup "a/b" is not a name`,
		"GET /prod/monitor/metricdefinitions?resourceGroup=rg1":                                                          "provider is not NAMESPACE/TYPE/NAME",
		"GET /prod/monitor/metricdefinitions?resourceGroup=rg1&provider=Microsoft.KeyVault/vaults/v":                     `type "Microsoft.KeyVault/vaults" is not supported by the host`,
		"GET /prod/monitor/metricdefinitions?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/v/providers/x": "provider is not NAMESPACE/TYPE/NAME",
		metrics:                    "metricNames is required",
		metrics + "&metricNames=A": "timeStart is required",
		metrics + "&metricNames=A&timeStart=5&timeEnd=soon":                      "timeEnd is neither seconds since 1970 nor a time of RFC 3339",
		metrics + "&metricNames=A&timeStart=5&timeEnd=5":                         "timeStart is not before timeEnd",
		metrics + "&metricNames=A&timeStart=5&timeEnd=6&aggregationType=average": "aggregationType must be one of Average, Count, Maximum, Minimum, Total",
		"GET /prod/changes":              "id is required",
		"GET /prod/changes?id=x&wait=21": "wait must be a number from 0 to 20",
		"PUT /prod/virtualmachinescalesets/virtualmachinescaleset/virtualmachine/restart?resourceGroup=rg1&virtualMachineScaleSet=s": "virtualMachine is required",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := &arm{}
		resp := do(t, a, method, path)
		if resp.Status != 400 || resp.Err == nil || resp.Err.Message != want || len(a.asked) != 0 {
			t.Errorf("%s: got %d %s after %d calls, want %q", request, resp.Status, resp.Text(), len(a.asked), want)
		}
	}
}

func TestAnswersAreShapedForAPage(t *testing.T) {
	const id = `"id":"/subscriptions/s/resourceGroups/RG1/providers/Microsoft.X/y/web","name":"web","location":"westeurope"`
	shown := `"id":"/subscriptions/s/resourceGroups/RG1/providers/Microsoft.X/y/web","name":"web","resourceGroup":"RG1","location":"westeurope"`
	for _, c := range []struct{ path, body, want string }{
		{"/prod/containerinstances/containergroups",
			`{"value":[{` + id + `,"properties":{"provisioningState":"Succeeded","osType":"Linux","containers":[{"name":"c","properties":{"image":"i:1",
			  "resources":{"requests":{"cpu":0.5,"memoryInGB":1.5}},"environmentVariables":[{"name":"PASSWORD","value":"hunter2"}]}}]}}],
			  "errors":[{"resourceGroup":"rg2","status":403,"message":"no","detail":"AuthorizationFailed; correlation id 1"}],"truncated":true}`,
			`{"containerGroups":[{` + shown + `,"provisioningState":"Succeeded","osType":"Linux","containers":[{"name":"c","image":"i:1","cpu":0.5,"memoryGB":1.5,"environment":["PASSWORD"],"restartCount":0}]}],` +
				`"errors":[{"resourceGroup":"rg2","status":403,"message":"no","detail":"AuthorizationFailed; correlation id 1"}],"truncated":true}`},
		{"/prod/containerinstances/containergroups", `{"value":[]}`, `{"containerGroups":[]}`},
		{"/prod/resourcegroups", `{"value":[{` + id + `,"properties":{"provisioningState":"Succeeded"}}]}`,
			`{"resourceGroups":[{"name":"web","id":"/subscriptions/s/resourceGroups/RG1/providers/Microsoft.X/y/web","location":"westeurope","state":"Succeeded"}]}`},
		{"/prod/virtualmachines/virtualmachine/details?resourceGroup=rg1&virtualMachine=web",
			`{` + id + `,"properties":{"provisioningState":"Succeeded","hardwareProfile":{"vmSize":"D4"},"instanceView":{"osName":"ubuntu","osVersion":"24.04","statuses":[{"code":"PowerState/running"}]}}}`,
			`{` + shown + `,"powerState":"running","provisioningState":"Succeeded","size":"D4","os":"ubuntu 24.04","statuses":[{"code":"PowerState/running","displayStatus":"","time":""}]}`},
		{"/prod/costmanagement/actualcost?timeframe=MonthToDate&granularity=Daily",
			`{"columns":[{"name":"Cost"},{"name":"UsageDate"},{"name":"ResourceGroupName"},{"name":"ServiceName"},{"name":"Currency"},{"name":"New"}],
			  "rows":[[1.5,20260131,"rg1","VM","EUR",null],[2,20260131,"rg2","VM","EUR",0],[1,20260201,"rg1","VM","USD",""]]}`,
			`{"scope":"All","timeframe":"MonthToDate","totals":[{"cost":3.5,"currency":"EUR"},{"cost":1,"currency":"USD"}],"items":[` +
				`{"cost":1.5,"currency":"EUR","date":"2026-01-31","resourceGroup":"rg1","service":"VM"},{"cost":2,"currency":"EUR","date":"2026-01-31","resourceGroup":"rg2","service":"VM"},` +
				`{"cost":1,"currency":"USD","date":"2026-02-01","resourceGroup":"rg1","service":"VM"}]}`},
		{"/prod/monitor/metrics?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/vm&metricNames=CPU&aggregationType=Maximum&timeStart=0&timeEnd=60",
			`{"interval":"PT1M","value":[{"name":{"value":"CPU","localizedValue":"Cpu"},"unit":"Percent","errorCode":"Success","timeseries":[{"metadatavalues":[{"name":{"value":"core"},"value":"1"}],
			  "data":[{"timeStamp":"1970-01-01T00:00:00Z","maximum":7},{"timeStamp":"1970-01-01T00:01:00Z"}]}]}]}`,
			`{"from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z","interval":"PT1M","aggregation":"Maximum","metrics":[{"name":"CPU","displayName":"Cpu","unit":"Percent","series":[` +
				`{"labels":{"core":"1"},"points":[{"time":"1970-01-01T00:00:00Z","value":7},{"time":"1970-01-01T00:01:00Z","value":null}]}]}]}`},
		{"/prod/changes?id=x", `{"status":"Failed","error":{"code":"E","message":"m"},"target":{"type":"containerinstances","resourceGroup":"rg1","name":"web"}}`,
			`{"status":"Failed","target":{"type":"containerinstances","resourceGroup":"rg1","name":"web"},"error":{"code":"E","message":"m"}}`},
	} {
		resp := do(t, &arm{body: c.body}, "GET", c.path)
		if resp.Status != 200 || resp.Text() != c.want {
			t.Errorf("%s: %d\n got %s\nwant %s", c.path, resp.Status, resp.Text(), c.want)
		}
		if strings.Contains(resp.Text(), "hunter2") {
			t.Errorf("%s shows a value of the environment", c.path)
		}
	}
}

func TestATimeframeInDaysEndsToday(t *testing.T) {
	a := &arm{body: "{}"}
	resp := do(t, a, "GET", "/prod/costmanagement/actualcost?timeframe=30")
	now := time.Now().UTC()
	want := "from=" + now.AddDate(0, 0, -30).Format(day) // unless midnight passed
	if resp.Status != 200 || !strings.Contains(a.asked[0].URL, want) && time.Now().UTC().Day() == now.Day() {
		t.Errorf("got %s, want %s", a.asked[0].URL, want)
	}
}

func TestAChangeThatIsOverIs200(t *testing.T) {
	if resp := do(t, &arm{body: `{"status":"Succeeded"}`}, "PUT", "/prod/containerinstances/containergroup/stop?resourceGroup=rg1&containerGroup=web"); resp.Status != 200 {
		t.Errorf("got %d", resp.Status)
	}
}

func TestRefusalsKeepTheirStatusAndDetail(t *testing.T) {
	refusal := &abi.Error{Code: abi.CodeConflict, Origin: abi.OriginUpstream, Status: 409, Message: "busy", Detail: "Busy; correlation id 1"}
	resp := do(t, &arm{err: refusal}, "GET", "/prod/resourcegroups")
	if resp.Status != 409 || resp.Err.Message != "busy" || resp.Err.Detail != refusal.Detail {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}
