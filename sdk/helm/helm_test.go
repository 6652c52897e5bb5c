package helm_test

import (
	"errors"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [{"name": "run", "method": "GET", "path": "/", "action": "read"}],
  "capabilities": [{"name": "helm", "reason": "test"}]
}`

var use func(helm.Cluster) error

func init() {
	sdk.Handle("run", func(*sdk.Request) (*sdk.Response, error) { return nil, use("dev") })
}

func asked(t *testing.T, body string, f func(helm.Cluster) error) (calls []string, err error) {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("helm", func(r *abi.Request) (*abi.Response, error) {
		calls = append(calls, r.Method+" "+r.URL+" "+string(r.Body))
		return &abi.Response{Status: 200, Body: []byte(body)}, nil
	})
	use = func(c helm.Cluster) error { err = f(c); return nil }
	if r := h.Do(sdktest.Request{Path: "/"}); r.Status != 204 {
		t.Fatalf("the plugin answered %d %s", r.Status, r.Text())
	}
	return calls, err
}

func TestCallsAreTheWireContract(t *testing.T) {
	for want, f := range map[string]func(helm.Cluster) error{
		"GET helm://dev ":      func(c helm.Cluster) error { _, err := c.Releases("", helm.Page{}); return err },
		"GET helm://dev/shop ": func(c helm.Cluster) error { _, err := c.Releases("shop", helm.Page{}); return err },
		"GET helm://dev?after=shop%2Fweb&limit=50&within=5 ": func(c helm.Cluster) error {
			_, err := c.Releases("", helm.Page{Limit: 50, After: "shop/web", Within: 5})
			return err
		},
		"GET helm://dev/shop/web/notes ":               func(c helm.Cluster) error { _, err := c.Notes("shop", "web", 0); return err },
		"GET helm://dev/shop/web/manifest?revision=2 ": func(c helm.Cluster) error { _, err := c.Manifest("shop", "web", 2); return err },
		"GET helm://dev/shop/web/diff ":                func(c helm.Cluster) error { _, err := c.Diff("shop", "web", 0, 0); return err },
		"GET helm://dev/shop/web/diff?from=1&to=3 ":    func(c helm.Cluster) error { _, err := c.Diff("shop", "web", 1, 3); return err },
		"GET helm://dev/shop/web/history?max=20 ":      func(c helm.Cluster) error { _, err := c.History("shop", "web", 20); return err },
		"GET helm://dev/shop/web/history ":             func(c helm.Cluster) error { _, err := c.History("shop", "web", 0); return err },
		"GET helm://dev/shop/web/values?all=true&revision=3 ": func(c helm.Cluster) error {
			_, err := c.Values("shop", "web", 3, true)
			return err
		},
		"GET helm://dev/shop/web/values ": func(c helm.Cluster) error { _, err := c.Values("shop", "web", 0, false); return err },
		`POST helm://dev/shop/web/upgrade {"chart":"demo/hello","version":"","values":"a: 1","reuseValues":false,"resetThenReuseValues":true}`: func(c helm.Cluster) error {
			_, err := c.Upgrade("shop", "web", helm.Upgrade{Chart: "demo/hello", Values: "a: 1", ResetThenReuseValues: true})
			return err
		},
		`POST helm://dev/shop/web/upgrade {"chart":"demo/hello","version":"^1.0","values":"","reuseValues":true,"resetThenReuseValues":false}`: func(c helm.Cluster) error {
			_, err := c.Upgrade("shop", "web", helm.Upgrade{Chart: "demo/hello", Version: "^1.0", ReuseValues: true})
			return err
		},
		`POST helm://dev/shop/web/upgrade {"chart":"c","version":"","values":"","reuseValues":false,"resetThenReuseValues":false,"wait":true,"atomic":true}`: func(c helm.Cluster) error {
			_, err := c.Upgrade("shop", "web", helm.Upgrade{Chart: "c", Wait: true, Atomic: true})
			return err
		},
		`POST helm://dev/shop/web/upgrade {"chart":"c","version":"","values":"","reuseValues":false,"resetThenReuseValues":false,"dryRun":true}`: func(c helm.Cluster) error {
			_, err := c.Upgrade("shop", "web", helm.Upgrade{Chart: "c", DryRun: true})
			return err
		},
		`POST helm://dev/shop/web/rollback {"revision":2}`: func(c helm.Cluster) error {
			_, err := c.Rollback("shop", "web", helm.Rollback{Revision: 2})
			return err
		},
		`POST helm://dev/shop/web/rollback {"revision":2,"wait":true}`: func(c helm.Cluster) error {
			_, err := c.Rollback("shop", "web", helm.Rollback{Revision: 2, Wait: true})
			return err
		},
		`POST helm://dev/shop/web/rollback?async=true {"revision":2}`: func(c helm.Cluster) error {
			_, err := c.BeginRollback("shop", "web", helm.Rollback{Revision: 2})
			return err
		},
		"DELETE helm://dev/shop/web?async=true ":    func(c helm.Cluster) error { _, err := c.BeginUninstall("shop", "web"); return err },
		"POST helm://dev/shop/web/test?async=true ": func(c helm.Cluster) error { _, err := c.BeginTest("shop", "web"); return err },
		"GET helm://dev/shop/web/operation?id=upgrade.X&wait=5 ": func(c helm.Cluster) error {
			_, err := c.Operation("shop", "web", "upgrade.X", 5)
			return err
		},
		"DELETE helm://dev/shop/web/operation?id=upgrade.X ": func(c helm.Cluster) error { _, err := c.Cancel("shop", "web", "upgrade.X"); return err },
		"POST helm://dev/shop/web/test ":                     func(c helm.Cluster) error { _, err := c.Test("shop", "web"); return err },
		"DELETE helm://dev/shop/web ":                        func(c helm.Cluster) error { _, err := c.Uninstall("shop", "web"); return err },
	} {
		calls, err := asked(t, `{}`, f)
		if err != nil || len(calls) != 1 || calls[0] != want {
			t.Errorf("asked %q, %v\nwant  %q", calls, err, want)
		}
	}
}

