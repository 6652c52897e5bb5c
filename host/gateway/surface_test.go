package gateway_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// bodyWithin has bodies time out soon.
func bodyWithin(t *testing.T, s *surface, d time.Duration) {
	before := s.SetBodyTimeout(d)
	t.Cleanup(func() { s.SetBodyTimeout(before) })
}

// Origin: after half a body and silence the deadline was cleared, so net/http
// waited for the rest for ever: no answer came, and the connection stayed.
func TestHalfABodyIsAnsweredAndItsConnectionEnds(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	bodyWithin(t, s, 50*time.Millisecond)
	head := "Host: " + s.addr + "\r\n" + ann.cookie() + "Content-Type: application/json\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"a plugin's route":     {"POST /api/probe/take HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 408},
		"in chunks":            {"POST /api/probe/take HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 408},
		"a policy":             {"POST /api/admin/policies/diff HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 408},
		"a sign-in":            {"POST /auth/login HTTP/1.1\r\nHost: " + s.addr + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 400},
		"a logout":             {"POST /auth/logout HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\n{", 400},
		"where none is read":   {"DELETE /auth/sessions HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 200},
		"without a login":      {"POST /api/probe/take HTTP/1.1\r\nHost: " + s.addr + "\r\nContent-Length: 100\r\n\r\nhalf", 401},
		"where nothing is":     {"POST /nowhere HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 404},
		"of an ambiguous path": {"POST /api//take HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 400},
		"over the limit":       {"POST /api/probe/take HTTP/1.1\r\n" + head + "Content-Length: 100000000\r\n\r\nhalf", 413},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.raw(t, c.request)
			got := read(t, conn, "POST")
			if got.status != c.status {
				t.Errorf("%v, want %d", got, c.status)
			}
			if got.status >= 400 {
				got.problem(t)
			}
			if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection stays: %d, %v", n, err)
			}
		})
	}
}

// Origin: logout cut what a session writes and not what it reads, so that an
// upload went on, and whoever ended it waited in vain.
func TestALogoutEndsAnUpload(t *testing.T) {
	s := open(t)
	for _, path := range []string{"/api/probe/take", "/api/probe/change", "/api/admin/policies/diff"} {
		ann := s.as(t, "ann")
		conn := s.raw(t, "POST "+path+" HTTP/1.1\r\nHost: "+s.addr+"\r\n"+ann.cookie()+
			"Content-Type: application/json\r\nContent-Length: 100\r\n\r\nhalf")
		eventually(t, "the upload", func() bool { return len(s.sessions.List(ann.user)) == 1 })
		result := s.sessions.EndUser(t.Context(), ann.user, host.ErrLoggedOut)
		if result.Ended != 1 || result.Closed != 1 {
			t.Errorf("%s: %+v", path, result)
		}
		if got := read(t, conn, "POST"); got.status != 401 || got.problem(t).Error != "logged out" {
			t.Errorf("%s: %v", path, got)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the connection stays: %v", path, err)
		}
	}
}

// A whole body leaves the connection as it was: the next request on it may take
// its time, and so may what the plugin does.
func TestAfterAWholeBodyTheConnectionGoesOn(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	bodyWithin(t, s, 50*time.Millisecond)
	conn := s.raw(t, "")
	for range 3 {
		_, err := io.WriteString(conn, "POST /api/probe/take?ms=150 HTTP/1.1\r\nHost: "+s.addr+"\r\n"+ann.cookie()+
			"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, conn, "POST"); got.status != 200 {
			t.Fatalf("%v", got)
		}
	}
}

// Origin: curl -I, and the probes of load balancers, got 401 or 405.
func TestHEADIsGETWithoutTheBody(t *testing.T) {
	s := open(t)
	ann, nobody := s.as(t, "ann"), s.as(t, "")
	for _, path := range []string{"/healthz", "/readyz", "/health", "/login"} {
		get, head := nobody.do("GET", path, ""), nobody.do("HEAD", path, "")
		if get.status != 200 || head.status != 200 || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("%s: %v and %v", path, get, head)
		}
	}
	for path, status := range map[string]int{
		"/auth/me": 200, "/auth/routes": 200, "/auth/sessions": 200, "/api/admin/sessions": 200, "/api/admin/policies": 200, "/api/admin/directory": 200,
		"/api/probe/answer?status=200&body=hello": 200, "/api/probe/items/7?status=404&body=hello": 404, "/api/probe/nothing": 404, "/ws/probe": 426, "/nowhere": 404,
		"/api/probe/seen": 200,
	} {
		get, head := ann.do("GET", path, ""), ann.do("HEAD", path, "")
		if get.status != status || head.status != status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("%s: %v and %v", path, get, head)
		}
	}
	get, head := ann.do("GET", "/api/probe/answer?status=200&body=hello", ""), ann.do("HEAD", "/api/probe/answer?status=200&body=hello", "")
	if get.header.Get("Content-Length") != "5" || head.header.Get("Content-Length") != "5" {
		t.Errorf("lengths %v and %v", get.header, head.header)
	}
	if got := ann.do("HEAD", "/api/probe/ticks", ""); got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("an event stream: %v", got)
	}
	eventually(t, "nothing to run any more", func() bool { return len(s.sessions.List(ann.user)) == 0 })
	if got := s.as(t, "nia").do("HEAD", "/api/probe/ticks", ""); got.status != 403 {
		t.Errorf("an event stream, without rights: %v", got)
	}
	if got := nobody.do("HEAD", "/auth/me", ""); got.status != 401 {
		t.Errorf("without a login: %v", got)
	}
	if list, err := s.Surface(); err != nil || len(list) == 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestAWrongMethodNamesTheRightOnes(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for path, allow := range map[string]string{
		"/healthz": "GET, HEAD", "/auth/login": "GET, HEAD, POST", "/auth/logout": "POST", "/auth/sessions": "DELETE, GET, HEAD", "/auth/sessions/x": "DELETE",
		"/api/admin/policies/diff": "POST", "/api/probe/answer": "GET, HEAD", "/api/probe/take": "POST", "/api/probe/items/7": "GET, HEAD, PUT", "/ws/probe": "GET, HEAD",
	} {
		got := ann.do("PATCH", path, "{}")
		if got.status != 405 || got.header.Get("Allow") != allow || !strings.Contains(got.problem(t).Detail, allow) {
			t.Errorf("%s: %v, want Allow: %s", path, got, allow)
		}
	}
	if got := ann.do("OPTIONS", "/api/probe/take", ""); got.status != 405 || got.header.Get("Allow") != "POST" {
		t.Errorf("OPTIONS: %v", got)
	}
	for _, path := range []string{"/api/admin/policies/diff", "/api/admin/sessions"} {
		if got := s.as(t, "vic").do("PATCH", path, "{}"); got.status != 403 || got.header.Get("Allow") != "" {
			t.Errorf("%s, without rights: %v", path, got)
		}
	}
	if got := s.as(t, "nia").do("PATCH", "/api/probe/answer", "{}"); got.status != 403 || got.header.Get("Allow") != "" {
		t.Errorf("without rights: %v", got)
	}
	if got := s.as(t, "").do("PATCH", "/auth/me", "{}"); got.status != 401 || got.header.Get("Allow") != "" {
		t.Errorf("without a login: %v", got)
	}
}

