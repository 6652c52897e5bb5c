package azure_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a host.Authority that the test takes away.
type authority struct{ cause atomic.Pointer[host.Error] }

func (a *authority) Alive() bool { return a.cause.Load() == nil }
func (a *authority) Cause() error {
	if e := a.cause.Load(); e != nil {
		return e
	}
	return nil
}

// plainSealer seals nothing: it names the use and is JSON, so that tests can
// forge one.
type plainSealer struct{}

func (plainSealer) Seal(use string, v any) (string, error) {
	text, err := json.Marshal(v)
	return use + string(text), err
}
func (plainSealer) Unseal(use, text string, v any) error {
	rest, ok := strings.CutPrefix(text, use)
	if !ok {
		return errors.New("of another use")
	}
	return json.Unmarshal([]byte(rest), v)
}

// person calls the capability through a broker whose policy allows everything
// under some obligations.
type person struct {
	t           testing.TB
	authority   *authority
	obligations host.Obligations
	granted     *capability.Granted
	log         *logtest.Log
	ctx         context.Context
}

var everything = map[string][]capability.Grant{"azure": {{
	Instances: []string{"*"}, Resources: []string{"*"}, ResourceGroups: []string{"*"}, Verbs: []string{"*"},
}}}

func newPerson(t testing.TB, list ...azure.Config) *person {
	t.Helper()
	if err := config.Check("azure", func(bad *config.Problems) { azure.CheckConfigs(bad, list) }); err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, authority: &authority{}, log: &logtest.Log{}, ctx: t.Context()}
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := azure.New(list, plainSealer{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	policy := func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: p.obligations}
	}
	if p.granted, err = capability.NewBroker(policy, logger, a).Grant("azure", everything); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *person) do(method, url string) (*abi.Response, error) {
	c := &capability.Caller{Plugin: "azure", Principal: &host.Principal{User: "ann@example.com"}, Route: host.Route{Mutates: true}, Authority: p.authority}
	return p.granted.Fetch(p.ctx, c, "azure", &abi.Request{Method: method, URL: url})
}

// get decodes an answer that must be there.
func (p *person) get(method, url string, out any) *abi.Response {
	p.t.Helper()
	resp, err := p.do(method, url)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", method, url, err, p.log)
	}
	if err := json.Unmarshal(resp.Body, out); err != nil {
		p.t.Fatalf("%s %s: %v in %s", method, url, err, resp.Body)
	}
	return resp
}

type listing struct {
	Value []struct {
		ID, Name string
	}
	Errors []struct {
		ResourceGroup   string
		Status          int
		Message, Detail string
	}
	Truncated bool
}

// names are GROUP/NAME of each item.
func (l *listing) names() string {
	var out []string
	for _, v := range l.Value {
		parts := strings.Split(v.ID, "/")
		out = append(out, parts[4]+"/"+v.Name)
	}
	return strings.Join(out, " ")
}

const (
	groups   = "azure://prod/providers/Microsoft.ContainerInstance/containerGroups"
	groupsIn = "azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerInstance/containerGroups"
	web      = groupsIn + "/web"
)

func TestPagesAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var l listing
	p.get("GET", groupsIn, &l)
	if l.names() != "rg1/web rg1/worker rg1/batch" || l.Errors != nil || l.Truncated {
		t.Errorf("got %+v", l)
	}
	var pages []string
	for _, r := range f.Requests() {
		pages = append(pages, r.URI)
	}
	at := "/subscriptions/" + f.Subscription + "/resourceGroups/rg1/providers/Microsoft.ContainerInstance/containerGroups?"
	if len(pages) != 2 || pages[0] != at+"api-version=2023-05-01" || !strings.HasPrefix(pages[1], at) || !strings.Contains(pages[1], "skiptoken=page_1") {
		t.Errorf("asked for %q", pages)
	}
	var all listing
	p.get("GET", groups, &all)
	if len(all.Value) != 9 {
		t.Errorf("got %s", all.names())
	}
}

