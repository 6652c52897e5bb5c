package door_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open serves the doors to the plugin probe.
func open(t *testing.T) (*surfacetest.Surface, *surfacetest.Policy) {
	t.Helper()
	policy := &surfacetest.Policy{}
	return surfacetest.Open(t, policy, func(g *gateway.Gateway, _ *session.Table) {
		door.Mount(g, door.Config{Lease: func(name string, _ *host.Principal) (door.Plugin, bool) { return surfacetest.Probe{}, name == "probe" }, Behind: func(string) error { return nil }})
	}), policy
}

// What exists shows only to users who may use it: for the others every refusal reads
// the same, at both doors.
func TestMissingAndForbiddenRoutesLookAlike(t *testing.T) {
	s, _ := open(t)
	ann, nia := s.As(t, "ann"), s.As(t, "nia")
	for path, want := range map[string]string{
		"/api/nothing/x": "the plugin does not exist", "/ws/nothing": "the plugin does not exist", "/api/probe/nothing": "the plugin does not have this route",
		"/ws/probe/nothing": "the plugin does not have this route", "/ws/probe/ticks": "it is not a websocket: GET /api/probe/ticks",
		"/ws/probe/seen": "it is not a websocket: GET /api/probe/seen", "/api/probe": "it is a websocket: GET /ws/probe",
	} {
		if got := ann.Do("GET", path, ""); got.Status != 404 || !strings.Contains(got.Problem(t).Error, want) {
			t.Errorf("%s: %v, want %q", path, got, want)
		}
		if got := nia.Do("GET", path, ""); got.Status != 403 || got.Problem(t).Error != "you may not do this" || got.Problem(t).Detail != "no_role" {
			t.Errorf("%s without rights: %v", path, got)
		}
	}
	if got := nia.Do("PATCH", "/api/probe/seen", "{}"); got.Status != 403 || got.Header.Get("Allow") != "" {
		t.Errorf("another method without rights: %v", got)
	}
	for _, method := range []string{"PATCH", "OPTIONS"} {
		if got := ann.Do(method, "/api/probe/items/7", ""); got.Status != 405 || got.Header.Get("Allow") != "GET, HEAD, PUT" {
			t.Errorf("%s: %v", method, got)
		}
	}
}

// Policy is asked once, about the route and what the request names.
func TestPolicyIsAskedAboutTheRoute(t *testing.T) {
	s, policy := open(t)
	s.As(t, "ann").Do("GET", "/api/probe/needs?cluster=dev", "", "X-Bulkhead-Reason: INC-1")
	asked := policy.Asked()
	if len(asked) != 1 {
		t.Fatalf("policy is asked %d times", len(asked))
	}
	q := asked[0]
	if q.Principal.User != "ann@example.com" || q.Reason != "INC-1" || q.Route.Plugin != "probe" || q.Route.Name != "needs" ||
		q.Route.Action != "probe:needs.read" || q.Resource["cluster"] != "dev" {
		t.Errorf("%+v", q)
	}
	s.As(t, "ann").Do("PUT", "/api/nothing/x", "{}")
	if q = policy.Asked()[1]; q.Route.Plugin != "nothing" || q.Route.Action != "nothing:unknown.read" || q.Route.Method != "PUT" || q.Route.Mutates {
		t.Errorf("without a route: %+v", q)
	}
}

// A request that policy refuses is 403, however malformed it is; then it is 400.
func TestAMalformedRequestIsRefusedAfterPolicy(t *testing.T) {
	s, _ := open(t)
	ann, nia := s.As(t, "ann"), s.As(t, "nia")
	for path, want := range map[string]string{
		"/api/probe/seen?a=%zz": "the query is not encoded properly", "/api/probe/needs": "cluster is required",
		"/api/probe/needs?cluster=a&cluster=b": "cluster is given more than once",
	} {
		if got := ann.Do("GET", path, ""); got.Status != 400 || got.Problem(t).Error != want {
			t.Errorf("%s: %v, want %q", path, got, want)
		}
		if got := nia.Do("GET", path, ""); got.Status != 403 {
			t.Errorf("%s without rights: %v", path, got)
		}
	}
	surfacetest.Eventually(t, "all sessions to be closed", func() bool { return len(s.Sessions.All()) == 0 })
}

// A plugin reads the query without the host's own parameters.
func TestAPluginDoesNotSeeTheHostsParameters(t *testing.T) {
	s, _ := open(t)
	got := s.As(t, "ann").Do("GET", "/api/probe/seen?a=1&bulkhead-refusal=close&bulkhead-reason=x&b=%20", "")
	if got.Status != 200 || !strings.HasPrefix(got.Body, "GET /seen?a=1&b=%20\n") {
		t.Errorf("%v", got)
	}
}

