package azure_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [{"name": "run", "method": "GET", "path": "/", "action": "read"}],
  "capabilities": [{"name": "azure", "reason": "test"}]
}`

// use is what the handler of the test at hand does.
var use func(azure.Instance) error

func init() {
	sdk.Handle("run", func(*sdk.Request) (*sdk.Response, error) { return nil, use("prod") })
}

// asked runs f in a plugin, answers its calls with body, and returns them. The
// plugin of plugins/azure tests the rest of the calls.
func asked(t *testing.T, body string, f func(azure.Instance) error) (calls []string, err error) {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("azure", func(r *abi.Request) (*abi.Response, error) {
		calls = append(calls, r.Method+" "+r.URL)
		return &abi.Response{Status: 200, Body: []byte(body)}, nil
	})
	use = func(i azure.Instance) error { err = f(i); return nil }
	if r := h.Do(sdktest.Request{Path: "/"}); r.Status != 204 {
		t.Fatalf("the plugin answered %d %s", r.Status, r.Text())
	}
	return calls, err
}

func TestAnswersAreDecoded(t *testing.T) {
	var list azure.List[struct{ Name string }]
	calls, err := asked(t, `{"value":[{"name":"web"}],"errors":[{"resourceGroup":"rg2","status":403,"message":"no"}],"truncated":true}`,
		func(i azure.Instance) error { return i.List(azure.ContainerGroups, []string{"rg1", "rg2"}, &list) })
	if err != nil || len(list.Value) != 1 || list.Value[0].Name != "web" || list.Errors[0].Status != 403 || !list.Truncated {
		t.Errorf("got %+v, %v", list, err)
	}
	if len(calls) != 1 || calls[0] != "GET azure://prod/providers/Microsoft.ContainerInstance/containerGroups?resourceGroup=rg1&resourceGroup=rg2" {
		t.Errorf("asked %q", calls)
	}
	var change *azure.Change
	_, err = asked(t, `{"status":"InProgress","retryAfter":2}`, func(i azure.Instance) (err error) {
		change, err = i.State("x y", 5*time.Second)
		return err
	})
	if err != nil || change.ID != "x y" || change.RetryAfter != 2 {
		t.Errorf("a change that goes on keeps its id: %+v, %v", change, err)
	}
}

func TestGroupsAreNamedAsAzureAllows(t *testing.T) {
	for _, group := range []string{"rg-(prod)", "gruppe-ø", ".rg", "_"} {
		r := azure.Resource{Group: group, Type: azure.ContainerGroups, Name: "web"}
		calls, err := asked(t, "{}", func(i azure.Instance) error { return i.Get(r, &struct{}{}) })
		if err != nil || len(calls) != 1 || calls[0] != "GET azure://prod/resourceGroups/"+group+"/providers/Microsoft.ContainerInstance/containerGroups/web" {
			t.Errorf("%s: asked %q, %v", group, calls, err)
		}
	}
}

func TestANameCannotReachAnotherResource(t *testing.T) {
	web := azure.Resource{Group: "rg1", Type: azure.ContainerGroups, Name: "web"}
	for name, f := range map[string]func(azure.Instance) error{
		"group":       func(i azure.Instance) error { r := web; r.Group = "rg1/../rg2"; return i.Get(r, nil) },
		"group dots":  func(i azure.Instance) error { r := web; r.Group = ".."; return i.Get(r, nil) },
		"no group":    func(i azure.Instance) error { r := web; r.Group = ""; return i.Get(r, nil) },
		"name":        func(i azure.Instance) error { r := web; r.Name = "web?x"; return i.Get(r, nil) },
		"dots":        func(i azure.Instance) error { r := web; r.Name = ".."; return i.Get(r, nil) },
		"percent":     func(i azure.Instance) error { r := web; r.Name = "a%2fb"; return i.Get(r, nil) },
		"type":        func(i azure.Instance) error { r := web; r.Type = "Microsoft.KeyVault/vaults"; return i.Get(r, nil) },
		"list type":   func(i azure.Instance) error { return i.List("x/../y", nil, nil) },
		"container":   func(i azure.Instance) error { _, err := i.Logs(web, "a/b", 0, false); return err },
		"vm":          func(i azure.Instance) error { _, err := i.RestartScaleSetVM(web, "1/../2"); return err },
		"cost group":  func(i azure.Instance) error { _, err := i.Costs(azure.CostQuery{Group: "a b"}); return err },
		"instance":    func(azure.Instance) error { return azure.Instance("a/b").ResourceGroups(nil) },
		"no instance": func(azure.Instance) error { return azure.Instance("").ResourceGroups(nil) },
		"no id":       func(i azure.Instance) error { _, err := i.State("", 0); return err },
	} {
		calls, err := asked(t, "{}", f)
		if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 400 || len(calls) != 0 {
			t.Errorf("%s: asked %q, %v", name, calls, err)
		}
	}
}