func TestAnswersAreTyped(t *testing.T) {
	_, err := asked(t, `{"release":{"name":"web","namespace":"shop","revision":2,"status":"deployed"},"output":"done"}`, func(c helm.Cluster) error {
		got, err := c.Rollback("shop", "web", helm.Rollback{Revision: 1})
		if err == nil && (got.Release != helm.Release{Name: "web", Namespace: "shop", Revision: 2, Status: "deployed"} || got.Output != "done") {
			t.Errorf("got %+v", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, err = asked(t, `{"values":{"a":{"b":1.50}},"redacted":["/c"]}`, func(c helm.Cluster) error {
		got, err := c.Values("shop", "web", 0, false)
		if err == nil && (string(got.Values) != `{"a":{"b":1.50}}` || len(got.Redacted) != 1) {
			t.Errorf("got %s", got.Values)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, err = asked(t, `{"from":1,"to":2,"objects":[{"kind":"Secret","name":"web","change":"changed","diff":"x"}],"redacted":true}`, func(c helm.Cluster) error {
		got, err := c.Diff("shop", "web", 1, 2)
		if err == nil && (!got.Redacted || len(got.Objects) != 1 || got.Objects[0] != helm.ObjectDiff{Kind: "Secret", Name: "web", Change: "changed", Diff: "x"}) {
			t.Errorf("got %+v", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNamesThatWouldChangeTheURLAreRefusedByName(t *testing.T) {
	for want, f := range map[string]func(helm.Cluster) error{
		"release is required":            func(c helm.Cluster) error { _, err := c.Uninstall("shop", ""); return err },
		"namespace is required":          func(c helm.Cluster) error { _, err := c.Uninstall("", "web"); return err },
		`release "a/b" is not a name`:    func(c helm.Cluster) error { _, err := c.Uninstall("shop", "a/b"); return err },
		`namespace ".." is not a name`:   func(c helm.Cluster) error { _, err := c.Releases("..", helm.Page{}); return err },
		"cluster is required":            func(helm.Cluster) error { _, err := helm.Cluster("").Releases("", helm.Page{}); return err },
		`cluster "d/shop" is not a name`: func(helm.Cluster) error { _, err := helm.Cluster("d/shop").Releases("", helm.Page{}); return err },
	} {
		calls, err := asked(t, `{}`, f)
		if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 400 || x.Message != want || len(calls) != 0 {
			t.Errorf("got %v after %d calls, want %q", err, len(calls), want)
		}
	}
}
