package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// sessionList is an answer of /auth/sessions or /api/admin/sessions.
type sessionList struct {
	Sessions []struct {
		ID, User, Kind, Plugin, Target, Replica, Login string
		Current                                        bool
	}
	Logins []struct {
		ID      string
		Current bool
	}
	Total int
}

// limit adds to the section limits of the configuration.
func (w *world) limit(t *testing.T, text string) {
	t.Helper()
	w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+"\nlimits: {"+text+"}\n")
}

func (a *actor) sessions(path string) (l sessionList) {
	a.t.Helper()
	got := a.get(path)
	if got.status != 200 {
		a.t.Fatalf("%s: %v", path, got)
	}
	got.json(a.t, &l)
	return l
}

func (a *actor) end(path string) answer {
	a.t.Helper()
	return a.do("DELETE", path, nil, http.Header{"X-Requested-With": {"XMLHttpRequest"}})
}

func (a *actor) socket(path string) *websocket.Conn {
	a.t.Helper()
	conn, refused := a.dial(path)
	if conn == nil {
		a.t.Fatalf("dial %s: %v", path, refused)
	}
	return conn
}

// closedWith waits for the socket's end.
func closedWith(t *testing.T, conn *websocket.Conn, code int) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		_, _, err := conn.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, code) {
				t.Errorf("the socket ended with %v, want %d", err, code)
			}
			return
		}
	}
}

// answers tells that the socket is open.
func answers(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("there")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.ReadMessage(); err != nil || string(text) != "there" {
		t.Errorf("the socket answers %q, %v", text, err)
	}
}

func TestPeopleSeeAndEndWhatIsTheirs(t *testing.T) {
	w := ownHost(t)
	phone, laptop, other := w.as(t, "eve"), w.as(t, "eve"), w.as(t, "ed1")
	here, there, elsewhere, foreign := laptop.socket("/ws/echo"), laptop.socket("/ws/echo"), phone.socket("/ws/echo"), other.socket("/ws/echo")
	l := laptop.sessions("/auth/sessions")
	if len(l.Sessions) != 3 || len(l.Logins) != 2 {
		t.Fatalf("eve has %+v", l)
	}
	for _, s := range l.Sessions {
		if s.User != "eve@example.com" || s.Kind != "socket" || s.Plugin != "echo" {
			t.Errorf("shown as %+v", s)
		}
	}
	if !l.Sessions[0].Current || !l.Sessions[1].Current || l.Sessions[2].Current || l.Logins[0].Current || !l.Logins[1].Current {
		t.Errorf("what hangs on the asking login: %+v", l)
	}

	theirs := other.sessions("/auth/sessions").Sessions[0].ID
	expect(t, laptop.end("/auth/sessions/"+theirs), 404, "somebody else's session")
	expect(t, laptop.end("/auth/sessions/nosuch"), 404, "one that there is not")
	expect(t, laptop.do("DELETE", "/auth/sessions/"+l.Sessions[0].ID, nil, http.Header{"Sec-Fetch-Site": {"cross-site"}}), 403, "from another site")
	answers(t, foreign)
	answers(t, here)

	if got := laptop.end("/auth/sessions/" + l.Sessions[0].ID); got.status != 200 || strings.TrimSpace(got.body) != `{"ended":1,"closed":1}` {
		t.Errorf("ending one: %v", got)
	}
	closedWith(t, here, 4410)
	answers(t, there)
	expect(t, laptop.get("/auth/me"), 200, "whoever ended a session is still signed in")

	if got := laptop.end("/auth/sessions"); got.status != 200 || strings.TrimSpace(got.body) != `{"ended":1,"closed":1,"logins":1}` {
		t.Errorf("ending all others: %v", got)
	}
	closedWith(t, elsewhere, 4401)
	answers(t, there)
	expect(t, phone.get("/auth/me"), 401, "the other login")
	expect(t, laptop.get("/auth/me"), 200, "this login")
	answers(t, foreign)

	tablet := w.as(t, "eve")
	for _, login := range laptop.sessions("/auth/sessions").Logins {
		if !login.Current {
			expect(t, laptop.end("/auth/sessions/"+login.ID), 200, "ending one login")
		}
	}
	expect(t, tablet.get("/auth/me"), 401, "the login that was ended")
}

