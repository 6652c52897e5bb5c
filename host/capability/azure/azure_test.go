package azure_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
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
	if err := azure.CheckConfigs(list); err != nil {
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

type outcome struct {
	Status, ID string
	Error      struct{ Code, Message string }
	Target     struct{ Type, ResourceGroup, Name string }
}

func stateOf(id, wait string) string {
	return "azure://prod/operations?id=" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "&", "%26", "?", "%3F", "/", "%2F", "=", "%3D", "+", "%2B", "%", "%25").Replace(id) + "&wait=" + wait
}

func TestALongRestartIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Hold()
	var begun, now outcome
	if resp := p.get("POST", web+"/restart", &begun); resp.Status != 202 || begun.Status != "InProgress" || begun.ID == "" || begun.Target.Name != "web" {
		t.Fatalf("got %d %+v", resp.Status, begun)
	}
	if p.get("GET", stateOf(begun.ID, "0"), &now); now.Status != "InProgress" {
		t.Errorf("held: %+v", now)
	}
	f.Release()
	for range 3 {
		if now.Status != "Succeeded" {
			p.get("GET", stateOf(begun.ID, "20"), &now)
		}
	}
	if now.Status != "Succeeded" || now.Target.ResourceGroup != "rg1" {
		t.Errorf("released: %+v", now)
	}
	var group struct {
		Properties struct {
			Containers []struct {
				Properties struct{ InstanceView struct{ RestartCount int } }
			}
		}
	}
	p.get("GET", web, &group)
	if n := group.Properties.Containers[0].Properties.InstanceView.RestartCount; n != 1 {
		t.Errorf("it was restarted %d times", n)
	}
	// A change that Azure makes at once has no state to ask for.
	if resp := p.get("POST", web+"/stop", &begun); resp.Status != 200 || begun.Status != "Succeeded" {
		t.Errorf("stop: %d %+v", resp.Status, begun)
	}
	for _, path := range []string{
		web + "/start", "azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/aks-a/stop",
		"azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/aks-a/start",
		"azure://prod/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/1/restart",
	} {
		if resp := p.get("POST", path, &begun); resp.Status != 202 || begun.ID == "" {
			t.Errorf("%s: %d %+v", path, resp.Status, begun)
		}
	}
}

func TestLogoutEndsALongPollAndTheStateStaysReadable(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Hold()
	var begun outcome
	p.get("POST", web+"/restart", &begun)
	ctx, end := context.WithCancelCause(t.Context())
	p.ctx = ctx
	ended := make(chan error, 1)
	go func() {
		_, err := p.do("GET", stateOf(begun.ID, "20"))
		ended <- err
	}()
	polled := func() bool { return len(f.Requests()) > 1 }
	for deadline := time.Now().Add(time.Minute); !polled(); {
		if time.Now().After(deadline) {
			t.Fatal("nobody asks")
		}
	}
	p.authority.cause.Store(host.ErrLoggedOut) // as a session does: authority first
	end(host.ErrLoggedOut)
	select {
	case err := <-ended:
		if !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("the poll ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the poll goes on")
	}
	f.Forget()
	if _, err := p.do("GET", web); !errors.Is(err, host.ErrLoggedOut) || len(f.Requests()) != 0 {
		t.Errorf("after logout: %v, and Azure was asked %v", err, f.Requests())
	}
	f.Release()
	again := newPerson(t, f.Config("prod")) // another login, or another replica
	var now outcome
	again.get("GET", stateOf(begun.ID, "20"), &now)
	if now.Status != "Succeeded" && now.Status != "InProgress" {
		t.Errorf("got %+v", now)
	}
}

func TestAzuresRefusalsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	for _, c := range []struct {
		fault  azuretest.Fault
		status int
		kind   host.Kind
	}{
		{azuretest.Fault{Status: 401, Code: "InvalidAuthenticationToken"}, 502, host.Upstream},
		{azuretest.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization."}, 403, host.Forbidden},
		{azuretest.Fault{Status: 404, Code: "ResourceNotFound", Message: "Not there."}, 404, host.NotFound},
		{azuretest.Fault{Status: 409, Code: "ContainerGroupTransitioning", Message: "Busy."}, 409, host.Conflict},
		{azuretest.Fault{Status: 400, Code: "BadRequest"}, 400, host.Invalid},
		{azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "3600"}, 429, host.Limited},
		{azuretest.Fault{Status: 500, Code: "InternalServerError"}, 502, host.Upstream},
		{azuretest.Fault{Status: 503, Code: "ServerBusy", RetryAfter: "3600"}, 502, host.Upstream},
		{azuretest.Fault{Status: 307, Location: "https://example.com/"}, 502, host.Upstream},
		{azuretest.Fault{Status: 418, Body: "<html>"}, 418, host.Invalid},
	} {
		f.Fail(c.fault)
		f.Forget()
		_, err := p.do("GET", web)
		f.Heal()
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.HTTPStatus() != c.status || e.Kind != c.kind {
			t.Errorf("%+v: got %v", c.fault, err)
			continue
		}
		seen := f.Requests()
		if last := seen[len(seen)-1]; !strings.Contains(e.Detail, last.Correlation) || !strings.Contains(e.Detail, c.fault.Code) {
			t.Errorf("%+v: detail %q, want code and %s", c.fault, e.Detail, last.Correlation)
		}
		if c.fault.Message != "" && e.Message != c.fault.Message {
			t.Errorf("%+v: message %q", c.fault, e.Message)
		}
		if want := map[string]time.Duration{"3600": time.Hour}[c.fault.RetryAfter]; e.RetryAfter != want {
			t.Errorf("%+v: says to wait %v, want %v", c.fault, e.RetryAfter, want)
		}
	}
}

// A group that asks to wait says so beside the others, and of a change's state the
// plugin and the person learn what Azure said.
func TestHowLongToWaitIsHandedOn(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	p.obligations.ResourceGroups = []string{"rg1", "rg2"}
	f.Fail(azuretest.Fault{Path: "rg2", Status: 429, Code: "TooManyRequests", RetryAfter: "37"})
	var l struct {
		Errors []struct{ Status, RetryAfter int }
	}
	p.get("GET", groups, &l)
	if len(l.Errors) != 1 || l.Errors[0].Status != 429 || l.Errors[0].RetryAfter != 37 {
		t.Errorf("a group of several: %+v", l)
	}
	caller := &capability.Caller{Plugin: "azure", Principal: &host.Principal{User: "ann@example.com"}, Authority: p.authority}
	f.Heal()
	f.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "37"})
	for _, url := range []string{web, groupsIn, groups} {
		if _, err := p.granted.Fetch(p.ctx, caller, "azure", &abi.Request{Method: "GET", URL: url}); err == nil || caller.RetryAfter(429) != 37*time.Second {
			t.Errorf("%s: %v, wait %v", url, err, caller.RetryAfter(429))
		}
	}
	if got := caller.RetryAfter(503); got != 0 {
		t.Errorf("another status: %v", got)
	}
}

func TestThrottlingIsWaitedForAndAChangeIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "1", Times: 2})
	var l listing
	p.get("GET", groupsIn, &l)
	if n := len(f.Requests()); n != 4 || len(l.Value) != 3 {
		t.Errorf("%d requests gave %s", n, l.names())
	}
	for _, c := range []struct {
		fault azuretest.Fault
		sent  int
		fails bool
	}{
		{azuretest.Fault{Status: 429, RetryAfter: "1", Times: 1}, 2, false},
		{azuretest.Fault{Status: 500, Times: 1}, 1, true},
		{azuretest.Fault{Drop: true, Times: 1}, 1, true},
	} {
		f.Forget()
		f.Fail(c.fault)
		_, err := p.do("POST", web+"/restart")
		if n := len(f.Requests()); n != c.sent || (err != nil) != c.fails {
			t.Errorf("%+v: sent %d times, %v", c.fault, n, err)
		}
		f.Heal()
	}
}

