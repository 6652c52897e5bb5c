package cases

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// talker is the plugin of pods, with a socket and an event stream.
func talker(t *testing.T) string {
	t.Helper()
	dir := pods(t)
	if err := os.Remove(filepath.Join(dir, Dir, "hello.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "main.go", `package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func main() {}

func init() {
	session.Handle("talk", func(r *sdk.Request, s *session.Session) error {
		if r.Query("name") == "" {
			return sdk.Errorf(409, "who is there?")
		}
		for m, err := range s.Messages(0) {
			switch string(m.Data) {
			case "fail":
				return sdk.Errorf(422, "as you wish")
			case "bye":
				return s.Close(4001, "bye "+r.Query("name"))
			}
			if err == nil {
				err = s.Send(m)
			}
			if err != nil {
				return session.Done(err)
			}
		}
		return nil
	})
	session.Handle("watch", func(r *sdk.Request, s *session.Session) error {
		if r.Query("one") != "" {
			return s.SendEvent("single", "7", "a\nb")
		}
		type pod struct{ Metadata struct{ Name string `+"`json:\"name\"`"+` } `+"`json:\"metadata\"`"+` }
		return session.SendEach(s, kube.Watch[pod](kube.Cluster("dev"), kube.Objects("v1", r.Query("namespace"), "pods"), kube.WatchOptions{}))
	})
}
`)
	write(t, dir, "manifest.json", `{"name": "pods", "version": "0.1.0",
  "routes": [
    {"name": "talk", "kind": "socket", "method": "GET", "path": "/talk", "action": "pods.read"},
    {"name": "watch", "kind": "events", "method": "GET", "path": "/watch", "action": "pods.read"}],
  "capabilities": [{"name": "kube", "reason": "lists pods"}]}`)
	for _, name := range []string{"dev/bulkhead.yaml", "dev/people/people.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, strings.Replace(string(text), "verbs: [list]", "verbs: [list, watch]", 1))
	}
	return dir
}

const listed = `{request: {url: "kube://dev/api/v1/namespaces/shop/pods?limit=500"}, answer: {json: {metadata: {resourceVersion: "5"}, items: [{metadata: {name: web}}]}}}`

// What client and plugin say to each other is compared step by step, over a real connection.
func TestSessionsAreTakenStepByStep(t *testing.T) {
	dir := talker(t)
	const at = "kube://dev/api/v1/namespaces/shop/pods?allowWatchBookmarks=true&resourceVersion="
	write(t, dir, "cases/talk.yaml", `cases:
  - name: echo
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: hi}}, {receive: {body: hi}}, {send: {base64: /wA=}}, {receive: {base64: /wA=}}, {send: {json: {a: 1}}}, {receive: {json: {a: 1}}}]
  - name: the plugin closes
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: bye}}, {close: {code: 4001, reason: bye ann}}]
  - name: a handler's error
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: fail}}, {close: {code: 4000, reason: as you wish}}]
  - name: refused
    request: {path: "/talk"}
    answer: {status: 409, contains: who is there}
    socket: []
  - name: not refused
    request: {path: "/talk?name=ann"}
    answer: {status: 409}
    socket: []
  - name: refused but not expected
    request: {path: "/talk"}
    socket: [{receive: {body: hi}}]
  - name: another message
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: hi}}, {receive: {body: ho}}]
  - name: another kind
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: hi}}, {receive: {base64: aGk=}}]
  - name: another code
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: bye}}, {close: {}}]
  - name: ended too early
    request: {path: "/talk?name=ann"}
    socket: [{send: {body: bye}}, {receive: {contains: bye}}]
  - name: an event
    request: {path: "/watch?one=1"}
    events: [{receive: {event: single, id: "7", body: "a\nb"}}, {close: {code: 1000}}]
  - name: another event
    request: {path: "/watch?one=1"}
    events: [{receive: {event: other}}]
  - name: a watch
    request: {path: "/watch?namespace=shop"}
    events:
      - receive: {json: {type: ADDED, object: {metadata: {name: web}}}}
      - receive: {contains: BOOKMARK}
      - receive: {json: {type: DELETED, object: {metadata: {name: web}}, resourceVersion: "6"}}
    calls:
      - `+listed+`
      - request: {url: "`+at+`5&timeoutSeconds=20&watch=true"}
        answer: {body: '{"type": "DELETED", "object": {"metadata": {"name": "web", "resourceVersion": "6"}}}'}
  - name: a watch that is not permitted
    request: {path: "/watch?namespace=bank"}
    answer: {status: 403, contains: not permitted}
    events: []
`)
	want := map[string]string{
		"echo": "", "the plugin closes": "", "a handler's error": "", "refused": "", "an event": "", "a watch": "", "a watch that is not permitted": "",
		"not refused":              "the session was opened, want the refusal 409",
		"refused but not expected": "the status is 409, want 200",
		"another message":          `step 1: got "hi", want "ho"`,
		"another kind":             `step 1: got "hi", which is of the other kind`,
		"another code":             `step 1: got the end, with code 4001 and reason "bye ann", want the end, with code 1000`,
		"ended too early":          `step 1: the session has ended`,
		"another event":            `step 0: got the event single: "a\nb", want the event other`,
	}
	results := run(t, dir, false)
	if len(results) != len(want) {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		problem, known := want[r.Case]
		if got := strings.Join(r.Problems, "\n"); !known || r.Passed != (problem == "") || !strings.Contains(got, problem) {
			t.Errorf("%s: %v %q, want %q; %q", r.Case, r.Passed, got, problem, r.Log)
		}
	}
	// They cost what their life makes of it, so they are not measured.
	if list, err := Bench(t.Context(), Options{Dir: dir, Kinds: kinds()}, 1.2); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A watch of a real cluster is recorded and replayed without the cluster.
func TestASessionsCassetteIsTakenFromARealCluster(t *testing.T) {
	cluster := clustertest.Start(t)
	dir := talker(t)
	text, err := os.ReadFile(filepath.Join(dir, "dev/bulkhead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "dev/bulkhead.yaml", strings.Replace(string(text), "./absent.kubeconfig, waitForKubeconfig: true", cluster.HostKubeconfig, 1))
	write(t, dir, "dev/people/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: dev}\nspec: {id: dev@example.com, roles: [viewer]}\n")
	write(t, dir, "cases/watch.yaml", "cases:\n  - name: watch\n    request: {path: '/watch?namespace=shop'}\n    events: [{receive: {contains: ADDED}}]\n    cassette: watch.json\n")
	if results := run(t, dir, true); len(results) != 1 || Failed(results) {
		t.Fatalf("%+v", results)
	}
	calls, err := (&Case{Cassette: "watch.json"}).calls(dir)
	if err != nil || len(calls) == 0 || calls[0].Answer == nil {
		t.Fatalf("%+v, %v", calls, err)
	}
	write(t, dir, "dev/bulkhead.yaml", string(text))
	if results := run(t, dir, false); len(results) != 1 || Failed(results) {
		t.Errorf("replayed: %+v", results)
	}
}

// In a session a call without an answer waits, and counts only if a step was not taken.
func TestACallWithoutAnAnswerIsAProblemOnlyIfAStepFails(t *testing.T) {
	for _, session := range []bool{true, false} {
		s := &script{}
		s.begin(nil, session)
		x := &capability.Exchange{Request: &abi.Request{Method: "GET", URL: "kube://dev/a"}}
		if waits := !s.outcome(x); waits != session {
			t.Errorf("session %v: the call waits: %v", session, waits)
		}
		if problems := s.end(true); (len(problems) == 0) != session {
			t.Errorf("session %v: %q", session, problems)
		}
		if problems := s.end(false); len(problems) != 1 {
			t.Errorf("session %v: %q", session, problems)
		}
	}
}