func TestAdminsSeeAndEndEverybodysSessionsIfPolicySaysSo(t *testing.T) {
	w := ownHost(t)
	ada, eve, ed := w.as(t, "ada"), w.as(t, "eve"), w.as(t, "ed1")
	eves, eds, events := eve.socket("/ws/echo"), ed.socket("/ws/echo"), make(chan answer, 1)
	go func() {
		got, _ := ed.try(t.Context(), "GET", "/api/echo/ticks", nil, nil)
		events <- got
	}()
	eventually(t, "three sessions", func() bool { return ada.sessions("/api/admin/sessions").Total == 3 })
	for query, want := range map[string]int{
		"?user=ed1@example.com": 2, "?kind=events": 1, "?plugin=echo": 3, "?plugin=exec": 0,
		"?user=ed1@example.com&kind=socket": 1, "?replica=nosuch": 0,
	} {
		if got := ada.sessions("/api/admin/sessions" + query); got.Total != want {
			t.Errorf("%s: %+v, want %d", query, got, want)
		}
	}
	for _, bad := range []string{"?colour=red", "?user=", "?user=a&user=b", "?limit=0"} {
		expect(t, ada.get("/api/admin/sessions"+bad), 400, bad)
	}
	id := ada.sessions("/api/admin/sessions?user=eve@example.com").Sessions[0].ID
	for _, a := range []*actor{eve, w.as(t, "vic")} {
		expect(t, a.get("/api/admin/sessions"), 403, "listing as "+a.user)
		expect(t, a.end("/api/admin/sessions/"+id), 403, "ending as "+a.user)
		expect(t, a.end("/api/admin/sessions?all=true"), 403, "ending all as "+a.user)
	}
	answers(t, eves)
	expect(t, ada.end("/api/admin/sessions/"+id), 200, "ending one")
	closedWith(t, eves, 4401)
	expect(t, eve.get("/auth/me"), 200, "the login of a session that an admin ended")
	expect(t, ada.end("/api/admin/sessions/"+id), 404, "again")

	for _, bad := range []string{"", "?all=true&user=a", "?logins=true", "?logins=true&plugin=echo", "?all=perhaps"} {
		expect(t, ada.end("/api/admin/sessions"+bad), 400, "ending with "+bad)
	}
	expect(t, ada.end("/api/admin/sessions?user=ed1@example.com&kind=events"), 200, "ending by kind")
	if got := <-events; !strings.Contains(got.body, `"code":4401`) {
		t.Errorf("the event stream ended with %v", got)
	}
	answers(t, eds)
	if got := ada.end("/api/admin/sessions?user=ed1@example.com&logins=true"); got.status != 200 || !strings.Contains(got.body, `"logins":1`) {
		t.Errorf("signing somebody out: %v", got)
	}
	closedWith(t, eds, 4401)
	expect(t, ed.get("/auth/me"), 401, "whom an admin signed out")
	expect(t, ada.get("/auth/me"), 200, "the admin")
}

// An administrator of some kind only: what may be done is policy's word by word.
func TestReadingAndEndingSessionsAreTwoPermissions(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "directory/watch.yaml", `
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: wat}
spec: {id: wat@example.com, permissions: {actions: ["admin:sessions.read"], plugins: [{name: admin}]}}
`)
	w.open(t)
	wat := w.as(t, "wat")
	expect(t, wat.get("/api/admin/sessions"), 200, "reading")
	expect(t, wat.end("/api/admin/sessions?all=true"), 403, "ending")
	expect(t, wat.get("/api/admin/directory"), 403, "reading something else")
}

func TestTheCapOnSessionsIsAClear429(t *testing.T) {
	w := prepare(t, "")
	w.limit(t, "sessionsPerUser: 2")
	w.open(t)
	eve, ed := w.as(t, "eve"), w.as(t, "ed1")
	eve.socket("/ws/echo")
	eve.socket("/ws/echo")
	_, refused := eve.dial("/ws/echo")
	if refused.status != 429 || !strings.Contains(refused.body, "2 sessions open") || !strings.Contains(refused.body, "/auth/sessions") || refused.header.Get("Retry-After") == "" {
		t.Errorf("the third: %v %v", refused, refused.header)
	}
	expect(t, ed.get("/api/echo/echo"), 200, "somebody else")
	expect(t, eve.end("/auth/sessions/"+eve.sessions("/auth/sessions").Sessions[0].ID), 200, "ending one")
	expect(t, eve.get("/api/echo/echo"), 200, "and then another")
}

