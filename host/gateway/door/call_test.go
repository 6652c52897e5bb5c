package door_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
)

// Origin: net/http refuses to write such a body, and the connection was cut.
func TestAStatusWithoutABodyIsSentWithoutIt(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	for _, status := range []string{"204", "205", "304"} {
		got := ann.Do("GET", ask(status, "too much", "Etag: \"7\""), "")
		if got.Body != "" || got.Header.Get("Etag") != `"7"` || http.StatusText(got.Status) == "" || got.Status/100 == 5 {
			t.Errorf("%s: %v", status, got)
		}
	}
	if got := ann.Do("GET", ask("101", ""), ""); got.Status/100 != 5 {
		t.Errorf("an interim status: %v", got)
	}
	if n := strings.Count(s.Log.String(), "must have no body; the plugin's body was dropped"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// Origin: a redirect arrived without its Location, and neither log nor manual
// said so.
func TestWhatAPluginsHeadersMayDo(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	got := ann.Do("GET", ask("302", "", "Location: /api/probe/seen", "X-Total-Count: 7", `Link: <?page=2>; rel="next"`, `Link: <?page=9>; rel="last"`, "Retry-After: 3"), "")
	if h := got.Header; got.Status != 302 || h.Get("Location") != "/api/probe/seen" || h.Get("X-Total-Count") != "7" || len(h["Link"]) != 2 || h.Get("Retry-After") != "3" {
		t.Errorf("%v", got)
	}
	got = ann.Do("GET", ask("302", "", "Location: https://evil.example/"), "")
	if got.Status != 502 || got.Header.Get("Location") != "" || got.Problem(t).Detail != "it redirects to another host" {
		t.Errorf("%v", got)
	}
	got = ann.Do("GET", "/api/probe/items/7?"+strings.TrimPrefix(ask("200", "<script>", "Content-Type: text/html", "Set-Cookie: bulkhead=x", "Content-Security-Policy: default-src *",
		"Cache-Control: public", "X-Content-Type-Options: no", "Access-Control-Allow-Origin: *", "Link: <https://evil.example>; rel=preconnect", "X-Request-Id: forged"), "/api/probe/answer?"), "")
	for name, want := range map[string]string{
		// The content is the plugin's: it must not run as the console's.
		"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Link": "", "Content-Type": "text/html",
	} {
		if got.Header.Get(name) != want || len(got.Header.Values(name)) > 1 {
			t.Errorf("%s is %q, want %q", name, got.Header.Values(name), want)
		}
	}
	if got.Header.Get("X-Request-Id") == "forged" {
		t.Error("a plugin chose the request's id")
	}
	if n := strings.Count(s.Log.String(), `route=item-get problem="header`); n != 1 {
		t.Errorf("what was left out of one route is logged %d times", n)
	}
}

func TestAPluginSeesTheHeadersThatAreListedAndNoOthers(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	seen := []string{"Accept", "If-Modified-Since", "If-None-Match", "Range", "Prefer", "Idempotency-Key", "Last-Event-ID"}
	hidden := []string{"Cookie", "Authorization", "X-Forwarded-For", "X-Auth-Request-Email", "Origin", "X-Bulkhead-Reason", "User-Agent", "Connection", "X-Requested-With"}
	var header []string
	q := url.Values{}
	for _, name := range append(seen, hidden...) {
		if name != "Cookie" && name != "Origin" && name != "X-Bulkhead-Reason" && name != "Authorization" && name != "Connection" {
			header = append(header, name+": one")
		}
		q.Add("name", name)
	}
	header = append(header, "Accept: two", "X-Bulkhead-Reason: because")
	got := ann.Do("GET", "/api/probe/seen?"+q.Encode(), "", header...)
	for _, name := range seen {
		want := name + ": one\n"
		if name == "Accept" {
			want = name + ": one, two\n"
		}
		if !strings.Contains(got.Body, want) {
			t.Errorf("%s: a plugin does not see it: %s", name, got.Body)
		}
	}
	for _, name := range hidden {
		if !strings.Contains(got.Body, name+": \n") {
			t.Errorf("%s: a plugin sees it: %s", name, got.Body)
		}
	}
}

// A change that has begun is finished when its tab is closed; a question is not.
func TestAChangeGoesOnWhenItsTabCloses(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	begins, done := strings.Count(s.Log.String(), "the change begins"), strings.Count(s.Log.String(), "the change is done")
	conn := s.Raw(t, "POST /api/probe/change HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	surfacetest.Eventually(t, "the change to begin", func() bool { return strings.Count(s.Log.String(), "the change begins") == begins+1 })
	conn.Close()
	surfacetest.Eventually(t, "the change to be done", func() bool { return strings.Count(s.Log.String(), "the change is done") == done+1 })
	surfacetest.Eventually(t, "its session to end", func() bool { return len(s.Sessions.List(ann.User)) == 0 })
	// A logout ends it all the same.
	s.Raw(t, "POST /api/probe/change HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	surfacetest.Eventually(t, "the change to begin", func() bool { return strings.Count(s.Log.String(), "the change begins") == begins+2 })
	if r := s.End(t, ann.User, host.ErrLoggedOut); r.Ended != 1 || r.Closed != 1 {
		t.Errorf("%+v", r)
	}
	if n := strings.Count(s.Log.String(), "the change is done"); n != done+1 {
		t.Error("a change went on after a logout")
	}
}

// What policy obliges to and nothing here can do is refused, not ignored.
func TestObligationsThatCannotBeMetAreRefused(t *testing.T) {
	s, policy := open(t)
	ann := s.As(t, "ann")
	refused := func(name string, got surfacetest.Answer) {
		t.Helper()
		if got.Status != 403 || got.Problem(t).Detail != "obligation_not_supported" {
			t.Errorf("%s: %v", name, got)
		}
	}
	policy.Obliges(t, host.Obligations{Record: host.RecordAll})
	refused("a call that is recorded", ann.Do("GET", "/api/probe/seen", ""))
	refused("events that are recorded", ann.Do("GET", "/api/probe/ticks", ""))
	policy.Obliges(t, host.Obligations{Redact: []string{"/a"}})
	refused("events that are redacted", ann.Do("GET", "/api/probe/ticks", ""))
	if _, got := ann.Dial("/ws/probe"); got.Status != 403 {
		t.Errorf("a socket that is redacted: %v", got)
	}
	got := ann.Do("GET", ask("200", `{"a":"secret","b":1}`, "Content-Type: application/json"), "")
	if got.Status != 200 || strings.Contains(got.Body, "secret") || !strings.Contains(got.Body, `"b":1`) {
		t.Errorf("an answer that is redacted: %v", got)
	}
	got = ann.Do("GET", ask("200", "no JSON, but a secret", "Content-Type: text/plain"), "")
	if got.Status != 403 || got.Problem(t).Detail != "not_redactable" {
		t.Errorf("an answer that cannot be redacted: %v", got)
	}
	policy.Obliges(t, host.Obligations{Idle: 50 * time.Millisecond})
	conn, _ := ann.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, 4408, "idle")
	policy.Obliges(t, host.Obligations{MaxSession: 50 * time.Millisecond})
	conn, _ = ann.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	surfacetest.WantClose(t, conn, 4408, "time limit")
}

func ask(status, body string, headers ...string) string {
	q := url.Values{"status": {status}, "body": {body}, "header": headers}
	return "/api/probe/answer?" + q.Encode()
}