func TestABodyIsBounded(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	const limit = 1 << 20 // of the probe
	for name, body := range map[string]io.Reader{
		"announced":     strings.NewReader(strings.Repeat("x", limit+1)),
		"not announced": struct{ io.Reader }{strings.NewReader(strings.Repeat("x", limit+1))},
	} {
		if got := ann.Send("POST", "/api/probe/take", body); got.Status != 413 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := ann.Do("POST", "/api/probe/take", strings.Repeat("x", limit)); got.Status != 200 || got.Body != "got 1048576" {
		t.Errorf("just within the bound: %v", got)
	}
}

func TestAnEventStreamTakesNoBody(t *testing.T) {
	s, _ := open(t)
	if got := s.As(t, "ann").Do("GET", "/api/probe/ticks", "x"); got.Status != 400 {
		t.Errorf("%v", got)
	}
}

func TestAHandshakeThatFailsIsARefusal(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	if got := ann.Do("GET", "/ws/probe", "", "Connection: Upgrade", "Upgrade: websocket"); got.Status != 400 {
		t.Errorf("without a key: %v", got)
	}
	if got := ann.Do("GET", "/ws/probe", ""); got.Status != 426 {
		t.Errorf("without an upgrade: %v", got)
	}
	if got := s.As(t, "nia").Do("GET", "/ws/probe", ""); got.Status != 403 {
		t.Errorf("without rights: %v", got)
	}
}

// Only a page of this host that can be answered by a close code is.
func TestOnlyOurOwnPagesAreToldOfARefusalByAClose(t *testing.T) {
	s, _ := open(t)
	upgrade := func(path string, header ...string) surfacetest.Answer {
		return s.As(t, "ann").Do("GET", path, "", append([]string{"Connection: Upgrade", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, header...)...)
	}
	const none = "/ws/probe/none?bulkhead-refusal=close"
	for name, c := range map[string]struct {
		path   string
		header []string
		status int
	}{
		"a foreign page":       {none, []string{"Upgrade: websocket", "Sec-Websocket-Version: 13", "Origin: https://evil.example"}, 403},
		"another upgrade":      {none, []string{"Upgrade: h2c", "Sec-Websocket-Version: 13"}, 404},
		"another version":      {none, []string{"Upgrade: websocket", "Sec-Websocket-Version: 12"}, 404},
		"an ambiguous path":    {"/ws/probe//?bulkhead-refusal=close", []string{"Upgrade: websocket", "Sec-Websocket-Version: 13"}, 400},
		"another value":        {"/ws/probe?bulkhead-refusal=yes", []string{"Upgrade: websocket", "Sec-Websocket-Version: 13"}, 400},
		"given more than once": {"/ws/probe?bulkhead-refusal=close&bulkhead-refusal=close", []string{"Upgrade: websocket", "Sec-Websocket-Version: 13"}, 400},
	} {
		if got := upgrade(c.path, c.header...); got.Status != c.status {
			t.Errorf("%s: %v, want %d", name, got, c.status)
		}
	}
}

// The close codes of refusals are 4000 and the HTTP status.
func TestARefusalsCloseCodeIsItsStatus(t *testing.T) {
	s, policy := open(t)
	for _, c := range []struct {
		user, path string
		code       int
		text       string
	}{
		{"", "/ws/probe?", 4401, "not signed in"},
		{"nia", "/ws/probe?", 4403, "no_role"},
		{"ann", "/ws/probe/none?", 4404, "the plugin does not have this route"},
		{"ann", "/ws/probe?bulkhead-reason=&", 4400, "the stated reason is empty"},
	} {
		who := s.Anonymous(t)
		if c.user != "" {
			who = s.As(t, c.user)
		}
		conn, got := who.Dial(c.path + "bulkhead-refusal=close")
		if conn == nil {
			t.Fatalf("%s: %v", c.path, got)
		}
		surfacetest.WantClose(t, conn, c.code, c.text)
		if conn, got := who.Dial(c.path); conn != nil || got.Status != c.code-4000 {
			t.Errorf("%s without the parameter: %v", c.path, got)
		}
	}
	// A status that a policy's obligation makes is a 403 as well.
	policy.Obliges(t, host.Obligations{Redact: []string{"/a"}})
	conn, got := s.As(t, "ann").Dial("/ws/probe?bulkhead-refusal=close")
	if conn == nil {
		t.Fatal(got)
	}
	surfacetest.WantClose(t, conn, 4403, "obligation_not_supported")
}

// The access log has the status of what a socket was answered with.
func TestTheAccessLogHasTheStatusOfASocket(t *testing.T) {
	s, _ := open(t)
	conn, got := s.As(t, "ann").Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	conn.Close()
	logged := func(status string) func() bool {
		return func() bool {
			for line := range strings.Lines(s.Log.String()) {
				if strings.Contains(line, "msg=request ") && strings.Contains(line, "path=/ws/probe ") && strings.Contains(line, "status="+status) {
					return true
				}
			}
			return false
		}
	}
	surfacetest.Eventually(t, "the line", logged("101"))
	conn, got = s.As(t, "nia").Dial("/ws/probe?bulkhead-refusal=close")
	if conn == nil {
		t.Fatal(got)
	}
	surfacetest.WantClose(t, conn, 4403, "")
	surfacetest.Eventually(t, "the line of a refusal", logged("403"))
}

// Sessions show what the gateway says of a client's address, not the connection's.
func TestASessionNamesItsClientAndTarget(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	conn, got := ann.Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	list := s.Sessions.List(ann.User)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if i := list[0]; i.RemoteAddr != "192.0.2.7" || i.Kind != host.SessionSocket || i.Plugin != "probe" || i.Route != "chat" || i.Target != "/" || i.RequestID == "" {
		t.Errorf("%+v", i)
	}
}

// The chain announces a token that is due for a refresh.
func TestATokenThatIsDueIsAnnounced(t *testing.T) {
	s, _ := open(t)
	for login, want := range map[string]string{"ann": "", "ann.old": "true"} {
		if got := s.As(t, login).Do(http.MethodGet, "/api/probe/seen", ""); got.Header.Get("X-Token-Refresh") != want {
			t.Errorf("%s: %v", login, got)
		}
	}
}
