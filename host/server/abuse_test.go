package server

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// One person who holds all they may have of a plugin keeps nobody from it.
func TestOnePersonCannotHoldAPlugin(t *testing.T) {
	w := withoutCluster(t)
	vic := w.as(t, "vic")
	opened := 0
	for ; opened < 100; opened++ {
		conn, refused := vic.dial("/ws/echo")
		if conn == nil {
			expect(t, refused, 429, "one socket too many")
			break
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 16 {
		t.Errorf("%d sockets were opened, want a quarter of 64", opened)
	}
	if got := w.as(t, "ada").get("/api/echo/echo"); got.status != 200 {
		t.Errorf("somebody else: %v", got)
	}
}

func TestAPluginThatFailsInASessionIsNoRegularEnd(t *testing.T) {
	w := withoutCluster(t)
	conn, refused := w.as(t, "vic").dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("fail")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1011) {
		t.Errorf("the socket ended with %v, want 1011", err)
	}
}

// A withdrawn right ends what runs by it.
func TestADemotedPersonsSocketEnds(t *testing.T) {
	w := ownHost(t)
	conn, refused := w.as(t, "wes").dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	eventually(t, "the socket to be there", func() bool { return len(w.server.sessions.List("wes@example.com")) == 1 })
	w.write(t, "directory/people.yaml", strings.Replace(read(t, w.dir+"/directory/people.yaml"),
		"{id: wes@example.com, roles: [viewer]}", "{id: wes@example.com}", 1))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4403) {
		t.Errorf("the socket ended with %v, want 4403", err)
	}
}

// A page whose name was made to point here is refused, whatever name the
// listener was given.
func TestForeignHostsAreRefusedOnLocalhost(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", strings.Replace(read(t, w.dir+"/bulkhead.yaml"), "127.0.0.1:0", "localhost:0", 1))
	w.open(t)
	for host, want := range map[string]int{"evil.example": 400, "localhost": 200, "": 200} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := w.anonymous(t).http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// Whoever reads a close code must know who speaks: what the host says about
// login, rights and time no plugin can say.
func TestAPluginsEndDoesNotLookLikeTheHosts(t *testing.T) {
	w := withoutCluster(t)
	vic := w.as(t, "vic")
	for say, want := range map[string]websocket.CloseError{
		"close 4001": {Code: 4001, Text: "asked for"},
		"close 4401": {Code: 1011, Text: "the plugin failed"}, // Close returned an error
		"close 4503": {Code: 1011, Text: "the plugin failed"},
		"close 1012": {Code: 1011, Text: "the plugin failed"},
		"fail 401":   {Code: 4000, Text: "failure was asked for"},
		"fail 403":   {Code: 4000, Text: "failure was asked for"},
		"fail 409":   {Code: 4000, Text: "failure was asked for"},
		"fail 503":   {Code: 1011, Text: "failure was asked for"},
		"fail 504":   {Code: 1011, Text: "failure was asked for"},
	} {
		conn := vic.socket("/ws/echo")
		if err := conn.WriteMessage(websocket.TextMessage, []byte(say)); err != nil {
			t.Fatal(err)
		}
		_, _, err := conn.ReadMessage()
		if got, ok := errors.AsType[*websocket.CloseError](err); !ok || *got != want {
			t.Errorf("%q: %v, want %v", say, err, &want)
		}
	}
}
