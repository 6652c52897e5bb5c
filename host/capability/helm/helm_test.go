package helm

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestActionsAreToldByMethodAndURL(t *testing.T) {
	for request, want := range map[string]string{
		"GET helm://dev":                          "helm list releases.helm.sh dev//",
		"GET helm://dev/shop":                     "helm list releases.helm.sh dev/shop/",
		"GET helm://dev/shop/web/history?max=20":  "helm history releases.helm.sh dev/shop/web",
		"GET helm://dev/shop/web/values?all=true": "helm values releases.helm.sh dev/shop/web",
		"GET helm://dev/shop/web/notes":           "helm notes releases.helm.sh dev/shop/web",
		"GET helm://dev/shop/web/manifest":        "helm manifest releases.helm.sh dev/shop/web",
		"GET helm://dev/shop/web/diff?from=1":     "helm manifest releases.helm.sh dev/shop/web",
		"GET helm://dev?limit=5&after=shop%2Fweb": "helm list releases.helm.sh dev//",
		"POST helm://dev/shop/web/upgrade":        "helm upgrade releases.helm.sh dev/shop/web",
		"POST helm://dev/shop/web/rollback":       "helm rollback releases.helm.sh dev/shop/web",
		"DELETE helm://dev/shop/web":              "helm uninstall releases.helm.sh dev/shop/web",
	} {
		method, target, _ := strings.Cut(request, " ")
		got, err := classify(&abi.Request{Method: method, URL: target})
		if err != nil || got.Call.String() != want {
			t.Errorf("%s: got %q, %v", request, got.Call.String(), err)
		}
	}
}

func TestWhatIsNoAction(t *testing.T) {
	for _, request := range []string{
		"GET helm://dev/shop/web", "POST helm://dev/shop", "DELETE helm://dev", "PUT helm://dev/shop/web/upgrade", "GET helm://dev/shop/web/upgrade",
		"GET helm://dev/shop/web/history/x", "GET helm://dev/shop/web/history?max=-1", "GET helm://dev/shop/web/history?max=1000", "GET helm://dev/shop/web/history?revision=1",
		"GET helm://dev/shop/web/diff?from=-1", "GET helm://dev/shop/web/notes?all=true", "GET helm://dev?limit=501", "GET helm://dev?after=shop", "GET helm://dev?after=shop%2FWeb", "GET helm://dev?within=31",
		"GET helm://dev/shop/web/values?all=maybe", "GET helm://dev/Shop", "GET helm://dev/shop/We_b/history", "GET helm://dev/shop?x=1", "DELETE helm://dev/shop/" + strings.Repeat("x", 54),
	} {
		method, target, _ := strings.Cut(request, " ")
		if got, err := classify(&abi.Request{Method: method, URL: target}); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: got %+v, %v", request, got.Call, err)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("GET", "helm://dev/shop/web/values?revision=3&all=true")
	f.Add("POST", "helm://dev/shop/web/upgrade")
	f.Fuzz(func(t *testing.T, method, target string) {
		q, err := parse(&abi.Request{Method: method, URL: target})
		if err != nil {
			return
		}
		if q.action == "" || strings.ContainsAny(q.namespace+q.release, "/%? .\x00") && !strings.Contains(q.release, ".") {
			t.Fatalf("%q was taken as %+v", target, q)
		}
		if q.action != actList && (q.namespace == "" || q.release == "") {
			t.Fatalf("%q names no release: %+v", target, q)
		}
	})
}

// person calls helm through a broker whose policy allows everything, as one user.
type person struct {
	t       *testing.T
	granted *capability.Granted
	caller  *capability.Caller
}

func someone(t *testing.T, user *host.Impersonation, o host.Obligations) *person {
	t.Helper()
	h, err := New(Config{Repositories: []Repository{{Name: "demo", Path: "../../../examples/charts"}}}, clustertest.Start(t).Open(t), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	o.Impersonate = user
	policy := func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: o}
	}
	any := []string{"*"}
	granted, err := capability.NewBroker(policy, slog.New(slog.DiscardHandler), h).
		Grant("p", map[string][]capability.Grant{"helm": {{Clusters: any, Namespaces: any, Actions: any}}})
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, granted, &capability.Caller{Principal: &host.Principal{User: "x"}, Route: host.Route{Mutates: true}, Authority: &clustertest.Authority{}}}
}

