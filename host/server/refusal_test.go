package server

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// refusedWith opens a socket that is closed at once, and returns how.
func (a *actor) refusedWith(path string, protocols ...string) websocket.CloseError {
	a.t.Helper()
	conn, refused := a.dial(path, protocols...)
	if conn == nil {
		a.t.Fatalf("%s: refused with %v", path, refused)
	}
	if len(protocols) > 0 && conn.Subprotocol() != protocols[0] {
		a.t.Errorf("%s: the subprotocol is %q; a browser that offered %q would give up", path, conn.Subprotocol(), protocols)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, _, err := conn.ReadMessage()
	closed, ok := errors.AsType[*websocket.CloseError](err)
	if !ok {
		a.t.Fatalf("%s: %v", path, err)
	}
	return *closed
}

// Browsers show a page nothing of an upgrade that was refused.
func TestARefusalOfASocketIsACloseCodeForWhoAsks(t *testing.T) {
	w := ownHost(t)
	nobody, vic, eve := w.anonymous(t), w.as(t, "vic"), w.as(t, "eve")
	for _, c := range []struct {
		who  *actor
		path string
		code int
		text string
	}{
		{nobody, "/ws/echo?", 4401, "not signed in"},
		{vic, "/ws/exec?cluster=dev&", 4403, "no_action"},
		{eve, "/ws/exec?cluster=dev&", 4400, "namespace, pod are required"},
		{eve, "/ws/exec?cluster=dev&namespace=shop&pod=a&tty=maybe&", 4400, "tty must be true or false"},
		{eve, "/ws/exec?cluster=none&namespace=shop&pod=a&", 4404, `there is no cluster "none"`},
		{eve, "/ws/exec?cluster=dev&namespace=shop&pod=a&", 4503, `cluster "dev" is starting`},
		{vic, "/ws/echo/none?", 4404, "the plugin has no such route"},
		{vic, "/ws/echo?bulkhead-reason=&", 4400, "the stated reason is empty"},
	} {
		for _, protocols := range [][]string{nil, {execProtocol, "other"}} {
			got := c.who.refusedWith(c.path+"bulkhead-refusal=close", protocols...)
			if got.Code != c.code || !strings.HasPrefix(got.Text, c.text) || len(got.Text) > 123 {
				t.Errorf("%s: %v, want %d %s", c.path, &got, c.code, c.text)
			}
		}
		conn, got := c.who.dial(c.path)
		if conn != nil || got.status != c.code-4000 {
			t.Errorf("%s without the parameter: %v", c.path, got)
		}
	}
	eventually(t, "nothing to be left", func() bool { return len(w.server.sessions.All()) == 0 })

	for range 16 {
		if err := vic.socket("/ws/echo?bulkhead-refusal=close").WriteMessage(websocket.TextMessage, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if got := vic.refusedWith("/ws/echo?bulkhead-refusal=close"); got.Code != 4429 {
		t.Errorf("one socket too many: %v", &got)
	}
	answers(t, eve.socket("/ws/echo?bulkhead-refusal=close"))
}

func TestOnlyOurOwnPagesAreToldOfARefusalByAClose(t *testing.T) {
	w := withoutCluster(t)
	vic := w.as(t, "vic")
	upgrade := func(path string, more ...string) answer {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return vic.do("GET", path, nil, h)
	}
	const none = "/ws/echo/none?bulkhead-refusal=close"
	expect(t, upgrade(none, "Origin", "https://evil.example"), 403, "a foreign page")
	expect(t, upgrade(none, "Sec-Fetch-Site", "same-site"), 403, "a sibling")
	expect(t, upgrade(none, "Upgrade", "h2c"), 404, "another upgrade")
	expect(t, upgrade(none, "Sec-Websocket-Version", "12"), 404, "no handshake that could be answered")
	expect(t, upgrade("/ws/echo//?bulkhead-refusal=close"), 400, "a path that is not looked at")
	expect(t, upgrade("/ws/echo?bulkhead-refusal=yes"), 400, "another value")
	expect(t, upgrade("/ws/echo?bulkhead-refusal=close&bulkhead-refusal=close"), 400, "given twice")
	if got := vic.get("/api/echo/echo?a=1&bulkhead-refusal=close&b=%20"); got.status != 200 || !strings.Contains(got.body, "query: a=1&b=%20\n") {
		t.Errorf("a plugin sees it: %v", got)
	}
}

// Somebody who may not use a route learns nothing at the other door either.
func TestTheWrongDoorNamesTheRightOneToWhoMayUseIt(t *testing.T) {
	w := ownHost(t)
	w.write(t, "directory/more.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ned}\nspec: {id: ned@example.com}\n")
	vic, eve := w.as(t, "vic"), w.as(t, "eve")
	for _, c := range []struct {
		who        *actor
		path, want string
	}{
		{vic, "/ws/echo/ticks", "it is no websocket: GET /api/echo/ticks"},
		{vic, "/ws/echo/echo", "it is no websocket: GET /api/echo/echo"},
		{vic, "/api/echo", "it is a websocket: GET /ws/echo"},
		{eve, "/api/exec", "it is a websocket: GET /ws/exec"},
		{eve, "/ws/gitops/helm-upgrade", "the plugin has no such route"},
	} {
		if got := c.who.get(c.path); got.status != 404 || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: %v, want %s", c.path, got, c.want)
		}
	}
	expect(t, vic.get("/api/exec"), 403, "as at the right door")
	var ned *actor
	eventually(t, "ned to be known", func() bool {
		ned = w.anonymous(t)
		return ned.post("/auth/login", map[string]string{"user": "ned@example.com"}).status == 200
	})
	for _, path := range []string{"/api/exec", "/ws/exec", "/api/none", "/ws/none", "/ws/echo/ticks", "/api/echo/none", "/api/echo"} {
		got := ned.get(path)
		if body, _, _ := strings.Cut(got.body, `,"requestId"`); got.status != 403 || body != `{"error":"you may not do this","detail":"no_plugin"` {
			t.Errorf("%s to somebody without rights: %v", path, got)
		}
	}
}
