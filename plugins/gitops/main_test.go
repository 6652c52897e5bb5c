package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

//go:embed manifest.json
var manifest string

// calls is a helm capability that answers everything with one body and
// remembers what it was asked.
type calls struct {
	asked []*abi.Request
	body  string
	err   error
}

func (c *calls) answer(r *abi.Request) (*abi.Response, error) {
	c.asked = append(c.asked, r)
	if c.err != nil {
		return nil, c.err
	}
	return &abi.Response{Status: 200, Body: []byte(c.body)}, nil
}

func serve(t *testing.T, helm *calls) *sdktest.Harness {
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"defaultCluster": "dev"})
	h.Capability("helm", helm.answer)
	return h
}

func post(path, body string) sdktest.Request {
	return sdktest.Request{Method: "POST", Path: path, Body: body}
}

func TestReadsAskForWhatTheQueryNames(t *testing.T) {
	for _, c := range []struct{ path, url, helm, want string }{
		{"/helm-releases", "helm://dev", `{"releases":[]}`, `{"releases":[]}`},
		{"/helm-releases", "helm://dev", `{}`, `{"releases":[]}`},
		{"/helm-releases?cluster=prod&namespace=shop", "helm://prod/shop",
			`{"releases":[{"name":"web","namespace":"shop","revision":2,"updated":"2026-01-02T03:04:05Z","status":"deployed","chart":"demo","version":"1.0.0","appVersion":"9"}]}`,
			`{"releases":[{"cluster":"prod","name":"web","namespace":"shop","revision":2,"updated":"2026-01-02T03:04:05Z","status":"deployed","chart":"demo","version":"1.0.0","appVersion":"9"}]}`},
		{"/helm-history?release=web&namespace=shop", "helm://dev/shop/web/history?max=20", `{"history":[{"revision":1,"description":"Install complete"}]}`,
			`{"history":[{"revision":1,"updated":"","status":"","chart":"","version":"","appVersion":"","description":"Install complete"}]}`},
		{"/helm-values?release=web", "helm://dev/default/web/values", `{"values":{"replicas":2}}`, `{"values":{"replicas":2},"format":"json"}`},
		{"/helm-values?release=web", "helm://dev/default/web/values", `{"values":null}`, `{"values":{},"format":"json"}`},
		{"/helm-values?release=web&revision=3&all=true", "helm://dev/default/web/values?all=true&revision=3", `{"values":{"p":"<redacted>"},"redacted":["/p"]}`,
			`{"values":{"p":"\u003credacted\u003e"},"redacted":["/p"],"format":"json"}`},
		{"/helm-notes?release=web&revision=2", "helm://dev/default/web/notes?revision=2", `{"revision":2,"notes":"hello"}`, `{"revision":2,"notes":"hello"}`},
		{"/helm-manifest?release=web&namespace=shop", "helm://dev/shop/web/manifest", `{"revision":2,"manifest":"a: 1\n","redacted":true}`, `{"revision":2,"manifest":"a: 1\n","redacted":true}`},
		{"/helm-diff?release=web&from=1&to=2", "helm://dev/default/web/diff?from=1&to=2", `{"from":1,"to":2,"objects":[]}`, `{"from":1,"to":2,"objects":[]}`},
	} {
		helm := &calls{body: c.helm}
		resp := serve(t, helm).Do(sdktest.Request{Path: c.path})
		if resp.Status != 200 || resp.Text() != c.want {
			t.Errorf("%s: got %d %s\nwant %s", c.path, resp.Status, resp.Text(), c.want)
		}
		if len(helm.asked) != 1 || helm.asked[0].Method != "GET" || helm.asked[0].URL != c.url {
			t.Errorf("%s: asked %+v, want %s", c.path, helm.asked, c.url)
		}
	}
}