func TestSessionsEndWhenTheyAreIdleOrTooLong(t *testing.T) {
	for limit, reason := range map[string]string{"idle: 300ms": "idle too long", "maxSession: 300ms": "time limit"} {
		w := prepare(t, "")
		w.limit(t, limit)
		w.open(t)
		conn := w.as(t, "eve").socket("/ws/echo")
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4408) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: the socket ended with %v", limit, err)
		}
	}
}

// Origin: demotion or deletion of a user did not cancel live sessions.
func TestADemotedDisabledOrRemovedUserLosesWhatRunsAndNobodyElseDoes(t *testing.T) {
	w := ownHost(t)
	file := "directory/people.yaml"
	whole := read(t, w.dir+"/"+file)
	stays := w.as(t, "ed2").socket("/ws/echo")
	for name, change := range map[string]func(user string) string{
		"demoted": func(u string) string { return strings.Replace(whole, "{id: "+u+", roles: [editor]}", "{id: "+u+"}", 1) },
		"disabled": func(u string) string {
			return strings.Replace(whole, "{id: "+u+", roles: [editor]}", "{id: "+u+", roles: [editor], disabled: true}", 1)
		},
		"removed": func(u string) string { return strings.Replace(whole, "{id: "+u+",", "{id: gone-"+u+",", 1) },
	} {
		ed := w.as(t, "ed1")
		conn := ed.socket("/ws/echo")
		answers(t, conn)
		call := make(chan answer, 1)
		go func() {
			got, _ := ed.try(t.Context(), "GET", "/api/echo/sleep?ms=600000", nil, nil)
			call <- got
		}()
		eventually(t, "the call to run", func() bool { return len(w.server.sessions.List("ed1@example.com")) == 2 })
		changed := change("ed1@example.com")
		if changed == whole {
			t.Fatal("nothing changed")
		}
		w.write(t, file, changed)
		closedWith(t, conn, 4403)
		if got := <-call; got.status != 403 {
			t.Errorf("%s: the call ended with %v", name, got)
		}
		answers(t, stays)
		w.write(t, file, whole)
		eventually(t, "ed1 to be back", func() bool {
			return w.anonymous(t).post("/auth/login", map[string]string{"user": "ed1@example.com"}).status == 200
		})
		eventually(t, "the old rights", func() bool { return w.as(t, "ed1").get("/api/echo/echo").status == 200 })
	}
}

// Origin: a terminal whose route was still permitted lived on after the right
// to open it was gone.
func TestATerminalEndsWhenItsCapabilityAloneIsWithdrawn(t *testing.T) {
	_, c := onCluster(t)
	w := prepare(t, c.HostKubeconfig)
	entry := func(namespace string) string {
		return fmt.Sprintf(`
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: tia}
spec:
  id: tia@example.com
  roles: [editor]
---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: editor}
spec:
  permissions:
    actions: ["*:*"]
    plugins: [{name: "*"}]
    resources: [{clusters: ["*"], namespaces: [%s], resources: ["*"], verbs: ["*"]}]
`, namespace)
	}
	w.write(t, "directory/people.yaml", entry("shop"))
	w.open(t)
	eventually(t, "the cluster to be ready", func() bool {
		up, _ := w.server.countClusters()
		return up == 1
	})
	tia := w.as(t, "tia")
	x := tia.exec("shop", pod(t, c, "shop"), false, "/bin/sh", "-c", "echo began; cat")
	eventually(t, "the command to run", func() bool { return strings.Contains(x.text(), "began") })
	w.write(t, "directory/people.yaml", entry("bank"))
	if _, closed := x.ended(); closed == nil || closed.Code != 4403 {
		t.Errorf("the terminal ended with %v", closed)
	}
	expect(t, tia.get("/api/echo/echo"), 200, "what is still permitted")
}
