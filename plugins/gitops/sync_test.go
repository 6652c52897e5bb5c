package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// gitAndKube is the plugin with a git that declares objects and a cluster that answers
// with answer. How real ones behave is tested in host/server.
func gitAndKube(t *testing.T, manifests string, answer func(*abi.Request) (*abi.Response, error)) *sdktest.Harness {
	h := sdktest.New(t, manifest)
	h.Config(map[string]any{"defaultCluster": "dev"})
	h.Capability("git", func(*abi.Request) (*abi.Response, error) {
		return &abi.Response{Status: 200, Body: []byte(manifests)}, nil
	})
	h.Capability("kube", answer)
	return h
}

func TestSyncAndDriftCheckTheirInputInOrder(t *testing.T) {
	h := sdktest.New(t, manifest)
	h.Config(map[string]any{})
	for _, name := range []string{"git", "kube"} {
		h.Capability(name, func(r *abi.Request) (*abi.Response, error) {
			t.Errorf("%s was called", r.URL)
			return &abi.Response{Status: 200, Body: []byte("{}")}, nil
		})
	}
	for _, path := range []string{"/sync", "/detect-drift"} {
		for _, c := range []struct{ body, want string }{
			{``, "invalid request body"},
			{`{"repoURL2":"x"}`, "invalid request body"},
			{`{}`, "repoUrl is required"},
			{`{"repoUrl":"https://example.com/x","repository":"shop","cluster":"-x"}`, "repoUrl and repository exclude each other"},
			{`{"repoUrl":"file:///etc","branch":".."}`, "invalid repoUrl"},
			{`{"repoUrl":"/etc"}`, "invalid repoUrl"},
			{`{"repoUrl":"git://example.com/x"}`, "invalid repoUrl"},
			{`{"repoUrl":"ext::sh -c x"}`, "invalid repoUrl"},
			{`{"repoUrl":"-oProxyCommand=x"}`, "invalid repoUrl"},
			{`{"repoUrl":"https://example.com/` + strings.Repeat("x", maxURL) + `"}`, "invalid repoUrl"},
			{`{"repository":"a b"}`, "invalid repository"},
			{`{"repoUrl":"https://example.com/x","branch":"a..b","path":"../x"}`, "invalid branch"},
			{`{"repoUrl":"https://example.com/x","branch":"-x"}`, "invalid branch"},
			{`{"repoUrl":"https://example.com/x","path":"../x"}`, "invalid path"},
			{`{"repoUrl":"https://example.com/x","path":"a/../x"}`, "invalid path"},
			{`{"repoUrl":"https://example.com/x"}`, "cluster is required"},
			{`{"repoUrl":"https://example.com/x","cluster":"a/b"}`, "invalid cluster"},
			{`{"repoUrl":"git@example.com:x.git","cluster":"dev","namespace":"-x"}`, "invalid namespace"},
		} {
			resp := h.Do(post(path, c.body))
			if resp.Status != 400 || resp.Err == nil || resp.Err.Message != c.want {
				t.Errorf("%s %.80s: got %d %s, want 400 %q", path, c.body, resp.Status, resp.Text(), c.want)
			}
		}
	}
}

// declared is an answer of the git capability with these objects, one per line.
func declared(objects ...string) string {
	var list []string
	for n, o := range objects {
		list = append(list, `{"file":"f.yaml","line":`+string(rune('1'+n))+`,"object":`+o+`}`)
	}
	return `{"repository":"example.com/x","commit":"c","form":"manifests","objects":[` + strings.Join(list, ",") + `]}`
}

const (
	web       = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":9007199254740993}}`
	settings1 = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"other","managedFields":[]}}`
	space     = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","namespace":"wrong"}}`
)

// apiServer answers discovery, and everything else as put says.
func apiServer(put func(*abi.Request) (*abi.Response, error)) func(*abi.Request) (*abi.Response, error) {
	return func(r *abi.Request) (*abi.Response, error) {
		switch r.URL {
		case "kube://dev/api/v1":
			return &abi.Response{Status: 200, Body: []byte(`{"resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true},{"name":"secrets","kind":"Secret","namespaced":true},{"name":"namespaces/status","kind":"Namespace"},{"name":"namespaces","kind":"Namespace"}]}`)}, nil
		case "kube://dev/apis/apps/v1":
			return &abi.Response{Status: 200, Body: []byte(`{"resources":[{"name":"deployments","kind":"Deployment","namespaced":true}]}`)}, nil
		}
		return put(r)
	}
}

var notThere = &abi.Error{Code: abi.CodeNotFound, Origin: abi.OriginUpstream, Status: 404, Message: "not found"}