func TestChangesSendOneCall(t *testing.T) {
	for _, c := range []struct{ path, body, method, url, sent, message string }{
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"demo/hello","version":"1.0.0+b","values":"a: 1\n","reuseValues":true}`,
			"POST", "helm://dev/shop/web/upgrade", `{"chart":"demo/hello","version":"1.0.0+b","values":"a: 1\n","reuseValues":true,"resetThenReuseValues":false}`, "release web upgraded"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"demo/hello","resetThenReuseValues":true}`,
			"POST", "helm://dev/shop/web/upgrade", `{"chart":"demo/hello","version":"","values":"","reuseValues":false,"resetThenReuseValues":true}`, "release web upgraded"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"demo/hello","wait":true,"atomic":true}`,
			"POST", "helm://dev/shop/web/upgrade", `{"chart":"demo/hello","version":"","values":"","reuseValues":false,"resetThenReuseValues":false,"wait":true,"atomic":true}`, "release web upgraded"},
		{"/helm-rollback", `{"release":"web","namespace":"shop","cluster":"prod","revision":3}`,
			"POST", "helm://prod/shop/web/rollback", `{"revision":3}`, "release web rolled back"},
		{"/helm-rollback", `{"release":"web","namespace":"shop","revision":3,"wait":true}`,
			"POST", "helm://dev/shop/web/rollback", `{"revision":3,"wait":true}`, "release web rolled back"},
		{"/helm-uninstall", `{"release":"web","namespace":"shop"}`, "DELETE", "helm://dev/shop/web", ``, "release web uninstalled"},
	} {
		helm := &calls{body: `{"release":{"name":"web"},"output":"did it","repaired":"revision 2"}`}
		resp := serve(t, helm).Do(post(c.path, c.body))
		want := `{"success":true,"message":"` + c.message + `","output":"did it","repaired":"revision 2"}`
		if resp.Status != 200 || resp.Text() != want {
			t.Errorf("%s: got %d %s\nwant %s", c.path, resp.Status, resp.Text(), want)
		}
		if len(helm.asked) != 1 {
			t.Fatalf("%s: %d calls", c.path, len(helm.asked))
		}
		if r := helm.asked[0]; r.Method != c.method || r.URL != c.url || string(r.Body) != c.sent {
			t.Errorf("%s: asked %s %s %s\nwant %s %s %s", c.path, r.Method, r.URL, r.Body, c.method, c.url, c.sent)
		}
	}
}

// Body first, then fields, then names; Helm is not called for any of these.
func TestBadInputIsRefusedInOrderAndChangesNothing(t *testing.T) {
	long := strings.Repeat("a", 254)
	for _, c := range []struct{ path, body, want string }{
		{"/helm-upgrade", ``, "invalid request body"},
		{"/helm-upgrade", `{`, "invalid request body"},
		{"/helm-upgrade", `{"releese":"web"}`, "invalid request body"},
		{"/helm-upgrade", `{"release":7}`, "invalid request body"},
		{"/helm-upgrade", `{} {}`, "invalid request body"},
		{"/helm-upgrade", `{}`, "release, namespace, and chart are required"},
		{"/helm-upgrade", `{"release":"-x","namespace":"shop"}`, "release, namespace, and chart are required"},
		{"/helm-upgrade", `{"release":"-x","namespace":"shop","chart":"c"}`, "invalid release"},
		{"/helm-upgrade", `{"release":"` + long + `","namespace":"shop","chart":"c"}`, "invalid release"},
		{"/helm-upgrade", `{"release":"web","namespace":"a/b","chart":"c"}`, "invalid namespace"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"-c"}`, "invalid chart"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c d"}`, "invalid chart"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","version":"1;2"}`, "invalid version"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","version":"-1"}`, "invalid version"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","version":"` + long[:101] + `"}`, "invalid version"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","cluster":"a/b"}`, "invalid cluster"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","reuseValues":true,"resetThenReuseValues":true}`, "reuseValues and resetThenReuseValues exclude each other"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","dryRun":true,"wait":true}`, "dryRun excludes wait and atomic"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","dryRun":true,"atomic":true}`, "dryRun excludes wait and atomic"},
		{"/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","dryRun":true,"async":true}`, "dryRun excludes async"},
		{"/helm-cancel", `{"release":"web","namespace":"shop"}`, "release, namespace, and id are required"},
		{"/helm-cancel", `{"release":"web","namespace":"a/b","id":"x"}`, "invalid namespace"},
		{"/helm-test", `[]`, "invalid request body"},
		{"/helm-test", `{}`, "release and namespace are required"},
		{"/helm-test", `{"release":"web","namespace":"a/b"}`, "invalid namespace"},
		{"/helm-rollback", `[]`, "invalid request body"},
		{"/helm-rollback", `{"revision":1}`, "release and namespace are required"},
		{"/helm-rollback", `{"release":"-x","namespace":"shop"}`, "revision must be a positive integer"},
		{"/helm-rollback", `{"release":"-x","namespace":"shop","revision":-1}`, "revision must be a positive integer"},
		{"/helm-rollback", `{"release":"-x","namespace":"shop","revision":1}`, "invalid release"},
		{"/helm-uninstall", `nonsense`, "invalid request body"},
		{"/helm-uninstall", `{}`, "release and namespace are required"},
		{"/helm-uninstall", `{"release":"web","namespace":"sho\u0000p"}`, "invalid namespace"},
	} {
		helm := &calls{}
		resp := serve(t, helm).Do(post(c.path, c.body))
		if resp.Status != 400 || resp.Err == nil || resp.Err.Message != c.want {
			t.Errorf("%s %s: got %d %s, want 400 %q", c.path, c.body, resp.Status, resp.Text(), c.want)
		}
		if len(helm.asked) != 0 {
			t.Errorf("%s %s: helm was called", c.path, c.body)
		}
	}
}

