package pods

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// connected returns the pod that the socket's first message names.
func (s *socket) connected(t *testing.T) string {
	t.Helper()
	select {
	case m := <-s.out:
		var e event
		if json.Unmarshal(m.data, &e); e.Type == "connected" {
			return e.Pod
		}
		t.Fatalf("got %q", m.data)
	case <-time.After(20 * time.Second):
		t.Fatal("it does not connect")
	}
	return ""
}

func TestAPortOfAPodAnswers(t *testing.T) {
	pods := `{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}`
	rule := func(verbs string) string {
		return `[` + pods + `,{"apiGroups":[""],"resources":["pods/portforward"],"verbs":[` + verbs + `]}]`
	}
	for name, rules := range map[string]string{"create and get, by WebSocket": rule(`"create","get"`), "create alone, by SPDY": rule(`"create"`)} {
		t.Run(name, func(t *testing.T) {
			user := map[bool]string{true: "port-both", false: "port-create"}[strings.Contains(name, "get")]
			bind(t, user, rules)
			x := newScene(t, &host.Impersonation{User: user}, host.Obligations{})
			c, done := x.start(t, PortProtocol, x.pod+"/portforward?port=8080")
			if pod := c.connected(t); pod != x.pod {
				t.Errorf("connected to %s", pod)
			}
			c.send(t, true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			c.until(t, "HTTP/1.1 200")
			c.send(t, false, `{"type":"eof"}`)
			c.until(t, `{\"type\":\"end\"}`)
			c.wantClosed(t, "1000")
			if err := wait(t, done); err != nil {
				t.Error(err)
			}
		})
	}
}

const movable = `
apiVersion: v1
kind: Service
metadata: {name: movable, namespace: shop}
spec: {selector: {app: movable}, ports: [{name: web, port: 80, targetPort: http}]}
`

func movablePod(name string) []byte {
	return []byte(`{apiVersion: v1, kind: Pod, metadata: {name: ` + name + `, namespace: shop, labels: {app: movable}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: x, ports: [{name: http, containerPort: 8080}]}]}}`)
}

func TestAServicesPortMovesToTheNextReadyPod(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	c := clustertest.Start(t)
	apply := func(manifest []byte) {
		t.Helper()
		if err := c.Apply(t, manifest); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(t, manifest) })
	}
	apply([]byte(movable))
	s, done := x.start(t, PortProtocol, "portforward?service=movable&port=web") // no pod is ready yet
	apply(movablePod("movable-a"))
	if pod := s.connected(t); pod != "movable-a" {
		t.Errorf("connected to %s", pod)
	}
	if err := c.Delete(t, movablePod("movable-a")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close(1000, "")
	<-done
	apply(movablePod("movable-b"))
	s, done = x.start(t, PortProtocol, "portforward?service=movable&port=80")
	if pod := s.connected(t); pod != "movable-b" {
		t.Errorf("connected to %s", pod)
	}
	s.send(t, true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.until(t, "200")
	x.auth.Lose(host.ErrLoggedOut)
	s.send(t, true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := wait(t, done); err != host.ErrLoggedOut {
		t.Errorf("%v", err)
	}
}

// A service leads to no pod that policy forbids by its name.
func TestAServicesPortAsksPolicyAboutThePod(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	x.deny = func(c *host.CapabilityCall) bool { return c.Subresource == "portforward" && c.Object != "" }
	c := clustertest.Start(t)
	for _, manifest := range [][]byte{[]byte(movable), movablePod("movable-d")} {
		if err := c.Apply(t, manifest); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(t, manifest) })
	}
	_, done := x.start(t, PortProtocol, "portforward?service=movable&port=80")
	select {
	case err := <-done:
		if host.KindOf(err) != host.Forbidden {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it is connected")
	}
}

func TestBreachesOfAPortsProtocol(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	for _, messages := range [][]string{{"text"}, {`{"type":"eof"}`, "\x00late"}, {`{"type":"resize"}`}} {
		s, done := x.start(t, PortProtocol, x.pod+"/portforward?port=8080")
		s.connected(t)
		for _, m := range messages {
			binary := strings.HasPrefix(m, "\x00")
			select {
			case s.in <- message{binary, []byte(m)}:
			case <-s.gone:
			}
		}
		if err := wait(t, done); host.KindOf(err) != host.Invalid && len(messages) == 1 {
			t.Errorf("%q: %v", messages, err)
		}
	}
}
