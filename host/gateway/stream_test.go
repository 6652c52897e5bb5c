package gateway_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A change that has begun is finished when its tab is closed; a question is not.
func TestAChangeGoesOnWhenItsTabCloses(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	begins, done := strings.Count(s.log.String(), "the change begins"), strings.Count(s.log.String(), "the change is done")
	conn := s.raw(t, "POST /api/probe/change HTTP/1.1\r\nHost: "+s.addr+"\r\n"+ann.cookie()+"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	eventually(t, "the change to begin", func() bool { return strings.Count(s.log.String(), "the change begins") == begins+1 })
	conn.Close()
	eventually(t, "the change to be done", func() bool { return strings.Count(s.log.String(), "the change is done") == done+1 })
	eventually(t, "its session to end", func() bool { return len(s.sessions.List(ann.user)) == 0 })
	// A logout ends it all the same.
	s.raw(t, "POST /api/probe/change HTTP/1.1\r\nHost: "+s.addr+"\r\n"+ann.cookie()+"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	eventually(t, "the change to begin", func() bool { return strings.Count(s.log.String(), "the change begins") == begins+2 })
	if r := s.sessions.EndUser(t.Context(), ann.user, host.ErrLoggedOut); r.Ended != 1 || r.Closed != 1 {
		t.Errorf("%+v", r)
	}
	if n := strings.Count(s.log.String(), "the change is done"); n != done+1 {
		t.Error("a change went on after a logout")
	}
}

// events reads an event stream; next returns the next event, "" at its end.
func events(t *testing.T, resp *http.Response) (next func() string) {
	t.Helper()
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		var event strings.Builder
		for lines.Scan() {
			if lines.Text() == "" && event.Len() > 0 {
				return event.String()
			}
			event.WriteString(lines.Text() + "\n")
		}
		return ""
	}
}

func (p *person) stream(path string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.s.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// The last event of a stream says why it ended, and that asking again is of no use
// unless the host restarts.
func TestTheLastEventSaysWhy(t *testing.T) {
	s := open(t)
	for cause, want := range map[error]string{
		host.ErrLoggedOut: "event: end\nretry: 2147483647\ndata: {\"code\":4401,\"reason\":\"logged out\"}\n",
		host.ErrNoLonger:  "event: end\nretry: 2147483647\ndata: {\"code\":4403,\"reason\":\"no longer permitted\"}\n",
		host.ErrIdle:      "event: end\nretry: 2147483647\ndata: {\"code\":4408,\"reason\":\"session was idle too long\"}\n",
		host.ErrEnded:     "event: end\nretry: 2147483647\ndata: {\"code\":4410,\"reason\":\"session ended by its owner\"}\n",
		host.ErrShutdown:  "event: end\ndata: {\"code\":1012,\"reason\":\"host is shutting down\"}\n",
	} {
		ann := s.as(t, "ann")
		resp := ann.stream("/api/probe/ticks")
		if h := resp.Header; resp.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", resp.StatusCode, h)
		}
		next := events(t, resp)
		if got := next(); got != "data: 0\n" {
			t.Fatalf("the first event is %q", got)
		}
		if r := s.sessions.EndUser(t.Context(), ann.user, cause); r.Ended != 1 || r.Closed != 1 {
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
	s := open(t)
	for cause, code := range map[*host.Error]int{
		host.ErrLoggedOut: 4401, host.ErrNoLonger: 4403, host.ErrTooLong: 4408, host.ErrEnded: 4410, host.ErrSwapped: 1012, host.ErrClientGone: 1001,
	} {
		ann := s.as(t, "ann")
		conn, got := ann.dial("/ws/probe")
		if conn == nil {
			t.Fatal(got)
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatal(err)
		}
		s.sessions.EndUser(t.Context(), ann.user, cause)
		wantClose(t, conn, code, cause.Message)
	}
}

// A page that cannot see an upgrade's refusal asks for a close code.
func TestARefusedSocketIsClosedWithACodeWhereAskedFor(t *testing.T) {
	s := open(t)
	nia, ann := s.as(t, "nia"), s.as(t, "ann")
	if conn, got := nia.dial("/ws/probe"); conn != nil || got.status != 403 {
		t.Errorf("%v", got)
	}
	conn, _ := nia.dial("/ws/probe?bulkhead-refusal=close", "any.protocol")
	if conn == nil || conn.Subprotocol() != "any.protocol" {
		t.Fatal("it is not opened")
	}
	wantClose(t, conn, 4403, "no_")
	conn, _ = ann.dial("/ws/nothing?bulkhead-refusal=close")
	wantClose(t, conn, 4404, "no such plugin")
	if conn, got := ann.dial("/ws/probe?bulkhead-refusal=other"); conn != nil || got.status != 400 {
		t.Errorf("%v", got)
	}
	// A foreign page learns nothing.
	d := websocket.Dialer{Jar: nia.http.Jar}
	_, resp, err := d.DialContext(t.Context(), "ws://"+s.addr+"/ws/probe?bulkhead-refusal=close", http.Header{"Origin": {"https://evil.example"}})
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("%v, %v", resp, err)
	}
}

// What policy obliges to and nothing here can do is refused, not ignored.
func TestObligationsThatCannotBeMetAreRefused(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	with := func(o host.Obligations) func(host.Decision) host.Decision {
		return func(d host.Decision) host.Decision {
			d.Obligations = o
			return d
		}
	}
	refused := func(name string, got answer) {
		t.Helper()
		if got.status != 403 || got.problem(t).Detail != "obligation_not_supported" {
			t.Errorf("%s: %v", name, got)
		}
	}
	s.oblige(t, with(host.Obligations{Record: host.RecordAll}))
	refused("a call that is recorded", ann.do("GET", "/api/probe/seen", ""))
	refused("events that are recorded", ann.do("GET", "/api/probe/ticks", ""))
	refused("administration that is recorded", ann.do("GET", "/api/admin/sessions", ""))
	s.oblige(t, with(host.Obligations{Redact: []string{"/a"}}))
	refused("events that are redacted", ann.do("GET", "/api/probe/ticks", ""))
	refused("administration that is redacted", ann.do("GET", "/api/admin/sessions", ""))
	if _, got := ann.dial("/ws/probe"); got.status != 403 {
		t.Errorf("a socket that is redacted: %v", got)
	}
	got := ann.do("GET", ask("200", `{"a":"secret","b":1}`, "Content-Type: application/json"), "")
	if got.status != 200 || strings.Contains(got.body, "secret") || !strings.Contains(got.body, `"b":1`) {
		t.Errorf("an answer that is redacted: %v", got)
	}
	got = ann.do("GET", ask("200", "no JSON, but a secret", "Content-Type: text/plain"), "")
	if got.status != 403 || got.problem(t).Detail != "not_redactable" {
		t.Errorf("an answer that cannot be redacted: %v", got)
	}
	s.oblige(t, with(host.Obligations{Namespaces: []string{"a"}}))
	refused("administration that is narrowed", ann.do("GET", "/api/admin/sessions", ""))
	s.oblige(t, with(host.Obligations{Idle: 50 * time.Millisecond}))
	conn, _ := ann.dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	wantClose(t, conn, 4408, "idle")
	s.oblige(t, with(host.Obligations{MaxSession: 50 * time.Millisecond}))
	conn, _ = ann.dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	wantClose(t, conn, 4408, "time limit")
}