func TestAVersionMayBeAnyConstraint(t *testing.T) {
	for _, version := range []string{"^1.0.0", "~1.0", ">=1.0 <2", "*", "1.0.0 - 1.9", "1.x", "1", "v1.14.0", "1.0.0-rc.1+b", "!=1.1, <2 || =3"} {
		helm := &calls{body: `{"release":{},"output":"done"}`}
		body, err := json.Marshal(map[string]string{"release": "web", "namespace": "shop", "chart": "c", "version": version})
		if err != nil {
			t.Fatal(err)
		}
		resp := serve(t, helm).Do(post("/helm-upgrade", string(body)))
		var sent struct{ Version string }
		if resp.Status != 200 || len(helm.asked) != 1 || json.Unmarshal(helm.asked[0].Body, &sent) != nil || sent.Version != version {
			t.Errorf("%s: got %d %s, asked for %q", version, resp.Status, resp.Text(), sent.Version)
		}
	}
}

func TestReadsRefuseBadNames(t *testing.T) {
	for path, want := range map[string]string{
		"/helm-values":                             "release is required",
		"/helm-values?release=-x":                  "invalid release",
		"/helm-values?release=web&revision=-1":     "revision must be a positive integer",
		"/helm-operation?id=x":                     "release is required",
		"/helm-operation?release=web":              "id is required",
		"/helm-operation?release=web&id=x&wait=21": "wait must be a number of seconds from 0 to 20",
		"/helm-notes":                              "release is required",
		"/helm-manifest?namespace=shop":            "release is required",
		"/helm-diff?from=x":                        "release is required",
		"/helm-diff?release=web&from=x":            "from must be a positive integer",
		"/helm-diff?release=web&to=0":              "to must be a positive integer",
		"/helm-releases?limit=0":                   "limit must be a number from 1 to 500",
		"/helm-releases?limit=501":                 "limit must be a number from 1 to 500",
		"/helm-releases?continue=other/":           "invalid continue",
		"/helm-releases?continue=dev/shop":         "invalid continue",
		"/helm-releases?continue=dev/shop/a/b":     "invalid continue",
		"/helm-history?release=web&namespace=a/b":  "invalid namespace",
		"/helm-releases?namespace=..%2Fx":          "invalid namespace",
		"/helm-releases?cluster=dev%2Fkube-system": "invalid cluster",
	} {
		helm := &calls{}
		resp := serve(t, helm).Do(sdktest.Request{Path: path})
		if resp.Status != 400 || resp.Err.Message != want || len(helm.asked) != 0 {
			t.Errorf("%s: got %d %s after %d calls, want 400 %q", path, resp.Status, resp.Text(), len(helm.asked), want)
		}
	}
}

