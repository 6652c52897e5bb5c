package server

import (
	"errors"
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
		{vic, "/ws/echo/none?", 4404, "the plugin does not have this route"},
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
