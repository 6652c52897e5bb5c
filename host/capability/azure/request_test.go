package azure

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

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

// parse returns the request that a provider is given.
func (a *Azure) parse(r *abi.Request) (*request, error) {
	p, err := a.kind.Classify(r)
	if err != nil {
		return nil, err
	}
	return p.Payload.(*request), nil
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
		got, err := a.kind.Classify(&abi.Request{Method: method, URL: target})
		if err != nil || got.Call.String() != want {
			t.Errorf("%s: got %q, %v", request, got.Call.String(), err)
		}
	}
	if _, err := a.kind.Classify(&abi.Request{Method: "GET", URL: "azure://prod/resourceGroups", Body: []byte("{}")}); host.KindOf(err) != host.Invalid {
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

func session1(t testing.TB, endpoint string) *session {
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return &session{instance: &instance{config: Config{Subscription: "00000000-0000-4000-8000-00000000000a"}, endpoint: u}}
}

// Azure links pages and states by addresses, to which the token is sent.
func TestAnAddressOfAzuresIsTakenInAnySpellingAndNoOther(t *testing.T) {
	const sub = "/subscriptions/00000000-0000-4000-8000-00000000000A/"
	s, onPort := session1(t, "https://management.azure.com"), session1(t, "https://[::1]:8443")
	for raw, want := range map[string]string{
		"https://management.azure.com" + sub + "x?a=1":                                            "https://management.azure.com" + sub + "x?a=1",
		"https://Management.Azure.COM:443" + sub + "x?$skiptoken=a%2Fb":                           "https://management.azure.com" + sub + "x?$skiptoken=a%2Fb",
		"HTTPS://management.azure.com:443/Subscriptions/00000000-0000-4000-8000-00000000000a/x#f": "https://management.azure.com/Subscriptions/00000000-0000-4000-8000-00000000000a/x",
		"https://management.azure.com" + sub + "resourceGroups/rg-(prod)/x":                       "https://management.azure.com" + sub + "resourceGroups/rg-%28prod%29/x",
		"https://management.azure.com" + sub + "resourceGroups/gruppe-ø/x":                        "https://management.azure.com" + sub + "resourceGroups/gruppe-%C3%B8/x",
		"https://management.azure.com" + sub + "resourceGroups/gruppe-%c3%b8/x":                   "https://management.azure.com" + sub + "resourceGroups/gruppe-%C3%B8/x",
		"https://management.azure.com" + sub + "resourceGroups/.rg/x":                             "https://management.azure.com" + sub + "resourceGroups/.rg/x",
	} {
		if got, err := s.own(raw); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", raw, got, err, want)
		}
	}
	if got, err := onPort.own("https://[::1]:8443" + sub + "x"); err != nil || got.Host != "[::1]:8443" {
		t.Errorf("another port: %v, %v", got, err)
	}
	for _, raw := range []string{
		"http://management.azure.com" + sub + "x", "http://management.azure.com:443" + sub + "x", "https://management.azure.com:80" + sub + "x",
		"https://management.azure.com:8443" + sub + "x", "https://management.azure.com:0443" + sub + "x", "https://management.azure.com.example.com" + sub + "x",
		"https://u@management.azure.com" + sub + "x", "https://management.azure.com@example.com" + sub + "x", "https:" + sub + "x", "//management.azure.com" + sub + "x", sub + "x",
		"https://management.azure.com/subscriptions/00000000-0000-4000-8000-00000000000b/x", "https://management.azure.com/x" + sub + "x",
		"https://management.azure.com" + sub + "../b/x", "https://management.azure.com" + sub + "a/./x", "https://management.azure.com" + sub + "a//x",
		"https://management.azure.com" + sub + "%2e%2e/b/x", "https://management.azure.com" + sub + "a%2f..%2f..%2fx", "https://management.azure.com" + sub + "%252e%252e/x",
		"https://management.azure.com" + sub + "a%5c..%5cx", "https://management.azure.com" + sub + "a%00", "https://management.azure.com" + sub + "%ff", "",
	} {
		if got, err := s.own(raw); err == nil {
			t.Errorf("%s is taken as %v", raw, got)
		}
	}
	if got, err := onPort.own("https://[::1]" + sub + "x"); err == nil {
		t.Errorf("the default port for 8443: %v", got)
	}
}