func TestWithoutADefaultTheClusterIsRequired(t *testing.T) {
	h := sdktest.New(t, manifest)
	h.Capability("helm", (&calls{}).answer)
	if resp := h.Do(sdktest.Request{Path: "/helm-releases"}); resp.Status != 400 || resp.Err.Message != "cluster is required" {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}

func TestRefusalsAndFailuresKeepTheirStatus(t *testing.T) {
	upgrade := post("/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c"}`)
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{&abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "forbidden"}, 403, `"error":"forbidden"`},
		{&abi.Error{Code: abi.CodeNotFound, Origin: abi.OriginUpstream, Status: 404, Message: "release not found"}, 404, `"error":"release not found"`},
		{&abi.Error{Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Status: 502, Message: "upgrade failed", Detail: "no such chart"}, 502, `"error":"upgrade failed","detail":"no such chart"`},
		{errors.New("connection refused"), 502, `"detail":"connection refused"`},
	} {
		resp := serve(t, &calls{err: c.err}).Do(upgrade)
		if resp.Status != c.status || !strings.Contains(resp.Text(), c.body) {
			t.Errorf("%v: got %d %s", c.err, resp.Status, resp.Text())
		}
		var sent *abi.Error
		if errors.As(c.err, &sent) && resp.Err.Origin != sent.Origin {
			t.Errorf("%v: origin became %v", c.err, resp.Err.Origin)
		}
	}
}

func TestHistoryShowsHelmsFailureButNotARefusal(t *testing.T) {
	request := sdktest.Request{Path: "/helm-history?release=web&namespace=shop"}
	for _, c := range []struct {
		status int
		want   int
		body   string
	}{
		{404, 200, `{"history":[],"error":"went wrong: more"}`},
		{502, 200, `{"history":[],"error":"went wrong: more"}`},
		{401, 401, `"error":"went wrong"`},
		{403, 403, `"error":"went wrong"`},
		{503, 503, `"error":"went wrong"`},
	} {
		helm := &calls{err: &abi.Error{Origin: abi.OriginUpstream, Status: c.status, Code: "x", Message: "went wrong", Detail: "more"}}
		resp := serve(t, helm).Do(request)
		if resp.Status != c.want || !strings.Contains(resp.Text(), c.body) {
			t.Errorf("helm %d: got %d %s", c.status, resp.Status, resp.Text())
		}
	}
	helm := &calls{}
	resp := serve(t, helm).Do(sdktest.Request{Path: "/helm-history"})
	if resp.Status != 200 || resp.Text() != `{"history":[]}` || len(helm.asked) != 0 {
		t.Errorf("without a release: got %d %s", resp.Status, resp.Text())
	}
}

func TestWithoutTheGrantEveryRouteIsRefused(t *testing.T) {
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"defaultCluster": "dev"})
	for _, r := range []sdktest.Request{
		{Path: "/helm-releases"},
		{Path: "/helm-history?release=web"},
		{Path: "/helm-values?release=web"},
		{Path: "/helm-notes?release=web"},
		{Path: "/helm-manifest?release=web"},
		{Path: "/helm-diff?release=web"},
		post("/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c"}`),
		post("/helm-rollback", `{"release":"web","namespace":"shop","revision":1}`),
		post("/helm-uninstall", `{"release":"web","namespace":"shop"}`),
		post("/helm-test", `{"release":"web","namespace":"shop"}`),
	} {
		resp := h.Do(r)
		if resp.Status != 403 || resp.Err == nil || resp.Err.Origin != abi.OriginGrant {
			t.Errorf("%s: got %d %s", r.Path, resp.Status, resp.Text())
		}
	}
}