func TestObjectsAreAppliedInOrderWithTheirNamespaces(t *testing.T) {
	var calls []string
	h := gitAndKube(t, declared(web, settings1, space), apiServer(func(r *abi.Request) (*abi.Response, error) {
		path, _, _ := strings.Cut(strings.TrimPrefix(r.URL, "kube://dev"), "?")
		calls = append(calls, r.Method+" "+path)
		switch {
		case r.Method == "GET":
			return nil, notThere
		case r.Method == "PATCH" && strings.HasSuffix(path, "/web") && !strings.Contains(string(r.Body), `"namespace":"default"`):
			t.Errorf("sent %s", r.Body)
		case r.Method == "PATCH" && strings.HasSuffix(path, "/web") && !strings.Contains(string(r.Body), "9007199254740993"):
			t.Errorf("a number changed: %s", r.Body)
		case r.Method == "PATCH" && strings.HasSuffix(path, "/shop") && strings.Contains(string(r.Body), "wrong"):
			t.Errorf("sent %s", r.Body)
		case strings.Contains(string(r.Body), "managedFields"):
			t.Errorf("sent %s", r.Body)
		}
		return &abi.Response{Status: 201, Body: []byte("{}")}, nil
	}))
	resp := h.Do(post("/sync", `{"repoUrl":"https://example.com/x"}`))
	want := "GET /api/v1/namespaces/default/configmaps/INVENTORY PATCH /api/v1/namespaces/shop POST /api/v1/namespaces/default/configmaps PATCH /api/v1/namespaces/other/configmaps/settings PATCH /apis/apps/v1/namespaces/default/deployments/web"
	got := strings.Join(calls, " ")
	if at := strings.Index(got, "bulkhead-inventory-"); at > 0 {
		got = got[:at] + "INVENTORY" + got[at+len("bulkhead-inventory-")+12:]
	}
	if resp.Status != 200 || got != want || !strings.Contains(resp.Text(), `"success":true,"message":"3 of 3 objects applied"`) {
		t.Errorf("got %d %s\n%s\nwant %s", resp.Status, resp.Text(), got, want)
	}
}

// A manifest that cannot be used in the middle prevents everything.
func TestNothingIsAppliedIfOneManifestCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ manifests, file, text string }{
		"a YAML error": {`{"problems":[{"file":"b.yaml","line":7,"text":"is not YAML"}],"objects":[]}`, `"file":"b.yaml","line":7`, "b.yaml:7: is not YAML"},
		"an unknown kind": {declared(web, `{"apiVersion":"apps/v1","kind":"Deploymint","metadata":{"name":"x"}}`, settings1),
			`"file":"f.yaml","line":2`, "f.yaml:2: the cluster has no kind Deploymint of apps/v1"},
		"a duplicate":                  {declared(web, web), `"file":"f.yaml","line":2`, "f.yaml:2: Deployment web is declared in f.yaml:1, too"},
		"a namespace that is a number": {declared(web, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":5}}`), `"line":2`, "f.yaml:2: metadata"},
	} {
		for _, path := range []string{"/sync", "/detect-drift"} {
			h := gitAndKube(t, c.manifests, apiServer(func(r *abi.Request) (*abi.Response, error) {
				t.Errorf("%s: %s %s", name, r.Method, r.URL)
				return nil, notThere
			}))
			resp := h.Do(post(path, `{"repoUrl":"https://example.com/x"}`))
			if resp.Status != 422 || !strings.Contains(resp.Text(), `"errorType":"yaml_parse"`) || !strings.Contains(resp.Text(), c.file) || !strings.Contains(resp.Text(), c.text) {
				t.Errorf("%s %s: got %d %s", path, name, resp.Status, resp.Text())
			}
		}
	}
}

func TestOneFailureDoesNotHideTheOthers(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{&abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "not permitted", Detail: "no_resource"}, 200, `"status":403,"source":"policy","message":"not permitted","detail":"no_resource"`},
		{&abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginUpstream, Status: 403, Message: "RBAC"}, 200, `"status":403,"source":"upstream","message":"RBAC"`},
		{&abi.Error{Code: abi.CodeUnauthenticated, Origin: abi.OriginHost, Status: 401, Message: "logged out"}, 401, `logged out`},
	} {
		h := gitAndKube(t, declared(web, settings1), apiServer(func(r *abi.Request) (*abi.Response, error) {
			if strings.Contains(r.URL, "/settings") {
				return nil, c.err
			}
			if r.Method == "GET" {
				return nil, notThere
			}
			return &abi.Response{Status: 200, Body: []byte("{}")}, nil
		}))
		resp := h.Do(post("/sync", `{"repoUrl":"https://example.com/x"}`))
		if resp.Status != c.status || !strings.Contains(resp.Text(), c.want) || c.status == 200 && !strings.Contains(resp.Text(), `"success":false,"message":"1 of 2 objects applied"`) {
			t.Errorf("got %d %s", resp.Status, resp.Text())
		}
	}
}