func (p *person) call(request, body string, into any) error {
	p.t.Helper()
	method, target, _ := strings.Cut(request, " ")
	resp, err := p.granted.Fetch(p.t.Context(), p.caller, "helm", &abi.Request{Method: method, URL: target, Body: []byte(body)})
	if err == nil && into != nil {
		err = json.Unmarshal(resp.Body, into)
	}
	return err
}

func (p *person) must(request, body string, into any) {
	p.t.Helper()
	if err := p.call(request, body, into); err != nil {
		p.t.Fatalf("%s: %v", request, err)
	}
}

type releases struct{ Releases []releaseInfo }

func (r releases) find(namespace, name string) *releaseInfo {
	for i := range r.Releases {
		if r.Releases[i].Namespace == namespace && r.Releases[i].Name == name {
			return &r.Releases[i]
		}
	}
	return nil
}

func TestHelmLifecycle(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/lifecycle"
	_ = editor.call("DELETE "+at, "", nil)
	t.Cleanup(func() { _ = editor.call("DELETE "+at, "", nil) })

	var done changed
	editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello","values":"message: first\nreplicas: 1"}`, &done)
	if done.Release.Revision != 1 || done.Release.Status != "deployed" || done.Release.Chart != "hello" || !strings.Contains(done.Output, `"first"`) {
		t.Errorf("installed %+v", done)
	}
	if _, err := time.Parse(time.RFC3339, done.Release.Updated); err != nil {
		t.Error(err)
	}
	editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello","version":"0.1.0","values":"replicas: 2","reuseValues":true}`, &done)
	if done.Release.Revision != 2 || !strings.Contains(done.Output, `"first" from 2 pod(s)`) {
		t.Errorf("upgraded %+v", done)
	}

	var history struct{ History []revisionInfo }
	editor.must("GET "+at+"/history?max=1", "", &history)
	if len(history.History) != 1 || history.History[0].Revision != 2 {
		t.Errorf("the newest revision is %+v", history)
	}
	var values struct{ Values map[string]any }
	editor.must("GET "+at+"/values?revision=1", "", &values)
	if values.Values["message"] != "first" || values.Values["port"] != nil {
		t.Errorf("the values of revision 1 are %v", values)
	}
	editor.must("GET "+at+"/values?all=true", "", &values)
	if values.Values["port"] == nil || values.Values["replicas"] != 2.0 {
		t.Errorf("all values are %v", values)
	}

	for request, body := range map[string]string{"POST " + at + "/rollback": `{"revision":9}`, "GET " + at + "/values?revision=9": ""} {
		err := editor.call(request, body, nil)
		if host.KindOf(err) != host.NotFound || !strings.Contains(err.Error(), `release "lifecycle" has no revision 9`) {
			t.Errorf("%s: %v", request, err)
		}
	}
	editor.must("POST "+at+"/rollback", `{"revision":1}`, &done)
	if done.Release.Revision != 3 || done.Release.Status != "deployed" {
		t.Errorf("rolled back to %+v", done)
	}
	var list releases
	editor.must("GET helm://dev/shop", "", &list)
	if r := list.find("shop", "lifecycle"); r == nil || r.Revision != 3 || r.Version != "0.1.0" || r.AppVersion != "1.0" {
		t.Errorf("the list shows %+v", r)
	}
	var gone struct{ Output string }
	editor.must("DELETE "+at, "", &gone)
	if !strings.Contains(gone.Output, "uninstalled") {
		t.Errorf("got %+v", gone)
	}
	if err := editor.call("GET "+at+"/history", "", nil); host.KindOf(err) != host.NotFound {
		t.Errorf("after the uninstall: %v", err)
	}

	event := clustertest.Start(t).Audited(t, "Deployment of the release", func(e clustertest.Event) bool {
		return e.Verb == "create" && e.ObjectRef.Resource == "deployments" && strings.Contains(e.RequestURI, "/namespaces/shop/") &&
			e.ImpersonatedUser != nil && e.ImpersonatedUser.Username == clustertest.Editor.User
	})
	if event.User.Username != "system:serviceaccount:bulkhead-system:bulkhead" {
		t.Errorf("asked by %q", event.User.Username)
	}
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/never"
	for _, c := range []struct {
		request, body string
		status        int
	}{
		{"GET " + at + "/history", "", 404},
		{"GET " + at + "/values", "", 404},
		{"POST " + at + "/rollback", `{"revision":1}`, 404},
		{"POST " + at + "/rollback", `{"revision":0}`, 400},
		{"POST " + at + "/rollback", `{"revision":1,"force":true}`, 400},
		{"DELETE " + at, "", 404},
		{"DELETE " + at, "x", 400},
		{"POST " + at + "/upgrade", `{`, 400},
		{"POST " + at + "/upgrade", `{"chart":"demo/absent"}`, 404},
		{"POST " + at + "/upgrade", `{"chart":"other/hello"}`, 404},
		{"POST " + at + "/upgrade", `{"chart":"../charts/hello"}`, 400},
		{"POST " + at + "/upgrade", `{"chart":"demo/hello","values":"- a list"}`, 422},
		{"POST " + at + "/upgrade", `{"chart":"demo/hello","values":"a: [unclosed"}`, 422},
		{"POST " + at + "/upgrade", `{"chart":"demo/hello","values":"replicas: many"}`, 400},
		{"POST helm://dev/absent/never/upgrade", `{"chart":"demo/hello"}`, 403},
		{"POST helm://other/shop/never/upgrade", `{"chart":"demo/hello"}`, 404},
	} {
		err := editor.call(c.request, c.body, nil)
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.HTTPStatus() != c.status {
			t.Errorf("%s %s: got %v, want %d", c.request, c.body, err, c.status)
		}
	}
	_ = editor.call("DELETE "+at, "", nil)
}