func TestAMisspeltConfigKeepsThePluginFromStarting(t *testing.T) {
	for _, config := range []map[string]any{
		{"defaultClutser": "dev"}, {"defaultCluster": 7}, {"defaultCluster": "a/b"}, {"defaultCluster": "dev", "clusters": []string{"a", "a"}},
	} {
		h := sdktest.New(t, manifest)
		h.Config(config)
		if err := h.Start(); err == nil || !strings.Contains(err.Error(), "defaultClu") && !strings.Contains(err.Error(), "clusters[1]") {
			t.Errorf("%v: got %v", config, err)
		}
	}
}

func TestADryRunAnswersWhatWouldDiffer(t *testing.T) {
	helm := &calls{body: `{"release":{"name":"web","revision":3},"output":"notes","dryRun":true,"objects":[{"kind":"ConfigMap","name":"web","change":"changed","diff":"+x"}],"redacted":true}`}
	resp := serve(t, helm).Do(post("/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","dryRun":true}`))
	for _, want := range []string{`"success":true`, `"message":"release web would be upgraded"`, `"dryRun":true`, `"revision":3`, `"change":"changed"`, `"redacted":true`} {
		if resp.Status != 200 || !strings.Contains(resp.Text(), want) {
			t.Errorf("got %d %s, want %s", resp.Status, resp.Text(), want)
		}
	}
}

func TestAChangeInTheBackgroundIsAnswered202UntilItEnds(t *testing.T) {
	for path, want := range map[string]string{
		"POST /helm-upgrade {\"release\":\"web\",\"namespace\":\"shop\",\"chart\":\"c\",\"async\":true}": "POST helm://dev/shop/web/upgrade?async=true",
		"POST /helm-rollback {\"release\":\"web\",\"namespace\":\"shop\",\"revision\":2,\"async\":true}": "POST helm://dev/shop/web/rollback?async=true",
		"POST /helm-uninstall {\"release\":\"web\",\"namespace\":\"shop\",\"async\":true}":               "DELETE helm://dev/shop/web?async=true",
		"POST /helm-test {\"release\":\"web\",\"namespace\":\"shop\",\"async\":true}":                    "POST helm://dev/shop/web/test?async=true",
		"POST /helm-cancel {\"release\":\"web\",\"namespace\":\"shop\",\"id\":\"upgrade.X\"}":            "DELETE helm://dev/shop/web/operation?id=upgrade.X",
		"GET /helm-operation?release=web&namespace=shop&id=upgrade.X&wait=20 ":                           "GET helm://dev/shop/web/operation?id=upgrade.X&wait=20",
	} {
		for status, code := range map[string]int{"InProgress": 202, "Succeeded": 200, "Failed": 200, "Canceled": 200} {
			helm := &calls{body: `{"id":"upgrade.X","status":"` + status + `","action":"upgrade","objects":2}`}
			method, rest, _ := strings.Cut(path, " ")
			target, body, _ := strings.Cut(rest, " ")
			resp := serve(t, helm).Do(sdktest.Request{Method: method, Path: target, Body: body})
			if resp.Status != code || resp.Text() != helm.body || len(helm.asked) != 1 || helm.asked[0].Method+" "+helm.asked[0].URL != want {
				t.Errorf("%s: %d %s after %+v", path, resp.Status, resp.Text(), helm.asked)
			}
		}
	}
}

func TestAPreferenceForAnAsynchronousAnswerIsHeeded(t *testing.T) {
	for prefer, want := range map[string]string{
		"respond-async": "POST helm://dev/shop/web/rollback?async=true", "wait=5, Respond-Async; x=1": "POST helm://dev/shop/web/rollback?async=true",
		"wait=5": "POST helm://dev/shop/web/rollback", "": "POST helm://dev/shop/web/rollback",
	} {
		helm := &calls{body: `{"id":"rollback.X","status":"InProgress"}`}
		r := post("/helm-rollback", `{"release":"web","namespace":"shop","revision":2,"cluster":"dev"}`)
		r.Header = []abi.Pair{{Name: "Prefer", Value: prefer}}
		resp := serve(t, helm).Do(r)
		if got := helm.asked[0].Method + " " + helm.asked[0].URL; got != want {
			t.Errorf("%q: asked %s", prefer, got)
		}
		async := strings.HasSuffix(want, "async=true")
		header := map[string]string{}
		for _, h := range resp.Header {
			header[h.Name] = h.Value
		}
		if async && (resp.Status != 202 || header["Preference-Applied"] != "respond-async" || header["Location"] != "helm-operation?cluster=dev&id=rollback.X&namespace=shop&release=web") ||
			!async && (resp.Status != 200 || header["Location"] != "") {
			t.Errorf("%q: %d %v", prefer, resp.Status, header)
		}
	}
	helm := &calls{body: `{"release":{"name":"web"},"dryRun":true}`}
	r := post("/helm-upgrade", `{"release":"web","namespace":"shop","chart":"c","dryRun":true}`)
	r.Header = []abi.Pair{{Name: "Prefer", Value: "respond-async"}}
	if resp := serve(t, helm).Do(r); resp.Status != 200 || helm.asked[0].URL != "helm://dev/shop/web/upgrade" {
		t.Errorf("a dry run: %d after %s", resp.Status, helm.asked[0].URL)
	}
}

func TestTheStreamOfAnOperationEndsWithIt(t *testing.T) {
	n := 0
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"defaultCluster": "dev"})
	h.Capability("helm", func(*abi.Request) (*abi.Response, error) {
		n++
		status := "InProgress"
		if n > 3 {
			status = "Succeeded"
		}
		return &abi.Response{Status: 200, Body: []byte(`{"id":"upgrade.X","status":"` + status + `","action":"upgrade","objects":` + strconv.Itoa(n/2) + `}`)}, nil
	})
	out := h.Session(sdktest.Request{Path: "/helm-operation/stream?release=web&namespace=shop&id=upgrade.X"}, sdktest.Idle(), sdktest.Idle(), sdktest.Idle(), sdktest.Idle())
	got, _ := events(t, out)
	expect(t, got,
		`operation {"id":"upgrade.X","status":"InProgress","action":"upgrade","objects":0}`, `operation {"id":"upgrade.X","status":"InProgress","action":"upgrade","objects":1}`,
		`operation {"id":"upgrade.X","status":"Succeeded","action":"upgrade","objects":2}`, `done {}`)
	if out := h.Session(sdktest.Request{Path: "/helm-operation/stream?release=web"}); out.Accepted || out.Response.Status != 400 {
		t.Errorf("without an id: %+v", out.Response)
	}
}

func TestATestThatFailsIsAnAnswer(t *testing.T) {
	helm := &calls{body: `{"output":"a test failed","passed":false,"failure":"pod web-test failed","tests":[{"name":"web-test","kind":"Pod","phase":"Failed"}]}`}
	resp := serve(t, helm).Do(post("/helm-test", `{"release":"web","namespace":"shop"}`))
	want := `{"success":false,"message":"release web tested","output":"a test failed","failure":"pod web-test failed","tests":[{"name":"web-test","kind":"Pod","phase":"Failed"}]}`
	if resp.Status != 200 || resp.Text() != want {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}
