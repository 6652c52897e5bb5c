package kube_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [{"name": "run", "method": "GET", "path": "/", "action": "read"}],
  "capabilities": [{"name": "kube", "reason": "test"}]
}`

// use is what the handler of the test at hand does.
var use func(kube.Cluster) error

func init() {
	sdk.Handle("run", func(*sdk.Request) (*sdk.Response, error) { return nil, use("dev") })
}

// asked runs f in a plugin, answers its calls with resp, and returns them.
func asked(t *testing.T, resp *abi.Response, f func(kube.Cluster) error) (calls []*abi.Request, err error) {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("kube", func(r *abi.Request) (*abi.Response, error) {
		calls = append(calls, r)
		return resp, nil
	})
	use = func(c kube.Cluster) error { err = f(c); return nil }
	if r := h.Do(sdktest.Request{Path: "/"}); r.Status != 204 {
		t.Fatalf("the plugin answered %d %s", r.Status, r.Text())
	}
	return calls, err
}

func TestCallsAreWhatTheAPIServerExpects(t *testing.T) {
	object := map[string]string{"kind": "Pod"}
	const pods = "/api/v1/namespaces/shop/pods"
	for want, f := range map[string]func(kube.Cluster) error{
		"GET kube://dev/api/v1  ":          func(c kube.Cluster) error { _, err := c.Resources("v1"); return err },
		"GET kube://dev/apis/apps/v1  ":    func(c kube.Cluster) error { _, err := c.Resources("apps/v1"); return err },
		"GET kube://dev" + pods + "/web  ": func(c kube.Cluster) error { return c.Get(pods+"/web", nil) },
		"GET kube://dev" + pods + "?continue=c&fieldSelector=a%3Db&labelSelector=app%3Dweb&limit=5  ": func(c kube.Cluster) error {
			return c.List(pods, kube.ListOptions{LabelSelector: "app=web", FieldSelector: "a=b", Limit: 5, Continue: "c"}, nil)
		},
		"GET kube://dev" + pods + "  ":                                                 func(c kube.Cluster) error { return c.List(pods, kube.ListOptions{}, nil) },
		`POST kube://dev` + pods + ` application/json {"kind":"Pod"}`:                  func(c kube.Cluster) error { return c.Create(pods, object, nil) },
		`PUT kube://dev` + pods + `/web application/json {"kind":"Pod"}`:               func(c kube.Cluster) error { return c.Update(pods+"/web", object, nil) },
		`PATCH kube://dev` + pods + `/web application/merge-patch+json {"kind":"Pod"}`: func(c kube.Cluster) error { return c.Patch(pods+"/web", kube.MergePatch, object, nil) },
		`PATCH kube://dev` + pods + `/web application/json-patch+json [ ]`: func(c kube.Cluster) error {
			return c.Patch(pods+"/web", kube.JSONPatch, json.RawMessage("[ ]"), nil)
		},
		"DELETE kube://dev" + pods + "/web  ": func(c kube.Cluster) error { return c.Delete(pods+"/web", nil) },
	} {
		calls, err := asked(t, &abi.Response{Status: 200}, f)
		if err != nil || len(calls) != 1 {
			t.Fatalf("%s: %d calls, %v", want, len(calls), err)
		}
		contentType := ""
		for _, h := range calls[0].Header {
			if h.Name == "Content-Type" {
				contentType = h.Value
			}
		}
		if got := calls[0].Method + " " + calls[0].URL + " " + contentType + " " + string(calls[0].Body); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTheAnswerIsDecoded(t *testing.T) {
	var pod struct{ Metadata struct{ Name string } }
	body := []byte(`{"kind":"Pod","metadata":{"name":"web","uid":"1"}}`)
	_, err := asked(t, &abi.Response{Status: 200, Body: body}, func(c kube.Cluster) error { return c.Get("/api/v1/x", &pod) })
	if err != nil || pod.Metadata.Name != "web" {
		t.Errorf("got %+v, %v", pod, err)
	}
	_, err = asked(t, &abi.Response{Status: 200, Body: []byte("<html>")}, func(c kube.Cluster) error { return c.Get("/api/v1/x", &pod) })
	if err == nil {
		t.Error("an answer that is not JSON was accepted")
	}
}

func TestTheAPIServersRefusalKeepsStatusAndMessage(t *testing.T) {
	status := &abi.Response{Status: 404, Body: []byte(`{"kind":"Status","status":"Failure","message":"pods \"web\" not found","code":404}`)}
	_, err := asked(t, status, func(c kube.Cluster) error { return c.Get("/api/v1/x", nil) })
	x, ok := errors.AsType[*sdk.Error](err)
	if !ok || x.Status != 404 || x.Origin != abi.OriginUpstream || x.Message != `pods "web" not found` || x.Code != abi.CodeNotFound {
		t.Errorf("got %+v", x)
	}
	_, err = asked(t, &abi.Response{Status: 502, Body: []byte("bad gateway")}, func(c kube.Cluster) error { return c.Get("/api/v1/x", nil) })
	if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 502 || !strings.Contains(x.Message, "502") {
		t.Errorf("got %+v", x)
	}
}

func TestFetchReturnsEveryStatus(t *testing.T) {
	var got *sdk.Response
	_, err := asked(t, &abi.Response{Status: 404, Body: []byte("no")}, func(c kube.Cluster) (err error) {
		got, err = c.Fetch("GET", "/version", nil, nil)
		return err
	})
	if err != nil || got.Status != 404 || string(got.Body) != "no" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAPathCannotReachAnotherResource(t *testing.T) {
	if got := kube.Path("api", "v1", "namespaces", "a/b", "pods", "x?y"); got != "/api/v1/namespaces/a%2Fb/pods/x%3Fy" {
		t.Errorf("got %s", got)
	}
	for _, path := range []string{"", "api", "//api", "/api/../x", "/api/./x", "/api//x", "/api/", kube.Path("api", "", "x"), kube.Path("api", "..", "x")} {
		calls, err := asked(t, &abi.Response{Status: 200}, func(c kube.Cluster) error { return c.Get(path, nil) })
		if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 400 || len(calls) != 0 {
			t.Errorf("%q: %d calls, %v", path, len(calls), err)
		}
	}
	for _, cluster := range []kube.Cluster{"", "a/b", "a?b", "a b", "ä", "a#b", "user@dev"} {
		calls, err := asked(t, &abi.Response{Status: 200}, func(kube.Cluster) error { return cluster.Get("/api", nil) })
		if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 400 || len(calls) != 0 {
			t.Errorf("cluster %q: %d calls, %v", cluster, len(calls), err)
		}
	}
}