func ask(status, body string, headers ...string) string {
	q := url.Values{"status": {status}, "body": {body}, "header": headers}
	return "/api/probe/answer?" + q.Encode()
}

// Origin: net/http refuses to write such a body, and the connection was cut.
func TestAStatusWithoutABodyIsSentWithoutIt(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for _, status := range []string{"204", "205", "304"} {
		got := ann.do("GET", ask(status, "too much", "Etag: \"7\""), "")
		if got.body != "" || got.header.Get("Etag") != `"7"` || http.StatusText(got.status) == "" || got.status/100 == 5 {
			t.Errorf("%s: %v", status, got)
		}
	}
	if got := ann.do("GET", ask("101", ""), ""); got.status/100 != 5 {
		t.Errorf("an interim status: %v", got)
	}
	if n := strings.Count(s.log.String(), "has no body; what the plugin gave is left out"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// Origin: a redirect arrived without its Location, and neither log nor manual
// said so.
func TestWhatAPluginsHeadersMayDo(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	got := ann.do("GET", ask("302", "", "Location: /api/probe/seen", "X-Total-Count: 7", `Link: <?page=2>; rel="next"`, `Link: <?page=9>; rel="last"`, "Retry-After: 3"), "")
	if h := got.header; got.status != 302 || h.Get("Location") != "/api/probe/seen" || h.Get("X-Total-Count") != "7" || len(h["Link"]) != 2 || h.Get("Retry-After") != "3" {
		t.Errorf("%v", got)
	}
	got = ann.do("GET", ask("302", "", "Location: https://evil.example/"), "")
	if got.status != 502 || got.header.Get("Location") != "" || got.problem(t).Detail != "it redirects to another host" {
		t.Errorf("%v", got)
	}
	got = ann.do("GET", "/api/probe/items/7?"+strings.TrimPrefix(ask("200", "<script>", "Content-Type: text/html", "Set-Cookie: bulkhead=x", "Content-Security-Policy: default-src *",
		"Cache-Control: public", "X-Content-Type-Options: no", "Access-Control-Allow-Origin: *", "Link: <https://evil.example>; rel=preconnect", "X-Request-Id: forged"), "/api/probe/answer?"), "")
	for name, want := range map[string]string{
		// The content is the plugin's: it must not run as the console's.
		"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Link": "", "Content-Type": "text/html",
	} {
		if got.header.Get(name) != want || len(got.header.Values(name)) > 1 {
			t.Errorf("%s is %q, want %q", name, got.header.Values(name), want)
		}
	}
	if got.header.Get("X-Request-Id") == "forged" {
		t.Error("a plugin chose the request's id")
	}
	if n := strings.Count(s.log.String(), `route=item-get problem="header`); n != 1 {
		t.Errorf("what was left out of one route is logged %d times", n)
	}
}

func TestAPluginSeesTheHeadersThatAreListedAndNoOthers(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
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
	got := ann.do("GET", "/api/probe/seen?"+q.Encode(), "", header...)
	for _, name := range seen {
		want := name + ": one\n"
		if name == "Accept" {
			want = name + ": one, two\n"
		}
		if !strings.Contains(got.body, want) {
			t.Errorf("%s: a plugin does not see it: %s", name, got.body)
		}
	}
	for _, name := range hidden {
		if !strings.Contains(got.body, name+": \n") {
			t.Errorf("%s: a plugin sees it: %s", name, got.body)
		}
	}
}

func TestTextThatIsNotUTF8ClosesTheSocket(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	conn, got := ann.dial("/ws/probe")
	if conn == nil {
		t.Fatal(got)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("a\xffb")); err != nil {
		t.Fatal(err)
	}
	wantClose(t, conn, 1007, "UTF-8")
	conn, _ = ann.dial("/ws/probe")
	for kind, text := range map[int]string{websocket.BinaryMessage: "a\xffb", websocket.TextMessage: "größer"} {
		if err := conn.WriteMessage(kind, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if k, data, err := conn.ReadMessage(); k != kind || string(data) != text || err != nil {
			t.Errorf("%d %q, %v", k, data, err)
		}
	}
	// A plugin cannot make the client's end break off either.
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`raw "\xff"`)); err != nil {
		t.Fatal(err)
	}
	if k, data, err := conn.ReadMessage(); k != websocket.TextMessage || !strings.HasPrefix(string(data), "refused: ") || err != nil {
		t.Errorf("%d %q, %v", k, data, err)
	}
}

// Origin: the plugin's end followed and the socket closed with 1000, complete.
func TestAClientThatIsGoneIsNotToldThatAllIsComplete(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	conn, _ := ann.dial("/ws/probe")
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
	wantClose(t, conn, 1001, "client went away")
	conn, _ = ann.dial("/ws/probe")
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	wantClose(t, conn, 1000, "")
}

// What net/http would refuse by itself, in text of its own, the gateway refuses
// first where it can.
func TestRefusalsOfTheProtocolHaveTheOneShape(t *testing.T) {
	s := open(t)
	for request, status := range map[string]int{
		"GET /healthz HTTP/1.1\r\nHost: " + s.addr + "\r\nX-Big: " + strings.Repeat("x", gateway.MaxHeader) + "\r\n\r\n": 431,
		"GET /healthz?" + strings.Repeat("x", gateway.MaxURL) + " HTTP/1.1\r\nHost: " + s.addr + "\r\n\r\n":              414,
		"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                                            400,
	} {
		got := read(t, s.raw(t, request), "GET")
		if got.status != status {
			t.Errorf("%.40q: %v, want %d", request, got, status)
		}
		got.problem(t)
	}
}

// A body whose length is not known is bounded as it arrives.
func TestABodyIsBounded(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for path, limit := range map[string]int{"/api/probe/take": 8 << 20, "/api/admin/policies/diff": 4 << 20} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, io.LimitReader(zeros{}, int64(limit)+1))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := ann.http.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
		if req.ContentLength > 0 || resp.StatusCode != 413 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A refusal is answered at once, also where a body was announced that nothing reads:
// here the server would wait 30 s for it, and the test does not.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	s := open(t)
	for _, path := range []string{"/api/probe/take", "/nowhere", "/api//take"} {
		conn := s.raw(t, "POST "+path+" HTTP/1.1\r\nHost: "+s.addr+"\r\nContent-Length: 100\r\n\r\nhalf")
		if got := read(t, conn, "POST"); got.status != 401 && got.status != 400 {
			t.Errorf("%s: %v", path, got)
		}
	}
}
