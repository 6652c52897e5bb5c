package pods

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestWhatIsNoOperation(t *testing.T) {
	for request, want := range map[string]string{
		"pods://dev/shop/web/exec?command=ls":                      "pods create pods/exec dev/shop/web",
		"pods://dev/shop/web/attach?container=a":                   "pods create pods/attach dev/shop/web",
		"pods://dev/shop/web/log?tail=5&since=1h&match=^a+$":       "",
		"pods://dev/shop/web/log?tail=5&since=1h&match=%5Ea%2B%24": "pods get pods/log dev/shop/web",
		"pods://dev/shop/log?selector=app%3Dweb":                   "pods get pods/log dev/shop/",
		"pods://dev/shop/log?owner=deployments.apps/web":           "pods get pods/log dev/shop/",
		"pods://dev/shop/web/portforward?port=80":                  "pods create pods/portforward dev/shop/web",
		"pods://dev/shop/portforward?service=web&port=http":        "pods create pods/portforward dev/shop/",

		"pods://dev/shop/web/dance": "", "pods://dev/shop": "", "pods://dev/shop/web/x/log": "", "pods://dev/shop/Web/log": "", "pods://dev/shop/exec": "",
		"pods://dev/shop/log": "", "pods://dev/shop/web/log?selector=a": "", "pods://dev/shop/log?selector=a&owner=deployments.apps/web": "",
		"pods://dev/shop/log?selector=a%3D%3D%3D": "", "pods://dev/shop/log?owner=secrets/x": "", "pods://dev/shop/log?owner=deployments.apps/..": "",
		"pods://dev/shop/web/log?match=%28": "", "pods://dev/shop/web/log?since=yesterday": "", "pods://dev/shop/web/log?since=-1h": "", "pods://dev/shop/web/log?tail=-2": "",
		"pods://dev/shop/web/log?follow=true&previous=true": "", "pods://dev/shop/web/log?command=x": "",
		"pods://dev/shop/web/log?match=" + strings.Repeat("a", maxMatch+1): "",
		"pods://dev/shop/web/portforward":                                  "", "pods://dev/shop/web/portforward?port=0": "", "pods://dev/shop/web/portforward?port=http": "",
		"pods://dev/shop/portforward?port=80": "", "pods://dev/shop/web/portforward?port=80&service=x": "", "pods://dev/shop/web/portforward?port=65536": "",
	} {
		got, err := classify(&abi.Request{Method: "GET", URL: request})
		if want == "" && request != "pods://dev/shop/web/log?tail=5&since=1h&match=^a+$" {
			if host.KindOf(err) != host.Invalid {
				t.Errorf("%.80s: got %+v, %v", request, got.Call, err)
			}
		} else if want != "" && (err != nil || got.Call.String() != want) {
			t.Errorf("%s: got %v, %v", request, got.Call.String(), err)
		}
	}
	if got, _ := classify(&abi.Request{Method: "GET", URL: "pods://dev/shop/web/log"}); got.Call.Effect != host.EffectRead {
		t.Error("a log is not a read")
	}
}

// start opens a stream of the capability pods and runs it on a socket.
func (x *scene) start(t *testing.T, protocol, target string) (*socket, <-chan error) {
	t.Helper()
	s, err := x.granted.Open(t.Context(), x.caller, "pods", &abi.Request{Method: "GET", URL: "pods://dev/shop/" + target})
	if err != nil {
		t.Fatal(err)
	}
	c, done := newSocket(protocol), make(chan error, 1)
	go func() { done <- s.Splice(t.Context(), c) }()
	t.Cleanup(func() { _ = c.Close(1001, "the test is over") })
	return c, done
}

// event is one message of a log.
type event struct {
	Type, Pod, Container, State, Reason string
	Lines                               []line
}

// next returns the next message of this type.
func (s *socket) next(t *testing.T, kind string) event {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case m := <-s.out:
			var e event
			if err := json.Unmarshal(m.data, &e); err != nil || m.binary {
				t.Fatalf("%q: %v", m.data, err)
			}
			if e.Type == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no message %q", kind)
		}
	}
}

func TestLogsOfManyPodsAreMergedByTime(t *testing.T) {
	x := newScene(t, clustertest.Viewer, host.Obligations{})
	x.caller.Route.Mutates = false
	for _, selection := range []string{"selector=" + url.QueryEscape("app in (web,db)"), "owner=deployments.apps/web"} {
		c, done := x.start(t, LogProtocol, "log?tail=3&"+selection)
		var all []line
		pods := map[string]int{}
		for over := false; !over; {
			select {
			case m := <-c.out:
				var e event
				if err := json.Unmarshal(m.data, &e); err != nil {
					t.Fatal(err)
				}
				all, over = append(all, e.Lines...), e.Type == "end"
			case <-time.After(10 * time.Second):
				t.Fatal("the logs do not end")
			}
		}
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
		for _, l := range all {
			pods[l.Pod]++
		}
		if len(pods) < 2 || !slices.IsSortedFunc(all, func(a, b line) int { return a.At.Compare(b.At) }) {
			t.Errorf("%s: %d lines of %v, in order of time %v", selection, len(all), pods, slices.IsSortedFunc(all, func(a, b line) int { return a.At.Compare(b.At) }))
		}
		for pod, n := range pods {
			if n > 3 {
				t.Errorf("%d lines of %s", n, pod)
			}
		}
	}
}

