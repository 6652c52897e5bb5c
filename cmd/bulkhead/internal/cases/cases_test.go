package cases

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/scaffold"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	all.Child()
	policytool.Child()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func scaffolded(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if _, err := scaffold.New(scaffold.Options{Name: name, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir string, record bool) []Result {
	t.Helper()
	results, err := Test(t.Context(), Options{Dir: dir, Kinds: kinds(), Record: record})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// pods is a plugin that lists pods of a cluster.
func pods(t *testing.T) string {
	t.Helper()
	dir := scaffolded(t, "pods")
	write(t, dir, "main.go", `package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/log"
)

func main() {}

func init() {
	sdk.Handle("list", func(r *sdk.Request) (*sdk.Response, error) {
		var pods struct{ Items []struct{ Metadata struct{ Name string } } }
		path := kube.Path("api", "v1", "namespaces", r.Query("namespace"), "pods")
		if err := kube.Cluster("dev").List(path, kube.ListOptions{}, &pods); err != nil {
			return nil, err
		}
		names := []string{}
		for _, p := range pods.Items {
			names = append(names, p.Metadata.Name)
		}
		log.Info("listed", "pods", len(names))
		return sdk.JSON(200, names)
	})
}
`)
	write(t, dir, "manifest.json", `{"name": "pods", "version": "0.1.0",
  "routes": [{"name": "list", "method": "GET", "path": "/list", "action": "pods.read"}],
  "capabilities": [{"name": "kube", "reason": "lists pods"}]}`)
	write(t, dir, "dev/bulkhead.yaml", `listen: 127.0.0.1:0
auth: {dev: {}}
directory: {files: ./people}
clusters: [{name: dev, kubeconfig: ./absent.kubeconfig, waitForKubeconfig: true}]
plugins:
  - {name: pods, source: ../pods.wasm, grants: {kube: [{clusters: [dev], namespaces: [shop, bank], resources: [pods], verbs: [list]}]}}
`)
	write(t, dir, "dev/people/people.yaml", `apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: dev}
spec: {id: dev@example.com, roles: [lister]}
---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: lister}
spec:
  permissions:
    actions: ["pods:pods.read"]
    plugins: [{name: pods}]
    resources: [{clusters: [dev], namespaces: [shop, yard], resources: [pods], verbs: [list]}]
`)
	return dir
}

// The cases of a new plugin pass, as they are.
func TestTheCasesOfANewPluginPass(t *testing.T) {
	results := run(t, scaffolded(t, "hello"), false)
	if len(results) != 2 || Failed(results) || results[0].Usage == nil || results[1].Usage != nil {
		t.Errorf("%+v", results)
	}
}

// Services are scripted; grants and policy are real.
func TestCallsAreAnsweredByTheCaseAndPermittedByTheHost(t *testing.T) {
	dir := pods(t)
	if err := os.Remove(filepath.Join(dir, Dir, "hello.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "cases/pods.yaml", `cases:
  - name: scripted
    request: {path: "/list?namespace=shop"}
    answer: {json: [web, db], header: {Content-Type: application/json}}
    calls:
      - {request: {url: "kube://dev/api/v1/namespaces/shop/pods"}, answer: {json: {items: [{metadata: {name: web}}, {metadata: {name: db}}]}}}
  - name: upstream fails
    request: {path: "/list?namespace=shop"}
    answer: {status: 503, contains: away}
    calls:
      - {request: {url: "kube://dev/api/v1/namespaces/shop/pods"}, error: {status: 503, message: the API server is away}}
  - name: not permitted
    request: {path: "/list?namespace=bank"}
    answer: {status: 403, contains: not permitted}
  - name: not granted
    request: {path: "/list?namespace=yard"}
    answer: {status: 403, contains: is not granted}
  - name: not scripted
    request: {path: "/list?namespace=shop"}
  - name: not made
    request: {path: "/list?namespace=bank"}
    answer: {status: 403}
    calls:
      - {request: {url: "kube://dev/api/v1/namespaces/shop/pods"}, answer: {json: {items: []}}}
  - name: other answer
    request: {path: "/list?namespace=shop"}
    answer: {json: [web]}
    calls:
      - {request: {url: "kube://dev/api/v1/namespaces/shop/pods"}, answer: {json: {items: []}}}
`)
	want := map[string]string{
		"scripted": "", "upstream fails": "", "not permitted": "", "not granted": "",
		"not scripted": "the case has no answer for this call: GET kube://dev/api/v1/namespaces/shop/pods",
		"not made":     "this call was not made: GET kube://dev/api/v1/namespaces/shop/pods",
		"other answer": "the body is [], want the value [\"web\"]",
	}
	results := run(t, dir, false)
	if len(results) != len(want) {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		problem, known := want[r.Case]
		if got := strings.Join(r.Problems, "\n"); !known || r.Passed != (problem == "") || !strings.Contains(got, problem) {
			t.Errorf("%s: %v %q, want %q", r.Case, r.Passed, got, problem)
		}
		if r.Case == "other answer" && !slices.ContainsFunc(r.Log, func(line string) bool { return strings.Contains(line, "listed pods=0") }) {
			t.Errorf("the plugin's log is missing: %q", r.Log)
		}
		if r.Case == "not made" && !slices.ContainsFunc(r.Advice, func(line string) bool {
			return strings.Contains(line, `namespaces: ["bank"], resources: ["pods"], verbs: ["list"]`)
		}) {
			t.Errorf("what would permit the call is missing: %q", r.Advice)
		}
	}
}

func TestACassetteIsReplayedAsItWasRecorded(t *testing.T) {
	dir := t.TempDir()
	c := &Case{Cassette: "a.json"}
	s := &script{}
	for _, x := range []*capability.Exchange{
		{Request: &abi.Request{Method: "GET", URL: "kube://dev/a"}, Response: &abi.Response{Status: 200, Body: []byte(`{"a": 12345678901234567890}`), Header: []abi.Pair{{Name: "ETag", Value: "x"}}}},
		{Request: &abi.Request{Method: "POST", URL: "kube://dev/a", Body: []byte("text <b>")}, Response: &abi.Response{Status: 201, Body: []byte{0xff, 0}}},
		{Request: &abi.Request{Method: "GET", URL: "kube://dev/b"}, Err: &abi.Error{Status: 404, Origin: abi.OriginUpstream, Message: "no b", Detail: "b"}},
	} {
		s.keep(t.Context(), x)
	}
	write(t, dir, "cases/x.yaml", "")
	if err := c.record(dir, s.recording()); err != nil {
		t.Fatal(err)
	}
	calls, err := c.calls(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.begin(calls, false)
	ask := func(method, url, body string) *capability.Exchange {
		x := &capability.Exchange{Request: &abi.Request{Method: method, URL: url, Body: []byte(body)}}
		s.answer(t.Context(), x)
		return x
	}
	if x := ask("POST", "kube://dev/a", "another"); x.Err == nil {
		t.Error("another body was answered")
	}
	if x := ask("POST", "kube://dev/a", "text <b>"); x.Err != nil || x.Response.Status != 201 || string(x.Response.Body) != "\xff\x00" {
		t.Errorf("%+v", x)
	}
	if x := ask("GET", "kube://dev/a", ""); x.Err != nil || !sameJSON(x.Response.Body, []byte(`{"a":12345678901234567890}`)) || x.Response.Header[0].Value != "x" {
		t.Errorf("%+v", x)
	}
	x := ask("GET", "kube://dev/b", "")
	if e, ok := x.Err.(*abi.Error); !ok || e.Status != 404 || e.Origin != abi.OriginUpstream || e.Message != "no b" || e.Detail != "b" {
		t.Errorf("%+v", x.Err)
	}
	if problems := s.end(true); len(problems) != 1 {
		t.Errorf("%q", problems)
	}
	if _, err := (&Case{Cassette: "absent.json"}).calls(dir); err == nil || !strings.Contains(err.Error(), "--record") {
		t.Error(err)
	}
}

func TestAMistakeInACaseIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"cases: [{request: {path: /}}]":                                                                                     "cases[0]: name: is missing",
		"cases: [{name: a, request: {path: x}}]":                                                                            "request.path",
		"cases: [{name: a, request: {path: /}}, {name: a, request: {path: /}}]":                                             "cases[1]: name: \"a\" is used twice",
		"cases: [{name: a, request: {path: /}, answr: {}}]":                                                                 "answr",
		"cases: [{name: a, request: {path: /, body: x, json: 1}}]":                                                          "request: give one of body, base64 and json",
		"cases: [{name: a, request: {path: /}, cassette: ../x.json}]":                                                       "cassette",
		"cases: [{name: a, request: {path: /}, cassette: x.json, calls: [{request: {url: x}, answer: {}}]}]":                "cassette: excludes calls",
		"cases: [{name: a, request: {path: /}, calls: [{request: {url: x}}]}]":                                              "calls[0]: needs either answer or error",
		"cases: [{name: a, request: {path: /}, calls: [{request: {url: x}, error: {status: 200, message: x}}]}]":            "error.status",
		"cases: [{name: a, request: {path: /}, calls: [{request: {url: x}, error: {status: 500, origin: y, message: x}}]}]": "error.origin",
		"cases: [{name: a, request: {path: /}, calls: [{request: {url: x}, answer: {base64: '*'}}]}]":                       "base64",
		"cases: [{name: a, request: {path: /}, socket: [], events: []}]":                                                    "socket: excludes events",
		"cases: [{name: a, request: {path: /}, socket: [{}]}]":                                                              "socket[0]: give one of",
		"cases: [{name: a, request: {path: /}, socket: [{close: {}}, {send: {body: a}}]}]":                                  "socket[0]: close: must be the last step",
		"cases: [{name: a, request: {path: /}, socket: [{receive: {event: a}}]}]":                                           "socket[0]: receive: a socket's messages",
		"cases: [{name: a, request: {path: /}, events: [{send: {body: a}}]}]":                                               "events[0]: send: the client of an event stream",
		"cases: [{name: a, request: {path: /}, events: [{receive: {body: a, json: 1}}]}]":                                   "events[0]: give one of body",
		"cases: [{name: a, request: {path: /}, answer: {status: 409}, socket: [{close: {}}]}]":                              "socket: a session that is refused has no steps",
	} {
		dir := t.TempDir()
		write(t, dir, "cases/a.yaml", text)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.yaml") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "there are no cases") {
		t.Error(err)
	}
}

func TestCostsAreComparedWithTheBaseline(t *testing.T) {
	dir := scaffolded(t, "hello")
	o := Options{Dir: dir, Kinds: kinds()}
	list, err := Bench(t.Context(), o, 1.2)
	if err != nil {
		t.Fatal(err)
	}
	// The refused request costs the plugin nothing.
	if len(list) != 1 || list[0].Route != "hello" || list[0].Fuel == 0 || list[0].MemoryKiB < 1024 || list[0].ChangedKiB <= 0 || list[0].Was != nil ||
		list[0].Allocations <= 0 || list[0].AllocatedBytes < 8*list[0].Allocations {
		t.Fatalf("%+v", list)
	}
	if err := Update(dir, list); err != nil {
		t.Fatal(err)
	}
	again, err := Bench(t.Context(), o, 1.2)
	if err != nil || len(again) != 1 || again[0].Was == nil || *again[0].Was != list[0].Cost || len(again[0].Worse) > 0 {
		t.Errorf("%+v, %v", again, err)
	}
	main, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	slower := strings.Replace(string(main), "\treturn ", "\tfor i := range len(kept) {\n\t\tkept[i] = byte(i)\n\t\tif i%1000 == 0 {\n\t\t\tmore = append(more, make([]byte, 16))\n\t\t}\n\t}\n\treturn ", 1) +
		"\nvar kept [1 << 18]byte\nvar more [][]byte\n"
	write(t, dir, "main.go", slower)
	worse, err := Bench(t.Context(), o, 1.2)
	if err != nil || len(worse) != 1 || !slices.Contains(worse[0].Worse, "fuel") || !slices.Contains(worse[0].Worse, "changed") ||
		!slices.Contains(worse[0].Worse, "allocations") || !slices.Contains(worse[0].Worse, "allocated bytes") {
		t.Errorf("%+v, %v", worse, err)
	}
	write(t, dir, BaselineFile, `{"hello: a user is greeted": {"fule": 1}}`)
	if _, err := Bench(t.Context(), o, 1.2); err == nil || !strings.Contains(err.Error(), BaselineFile) {
		t.Errorf("a bad baseline: %v", err)
	}
}

// --json is for programs: its keys are a promise.
func TestResultsHaveStableKeys(t *testing.T) {
	text, err := json.Marshal(Result{File: "a.yaml", Case: "a", Status: 200, Passed: true})
	if err != nil || string(text) != `{"file":"a.yaml","case":"a","passed":true,"status":200}` {
		t.Errorf("%s, %v", text, err)
	}
}

// A cassette is taken from a real cluster, as the user of the case, and replayed without one.
func TestACassetteIsTakenFromARealCluster(t *testing.T) {
	cluster := clustertest.Start(t)
	dir := pods(t)
	if err := os.Remove(filepath.Join(dir, Dir, "hello.yaml")); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "dev/bulkhead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	connected := strings.Replace(string(config), "./absent.kubeconfig, waitForKubeconfig: true", cluster.HostKubeconfig, 1)
	write(t, dir, "dev/bulkhead.yaml", connected)
	// The cluster's own rules know the shipped roles.
	write(t, dir, "dev/people/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: dev}\nspec: {id: dev@example.com, roles: [viewer]}\n")
	write(t, dir, "cases/pods.yaml", "cases:\n  - name: pods\n    request: {path: '/list?namespace=shop'}\n    answer: {contains: '['}\n    cassette: pods.json\n")
	results := run(t, dir, true)
	if len(results) != 1 || Failed(results) || results[0].Recorded != filepath.Join(Dir, "pods.json") {
		t.Fatalf("%+v", results)
	}
	calls, err := (&Case{Cassette: "pods.json"}).calls(dir)
	if err != nil || len(calls) != 1 || calls[0].Request.URL != "kube://dev/api/v1/namespaces/shop/pods" || !strings.Contains(string(calls[0].Answer.JSON), "resourceVersion") {
		t.Fatalf("%+v, %v", calls, err)
	}
	write(t, dir, "dev/bulkhead.yaml", string(config))
	if results := run(t, dir, false); len(results) != 1 || Failed(results) {
		t.Errorf("replayed: %+v", results)
	}
}

func kinds() *capability.Catalog { return new(all.Config).Catalog() }