func TestClusterDecidesWhatAViewerMayDo(t *testing.T) {
	viewer := someone(t, clustertest.Viewer, host.Obligations{})
	var list releases
	viewer.must("GET helm://dev", "", &list)
	err := viewer.call("POST helm://dev/shop/viewers/upgrade", `{"chart":"demo/hello"}`, nil)
	if x := capability.ErrorFrame(err); x.Status != 403 || x.Origin != abi.OriginUpstream || !strings.Contains(x.Message, clustertest.Viewer.User) {
		t.Errorf("got %+v", x)
	}
	nobody := someone(t, clustertest.Nobody, host.Obligations{})
	if err := nobody.call("GET helm://dev/shop", "", nil); host.KindOf(err) != host.Forbidden {
		t.Errorf("nobody lists: %v", err)
	}
}

func TestListShowsPermittedNamespacesOnly(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	for _, at := range []string{"helm://dev/shop/listed", "helm://dev/bank/listed"} {
		editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello"}`, nil)
		t.Cleanup(func() { _ = editor.call("DELETE "+at, "", nil) })
	}
	var list releases
	editor.must("GET helm://dev", "", &list)
	if list.find("shop", "listed") == nil || list.find("bank", "listed") == nil {
		t.Errorf("everything is %+v", list)
	}
	for _, permitted := range [][]string{{"shop", "absent"}, {"sh*"}} {
		list = releases{}
		someone(t, clustertest.Editor, host.Obligations{Namespaces: permitted}).must("GET helm://dev", "", &list)
		if list.find("shop", "listed") == nil || list.find("bank", "listed") != nil {
			t.Errorf("%v shows %+v", permitted, list)
		}
	}
}

// fuse is an authority that is lost after so many looks at it.
type fuse struct{ left atomic.Int64 }

func (f *fuse) Alive() bool { return f.left.Add(-1) >= 0 }
func (f *fuse) Cause() error {
	if f.left.Load() < 0 {
		return host.ErrLoggedOut
	}
	return nil
}

func TestLogoutStopsAnUpgradeWhereverItIs(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/late"
	_ = editor.call("DELETE "+at, "", nil)
	for _, looks := range []int64{0, 2, 6, 12, 24} {
		auth := &fuse{}
		auth.left.Store(looks)
		leaver := *editor
		leaver.caller = &capability.Caller{Principal: editor.caller.Principal, Route: editor.caller.Route, Authority: auth}
		if err := leaver.call("POST "+at+"/upgrade", `{"chart":"demo/hello"}`, nil); !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("after %d looks: %v", looks, err)
		}
		if err := editor.call("DELETE "+at, "", nil); err != nil && host.KindOf(err) != host.NotFound {
			t.Errorf("what was left after %d looks cannot be removed: %v", looks, err)
		}
	}
}