func TestALogIsFollowedAndFiltered(t *testing.T) {
	x := newScene(t, clustertest.Viewer, host.Obligations{})
	c, done := x.start(t, LogProtocol, x.pod+"/log?follow=true&tail=1&match="+url.QueryEscape(`[0-9]`))
	c.next(t, "lines")
	if e := c.next(t, "lines"); e.Lines[0].Pod != x.pod || e.Lines[0].At.IsZero() {
		t.Errorf("%+v", e)
	}
	_ = c.Close(1000, "")
	if err := wait(t, done); err != host.ErrClientGone {
		t.Errorf("%v", err)
	}
	none, done := x.start(t, LogProtocol, x.pod+"/log?tail=5&match="+url.QueryEscape("^nothing like this$"))
	none.next(t, "end")
	none.wantClosed(t, "1000")
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

func TestLogsAreRefusedBeforeTheUpgrade(t *testing.T) {
	viewer := newScene(t, clustertest.Viewer, host.Obligations{})
	nobody := viewer.as(&host.Impersonation{User: "log-none"})
	for _, c := range []struct {
		x      *scene
		target string
		status int
		want   string
	}{
		{nobody, viewer.pod + "/log", 403, `get pods/log in namespace "shop"`},
		{nobody, "absent/log", 403, `get pods/log in namespace "shop"`},
		{nobody, "log?selector=app%3Dweb", 403, "pods"},
		{viewer, "absent/log", 404, "absent"},
		{viewer, viewer.pod + "/log?container=other", 400, "no container"},
		{viewer, "log?owner=deployments.apps/absent", 404, "absent"},
		{viewer, viewer.pod + "/portforward?port=80", 403, `create pods/portforward in namespace "shop"`},
		{viewer, viewer.pod + "/attach", 403, `create pods/attach in namespace "shop"`},
	} {
		_, err := c.x.granted.Open(t.Context(), c.x.caller, "pods", &abi.Request{Method: "GET", URL: "pods://dev/shop/" + c.target})
		if e := capability.ErrorFrame(err); e == nil || e.Status != c.status || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: %+v", c.target, e)
		}
	}
	viewer.obligations = host.Obligations{Record: host.RecordOutput}
	if _, err := viewer.granted.Open(t.Context(), viewer.caller, "pods", &abi.Request{Method: "GET", URL: "pods://dev/shop/" + viewer.pod + "/log"}); capability.ErrorFrame(err).Detail != "obligation_not_supported" {
		t.Errorf("a log that must be recorded: %v", err)
	}
}

// One pod is not the user's: policy denies it, or RBAC does.
func TestAUserSeesTheOtherPodsAndWhichIsMissing(t *testing.T) {
	viewer := newScene(t, clustertest.Viewer, host.Obligations{})
	pods := viewer.pods(t, "web")
	if len(pods) < 2 {
		t.Fatalf("there are only %v", pods)
	}
	viewer.deny = func(c *host.CapabilityCall) bool { return c.Subresource == "log" && c.Object == pods[0] }
	bind(t, "log-one", fmt.Sprintf(`[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]},{"apiGroups":[""],"resources":["pods/log"],"verbs":["get"],"resourceNames":[%q]}]`, pods[1]))
	for name, x := range map[string]*scene{"policy": viewer, "RBAC": viewer.as(&host.Impersonation{User: "log-one"})} {
		c, done := x.start(t, LogProtocol, "log?tail=1&selector=app%3Dweb")
		if e := c.next(t, "missing"); e.Pod != pods[0] || e.Reason == "" {
			t.Errorf("%s: %+v", name, e)
		}
		if e := c.next(t, "lines"); e.Lines[0].Pod != pods[1] {
			t.Errorf("%s: %+v", name, e)
		}
		_ = c.Close(1000, "")
		<-done
	}
}

func TestANewPodIsFollowed(t *testing.T) {
	x := newScene(t, clustertest.Viewer, host.Obligations{})
	c, done := x.start(t, LogProtocol, "log?follow=true&selector=app%3Dlate")
	c2 := clustertest.Start(t)
	manifest := []byte(`{apiVersion: v1, kind: Pod, metadata: {name: late, namespace: shop, labels: {app: late}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: x}]}}`)
	if err := c2.Apply(t, manifest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c2.Delete(t, manifest) })
	if e := c.next(t, "lines"); e.Lines[0].Pod != "late" {
		t.Errorf("%+v", e)
	}
	if err := c2.Delete(t, manifest); err != nil {
		t.Fatal(err)
	}
	for c.next(t, "state").State != "ended" {
	}
	x.auth.Lose(host.ErrLoggedOut)
	if err := c2.Apply(t, manifest); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done); err != host.ErrLoggedOut {
		t.Errorf("%v", err)
	}
}

func TestLinesAreCutAndTimed(t *testing.T) {
	before := time.Unix(1, 0)
	if l := parseLine([]byte("2026-01-02T03:04:05.5Z hello \xff"), before); l.Text != "hello \ufffd" || l.At.Nanosecond() != 5e8 {
		t.Errorf("%+v", l)
	}
	if l := parseLine([]byte("no time"), before); l.Text != "no time" || !l.At.Equal(before) {
		t.Errorf("%+v", l)
	}
}