// An inventory is data of whoever may write its namespace: an object that no sync applied
// is not deleted.
func TestPruneDeletesOnlyWhatASyncApplied(t *testing.T) {
	for managers, want := range map[string]bool{`[{"manager":"bulkhead"}]`: true, `[{"manager":"kubectl"}]`: false, `[]`: false} {
		deleted := false
		stored := `{"metadata":{"resourceVersion":"1"},"data":{"objects":"[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"resource\":\"configmaps\",\"namespace\":\"a\",\"name\":\"b\"},{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"resource\":\"deployments\",\"namespace\":\"default\",\"name\":\"web\"}]"}}`
		h := gitAndKube(t, declared(web), apiServer(func(r *abi.Request) (*abi.Response, error) {
			switch {
			case strings.Contains(r.URL, "bulkhead-inventory") && r.Method == "GET":
				return &abi.Response{Status: 200, Body: []byte(stored)}, nil
			case r.Method == "GET":
				return &abi.Response{Status: 200, Body: []byte(`{"metadata":{"uid":"u1","managedFields":` + managers + `}}`)}, nil
			case r.Method == "DELETE":
				deleted = true
				if !strings.Contains(string(r.Body), `"uid":"u1"`) {
					t.Errorf("deleted without a precondition: %s", r.Body)
				}
			}
			return &abi.Response{Status: 200, Body: []byte("{}")}, nil
		}))
		var plan struct{ Prune struct{ Confirm string } }
		if resp := h.Do(post("/sync", `{"repoUrl":"https://example.com/x","prune":true}`)); resp.JSON(&plan) != nil || plan.Prune.Confirm == "" || deleted {
			t.Fatalf("got %d %s", resp.Status, resp.Text())
		}
		resp := h.Do(post("/sync", `{"repoUrl":"https://example.com/x","prune":true,"confirm":"`+plan.Prune.Confirm+`"}`))
		if resp.Status != 200 || deleted != want {
			t.Errorf("%s: deleted %v: %d %s", managers, deleted, resp.Status, resp.Text())
		}
	}
}

func TestDifferencesAreFields(t *testing.T) {
	value := func(text string) map[string]any {
		o, err := decoded([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, c := range []struct {
		name, git, live string
		kind            string
		gitOnly         bool
		want            string
	}{
		{"nothing", `{"a":1,"b":{"c":[1,"x"]}}`, `{"a":1,"b":{"c":[1,"x"]},"status":{"x":1},"metadata":{"uid":"1"}}`, "", true, ""},
		{"a value", `{"spec":{"n":2}}`, `{"spec":{"n":5}}`, "", false, "spec.n: 2 5"},
		{"a field that only the cluster has", `{"a":1}`, `{"a":1,"b":2}`, "", false, "b:  2"},
		{"the same, by fields", `{"a":1}`, `{"a":1,"b":2}`, "", true, ""},
		{"a field that only git has", `{"a":{"b":1}}`, `{"a":{}}`, "", true, "a.b: 1 "},
		{"a container, by name", `{"c":[{"name":"x","image":"1"},{"name":"y"}]}`, `{"c":[{"name":"y"},{"name":"x","image":"2"}]}`, "", false, "c[x].image: 1 2"},
		{"an element, by place", `{"c":["a","b"]}`, `{"c":["a"]}`, "", false, "c[1]: b "},
		{"another type", `{"a":{"b":1}}`, `{"a":"x"}`, "", false, `a: {"b":1} x`},
		{"a key with periods", `{"metadata":{"labels":{"a.b/c":"1"}}}`, `{"metadata":{"labels":{"a.b/c":"2"}}}`, "", false, "metadata.labels[a.b/c]: 1 2"},
		{"a Secret", `{"data":{"a":"geheim"},"type":"x"}`, `{"data":{"a":"secret"},"type":"y"}`, "secrets", false, "data.a: (redacted) (redacted)\ntype: x y"},
		{"a Secret that cannot be compared", `{"data":{"a":"geheim"}}`, `{"data":"secret"}`, "secrets", false, "data: (redacted) (redacted)"},
	} {
		i := &item{identity: identity{APIVersion: "v1", Resource: c.kind}}
		cmp := &comparison{item: i, gitOnly: c.gitOnly}
		cmp.compare("", value(c.git), value(c.live))
		var lines []string
		for _, f := range cmp.found {
			lines = append(lines, f.Field+": "+f.GitValue+" "+f.ClusterValue)
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzInventory(f *testing.F) {
	f.Add(`[{"apiVersion":"v1","kind":"ConfigMap","resource":"configmaps","namespace":"a","name":"b"}]`)
	f.Add(`[{"apiVersion":"a/b/c","resource":"..","name":"/"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var list []identity
		if json.Unmarshal([]byte(text), &list) != nil {
			return
		}
		for i := range list {
			if path := list[i].path(); !strings.HasPrefix(path, "/api") {
				t.Fatalf("%+v is at %s", list[i], path)
			}
		}
	})
}
