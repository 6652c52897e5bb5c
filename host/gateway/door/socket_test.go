package door_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
)

func TestTextThatIsNotUTF8ClosesTheSocket(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	conn, got := ann.Dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("a\xffb")); err != nil {
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, 1007, "UTF-8")
	conn, _ = ann.Dial("/ws/probe")
	for kind, text := range map[int]string{websocket.BinaryMessage: "a\xffb", websocket.TextMessage: "größer"} {
		if err := conn.WriteMessage(kind, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if k, data, err := conn.ReadMessage(); k != kind || string(data) != text || err != nil {
			t.Errorf("%d %q, %v", k, data, err)
		}
	}
}

// Origin: the plugin's end followed and the socket closed with 1000, complete.
func TestAClientThatIsGoneIsNotToldThatAllIsComplete(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	conn, _ := ann.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	// It says nothing more, but still reads: half of the connection is gone.
	if err := conn.NetConn().(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, 1001, "client went away")
	conn, _ = ann.Dial("/ws/probe")
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, 1000, "")
}

// The last event of a stream says why it ended, and that asking again is of no use
// unless the host restarts.
func TestTheLastEventSaysWhy(t *testing.T) {
	s, _ := open(t)
	for cause, want := range map[error]string{
		host.ErrLoggedOut: "event: end\nretry: 2147483647\ndata: {\"code\":4401,\"reason\":\"logged out\"}\n",
		host.ErrNoLonger:  "event: end\nretry: 2147483647\ndata: {\"code\":4403,\"reason\":\"no longer permitted\"}\n",
		host.ErrIdle:      "event: end\nretry: 2147483647\ndata: {\"code\":4408,\"reason\":\"session was idle too long\"}\n",
		host.ErrEnded:     "event: end\nretry: 2147483647\ndata: {\"code\":4410,\"reason\":\"session ended by its owner\"}\n",
		host.ErrShutdown:  "event: end\ndata: {\"code\":1012,\"reason\":\"host is shutting down\"}\n",
	} {
		ann := s.As(t, "ann")
		resp := ann.Stream("/api/probe/ticks")
		if h := resp.Header; resp.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", resp.StatusCode, h)
		}
		next := surfacetest.Events(t, resp)
		if got := next(); got != "data: 0\n" {
			t.Fatalf("the first event is %q", got)
		}
		if r := s.End(t, ann.User, cause); r.Ended != 1 || r.Closed != 1 {
			t.Errorf("%+v", r)
		}
		last := ""
		for got := next(); got != ""; got = next() {
			last = got
		}
		if last != want {
			t.Errorf("%v: the last event is %q", cause, last)
		}
	}
}

// A socket's close code says why the host ended it.
func TestAClosedSocketSaysWhy(t *testing.T) {
	s, _ := open(t)
	for cause, code := range map[*host.Error]int{
		host.ErrLoggedOut: 4401, host.ErrNoLonger: 4403, host.ErrTooLong: 4408, host.ErrEnded: 4410, host.ErrSwapped: 1012, host.ErrClientGone: 1001,
	} {
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
		s.End(t, ann.User, cause)
		surfacetest.WantClose(t, conn, code, cause.Message)
	}
}

// A page that cannot see an upgrade's refusal asks for a close code.
func TestARefusedSocketIsClosedWithACodeWhereAskedFor(t *testing.T) {
	s, _ := open(t)
	nia, ann := s.As(t, "nia"), s.As(t, "ann")
	if conn, got := nia.Dial("/ws/probe"); conn != nil || got.Status != 403 {
		t.Errorf("%v", got)
	}
	conn, _ := nia.Dial("/ws/probe?bulkhead-refusal=close", "any.protocol")
	if conn == nil || conn.Subprotocol() != "any.protocol" {
		t.Fatal("it is not opened")
	}
	surfacetest.WantClose(t, conn, 4403, "no_")
	conn, _ = ann.Dial("/ws/nothing?bulkhead-refusal=close")
	surfacetest.WantClose(t, conn, 4404, "the plugin does not exist")
	if conn, got := ann.Dial("/ws/probe?bulkhead-refusal=other"); conn != nil || got.Status != 400 {
		t.Errorf("%v", got)
	}
	// A foreign page learns nothing.
	d := websocket.Dialer{Jar: nia.HTTP.Jar}
	_, resp, err := d.DialContext(t.Context(), "ws://"+s.Addr+"/ws/probe?bulkhead-refusal=close", http.Header{"Origin": {"https://evil.example"}})
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("%v, %v", resp, err)
	}
}