func TestASubscriptionThatIsSlowOrDownGivesWhatThereIs(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	p.obligations.ResourceGroups = []string{"rg1", "rg2", "rg3"}
	f.Fail(azuretest.Fault{Path: "rg2", Status: 403, Code: "AuthorizationFailed", Message: "No role here."})
	f.Fail(azuretest.Fault{Path: "rg3", DelayMS: 60_000})
	var l listing
	p.get("GET", groups, &l)
	if l.names() != "rg1/web rg1/worker rg1/batch" || len(l.Errors) != 2 {
		t.Fatalf("got %+v", l)
	}
	for _, e := range l.Errors {
		want := map[string]int{"rg2": 403, "rg3": 504}[e.ResourceGroup]
		if e.Status != want || !strings.Contains(e.Detail, "correlation id") {
			t.Errorf("got %+v", e)
		}
	}
	f.Heal()
	f.Fail(azuretest.Fault{Path: "skiptoken", Status: 400, Code: "BadRequest"})
	if p.get("GET", groupsIn, &l); len(l.Value) != 2 || len(l.Errors) != 1 {
		t.Errorf("a page that fails: %+v", l)
	}
	f.Heal()
	f.Stop()
	if _, err := p.do("GET", groups); host.KindOf(err) != host.Unavailable {
		t.Errorf("down: %v", err)
	}
}

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

func TestATokenIsHeldAndRenewed(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var l listing
	for range 3 {
		p.get("GET", groupsIn, &l)
	}
	if err := os.WriteFile(f.SecretFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.get("GET", groupsIn, &l) // the token is still good
	fresh := newPerson(t, f.Config("prod"))
	_, err := fresh.do("GET", web)
	e, ok := errors.AsType[*host.Error](err)
	if !ok || e.Kind != host.Upstream || e.Message != "the host cannot sign in to Azure" {
		t.Fatalf("a wrong secret: %v", err)
	}
	if !strings.Contains(fresh.log.String(), "level=WARN") || !strings.Contains(fresh.log.String(), "AADSTS7000215") {
		t.Errorf("the log does not say why:\n%s", fresh.log)
	}
	if x := capability.ErrorFrame(err); strings.Contains(x.Message+x.Detail, "AADSTS") || x.Status != 502 {
		t.Errorf("the guest reads %+v", x)
	}
	// A token that Azure takes no more is replaced, if there is another to be had.
	f.Expire()
	if _, err := p.do("GET", web); host.KindOf(err) != host.Upstream {
		t.Errorf("a revoked token and a wrong secret: %v", err)
	}
	// A secret that was rotated counts without a restart.
	if err := os.WriteFile(f.SecretFile, []byte(azuretest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh.get("GET", groupsIn, &l)
	p.get("GET", groupsIn, &l)
	f.Expire()
	p.get("GET", groupsIn, &l)
	var begun outcome
	f.Expire()
	if p.get("POST", web+"/restart", &begun); begun.Status != "InProgress" {
		t.Errorf("a change with a revoked token: %+v", begun)
	}
}

func TestAGrantNamesInstancesThatThereAre(t *testing.T) {
	t.Parallel()
	a, err := azure.New([]azure.Config{{Name: "prod", Subscription: subscription, Credential: "cli"}}, plainSealer{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	deny := func(context.Context, *host.Question) host.Decision { return host.Decision{} }
	any := []string{"*"}
	for grant, want := range map[string]string{
		"prod": "", "p*": "", "prd": `grants.azure[0].instances[0]: "prd" matches none of prod`,
	} {
		_, err := capability.NewBroker(deny, slog.New(slog.DiscardHandler), a).Grant("azure", map[string][]capability.Grant{
			"azure": {{Instances: []string{grant}, Resources: any, ResourceGroups: any, Verbs: any}},
		})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", grant, err)
		}
	}
}

func TestManyWaitForOneToken(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.do("GET", web); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSecretsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var l listing
	p.get("GET", groupsIn, &l)
	f.Fail(azuretest.Fault{Status: 500, Times: 1})
	p.get("GET", groupsIn, &l)
	f.Expire()
	_, _ = p.do("GET", web)
	for _, secret := range []string{azuretest.Secret, "fake-token-", "client_secret", "Bearer"} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, p.log)
		}
	}
	if !strings.Contains(p.log.String(), "correlation=") {
		t.Errorf("the log does not name requests:\n%s", p.log)
	}
}