func TestEachOfAzuresHeadersSaysHowLongToWait(t *testing.T) {
	for name, c := range map[string]struct {
		header map[string]string
		want   time.Duration
	}{
		"nothing":            {map[string]string{"X-Ms-Request-Id": "9"}, 0},
		"seconds":            {map[string]string{"Retry-After": "37"}, 37 * time.Second},
		"milliseconds":       {map[string]string{"Retry-After-Ms": "1500"}, 1500 * time.Millisecond},
		"of the SDK":         {map[string]string{"X-Ms-Retry-After-Ms": "2500"}, 2500 * time.Millisecond},
		"of a quota":         {map[string]string{"X-Ms-Ratelimit-Microsoft.costmanagement-Entity-Retry-After": "41", "X-Ms-Ratelimit-Microsoft.costmanagement-Qpu-Remaining": "99"}, 41 * time.Second},
		"the longest":        {map[string]string{"Retry-After": "2", "X-Ms-Ratelimit-Microsoft.costmanagement-Tenant-Retry-After": "3", "Retry-After-Ms": "1"}, 3 * time.Second},
		"no more than a day": {map[string]string{"Retry-After-Ms": "4294967295"}, 24 * time.Hour},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		for range 50 { // a header is walked in another order each time
			if got := retryAfter(h); got != c.want {
				t.Fatalf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}

func TestGroupsOfAnyNameThatAzureAllowsAreAskedFor(t *testing.T) {
	a := fixture(t)
	const aci = "/providers/Microsoft.ContainerInstance/containerGroups"
	for target, want := range map[string]string{
		"azure://prod/resourceGroups/RG-(prod)" + aci + "/web":                                           "azure get containerinstances prod/rg-(prod)/web resourceGroups/rg-%28prod%29" + aci + "/web",
		"azure://prod/resourceGroups/gruppe-Ø" + aci:                                                     "azure get containerinstances prod/gruppe-ø/ resourceGroups/gruppe-%C3%B8" + aci,
		"azure://prod/resourceGroups/.a" + aci:                                                           "azure get containerinstances prod/.a/ resourceGroups/.a" + aci,
		"azure://prod" + aci + "?resourceGroup=rg-%28prod%29":                                            "azure get containerinstances prod// " + strings.TrimPrefix(aci, "/"),
		"azure://prod/resourceGroups/(x)/providers/Microsoft.CostManagement/query?timeframe=MonthToDate": "azure get costmanagement prod/(x)/ resourceGroups/%28x%29/providers/Microsoft.CostManagement/query",
	} {
		q, err := a.parse(&abi.Request{Method: "GET", URL: target})
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		s := session{instance: a.instances["prod"]}
		call := q.call()
		_, path, _ := strings.Cut(s.url(q.wire(q.names), nil).String(), "00000000000a/")
		if got := call.String() + " " + path; got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	for _, group := range []string{"..", "a.", "a b", "a%2fb", "a%62", "\u212a", strings.Repeat("a", 91)} {
		for _, target := range []string{"azure://prod/resourceGroups/" + group + aci, "azure://prod" + aci + "?resourceGroup=" + url.QueryEscape(group)} {
			if q, err := a.parse(&abi.Request{Method: "GET", URL: target}); host.KindOf(err) != host.Invalid {
				t.Errorf("%s: %+v, %v", target, q, err)
			}
		}
	}
	for id, want := range map[string]string{
		"/subscriptions/s/resourceGroups/RG-(prod)/x/y": "rg-(prod)", "/subscriptions/s/resourceGroups/Ø": "ø",
		"/subscriptions/s/resourceGroups/\u212a/x/y": "", "/subscriptions/s/resourceGroups/a*/x/y": "",
	} {
		if got := groupOf(id); got != want {
			t.Errorf("%s is in %q, want %q", id, got, want)
		}
	}
}

// open seals nothing: what it is given is the name.
type open struct{}

func (open) Seal(string, any) (string, error)   { return "", nil }
func (open) Unseal(_, text string, v any) error { return json.Unmarshal([]byte(text), v) }

func TestTheStateOfAChangeIsAskedOfItsOwnInstance(t *testing.T) {
	c := Config{Name: "prod", Subscription: "00000000-0000-4000-8000-00000000000a", Credential: "cli"}
	other := c
	other.Name = "test"
	a, err := New([]Config{c, other}, open{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	name := url.QueryEscape(`{"i":"prod","k":"containerinstances","g":"rg1","o":"web","p":"x","u":"/x"}`)
	for instance, ok := range map[string]bool{"prod": true, "test": false} {
		got, err := a.kind.Classify(&abi.Request{Method: "GET", URL: "azure://" + instance + "/operations?id=" + name})
		if (err == nil) != ok || ok && got.Call.ResourceGroup != "rg1" || !ok && host.KindOf(err) != host.Invalid {
			t.Errorf("%s: %+v, %v", instance, got.Call, err)
		}
	}
}

// Azure tells the state of a change in two ways (Azure Resource Manager, "asynchronous
// operations"). Where it named a Location, the last answer is the resource itself, whose
// own status is not that of the change.
func TestTheStateOfAChangeIsReadByTheProtocolThatAzureChose(t *testing.T) {
	for _, c := range []struct {
		async  bool
		status int
		body   string
		want   string
	}{
		{true, 200, `{"status":"Running"}`, "InProgress"},
		{true, 200, `{"status":"succeeded"}`, "Succeeded"},
		{true, 200, `{"status":"Failed","error":{"code":"Conflict"}}`, "Failed"},
		{true, 202, ``, "InProgress"},
		{true, 200, `{}`, "Succeeded"},
		{false, 202, `{"status":"Succeeded"}`, "InProgress"},
		{false, 200, `{"status":"Stopped"}`, "Succeeded"},
		{false, 200, `{"status":"Failed","error":{"code":"Conflict"}}`, "Succeeded"},
		{false, 204, ``, "Succeeded"},
	} {
		p := &pending{Async: c.async}
		out, _ := p.read(&answer{status: c.status, body: []byte(c.body)})
		if out.Status != c.want || (out.Error != nil) != (c.want == "Failed") || (out.RetryAfter > 0) != (c.want == "InProgress") {
			t.Errorf("%+v: %+v", c, out)
		}
	}
}