func TestEachThingOfAzureCanBeRead(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	const (
		rg    = "azure://prod/resourceGroups/rg2/providers/"
		spans = "?metricnames=CpuUsage&metricnames=MemoryUsage&aggregation=Average&timespan=2026-01-01T00:00:00Z/2026-01-01T01:00:00Z&interval=PT1M"
	)
	for url, want := range map[string]string{
		"azure://prod/resourceGroups":                                                                            `"name":"rg3"`,
		"azure://prod/subscriptions/" + f.Subscription + "/resourceGroups":                                       `"name":"rg1"`,
		rg + "Microsoft.ContainerInstance/containerGroups/web":                                                   `"state":"Running"`,
		rg + "microsoft.containerinstance/CONTAINERGROUPS/web":                                                   `"state":"Running"`,
		rg + "Microsoft.ContainerInstance/containerGroups/web/containers/web/logs?tail=2":                        `"content":"line 19 of web\nline 20 of web\n"`,
		"azure://prod/providers/Microsoft.ContainerService/managedClusters":                                      `"name":"aks-b"`,
		rg + "Microsoft.ContainerService/managedClusters":                                                        `"name":"aks-a"`,
		rg + "Microsoft.ContainerService/managedClusters/aks-a":                                                  `"kubernetesVersion":"1.33"`,
		rg + "Microsoft.ContainerService/managedClusters/aks-a/agentPools":                                       `"name":"spot"`,
		"azure://prod/providers/Microsoft.Compute/virtualMachineScaleSets":                                       `"name":"pool"`,
		rg + "Microsoft.Compute/virtualMachineScaleSets":                                                         `"name":"pool"`,
		rg + "Microsoft.Compute/virtualMachineScaleSets/pool":                                                    `"capacity":3`,
		rg + "Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines":                                    `"instanceId":"2"`,
		"azure://prod/providers/Microsoft.Compute/virtualMachines":                                               `"name":"vm-3"`,
		rg + "Microsoft.Compute/virtualMachines":                                                                 `"name":"vm-3"`,
		rg + "Microsoft.Compute/virtualMachines/vm-1":                                                            `"PowerState/running"`,
		rg + "Microsoft.ContainerInstance/containerGroups/web/providers/Microsoft.Insights/metricDefinitions":    `"timeGrain":"PT1M"`,
		rg + "Microsoft.ContainerInstance/containerGroups/web/providers/Microsoft.Insights/metrics" + spans:      `"MemoryUsage"`,
		rg + "Microsoft.Compute/virtualMachines/vm-1/providers/Microsoft.Insights/metrics" + spans:               `"average":4`,
		"azure://prod/providers/Microsoft.CostManagement/query?timeframe=MonthToDate":                            `[120,"EUR"]`,
		rg + "Microsoft.CostManagement/query?timeframe=Custom&from=2026-01-01&to=2026-01-31&groupBy=ServiceName": `[20,"Virtual Machines","EUR"]`,
	} {
		resp, err := p.do("GET", url)
		if err != nil || !strings.Contains(string(resp.Body), want) {
			t.Errorf("%s: %v, want %s in\n%s", url, err, want, bodyOf(resp))
		}
	}
}

func bodyOf(r *abi.Response) string {
	if r == nil {
		return ""
	}
	return string(r.Body)
}

func TestCostsAreNarrowedToWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	const query = "azure://prod/providers/Microsoft.CostManagement/query?timeframe=MonthToDate&groupBy=ResourceGroupName&groupBy=ServiceName"
	for _, c := range []struct {
		groups []string
		want   string
	}{
		{nil, "rg1 rg1 rg2 rg2 rg3 rg3"},
		{[]string{"RG1", "rg3", "elsewhere"}, "rg1 rg1 rg3 rg3"},
		{[]string{"*2"}, "rg2 rg2"},
		{[]string{"*9"}, ""},
		{[]string{}, ""},
	} {
		p.obligations.ResourceGroups = c.groups
		var table struct{ Rows [][]any }
		p.get("GET", query, &table)
		var got []string
		for _, row := range table.Rows {
			got = append(got, row[1].(string))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: got %q, want %q", c.groups, s, c.want)
		}
	}
	p.obligations.ResourceGroups = []string{"rg1"}
	if _, err := p.do("GET", strings.Replace(query, "prod/", "prod/resourceGroups/rg2/", 1)); host.KindOf(err) != host.Forbidden {
		t.Errorf("the costs of a group that may not be seen: %v", err)
	}
}

func TestAListShowsTheGroupsThatMayBeSeen(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	for _, c := range []struct {
		groups []string
		query  string
		want   string
	}{
		{nil, "?resourceGroup=rg1&resourceGroup=RG3&resourceGroup=rg1", "rg1/web rg1/worker rg1/batch rg3/web rg3/worker rg3/batch"},
		{[]string{"rg1", "RG2"}, "", "rg1/web rg1/worker rg1/batch rg2/web rg2/worker rg2/batch"},
		{[]string{"rg1", "rg9"}, "", "rg1/web rg1/worker rg1/batch"}, // rg9 does not exist
		{[]string{"*2", "nothing*"}, "", "rg2/web rg2/worker rg2/batch"},
		{[]string{"rg1", "rg2"}, "?resourceGroup=rg2&resourceGroup=rg3", "rg2/web rg2/worker rg2/batch"},
		{[]string{"rg1"}, "?resourceGroup=rg3", ""},
		{[]string{}, "", ""},
	} {
		p.obligations.ResourceGroups = c.groups
		var l listing
		p.get("GET", groups+c.query, &l)
		got := strings.Fields(l.names())
		want := strings.Fields(c.want)
		if !slices.Equal(got, want) || l.Errors != nil {
			t.Errorf("%v %s: got %v and %v, want %v", c.groups, c.query, got, l.Errors, want)
		}
		var g listing
		p.get("GET", "azure://prod/resourceGroups", &g)
		if seen := len(g.Value); c.groups != nil && seen > len(c.groups) || c.groups == nil && seen != 3 {
			t.Errorf("%v: %d groups are shown", c.groups, seen)
		}
	}
}
