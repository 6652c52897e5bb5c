package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
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
	head := "Host: " + s.Addr + "\r\n" + ann.Cookie() + "Content-Type: application/json\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"a plugin's route":     {"POST /api/probe/take HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 408},
		"in chunks":            {"POST /api/probe/take HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 408},
		"a policy":             {"POST /api/admin/policies/diff HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 408},
		"a sign-in":            {"POST /auth/login HTTP/1.1\r\nHost: " + s.Addr + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 400},
		"a logout":             {"POST /auth/logout HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\n{", 400},
		"where none is read":   {"DELETE /auth/sessions HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 200},
		"without a login":      {"POST /api/probe/take HTTP/1.1\r\nHost: " + s.Addr + "\r\nContent-Length: 100\r\n\r\nhalf", 401},
		"where nothing is":     {"POST /nowhere HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 404},
		"of an ambiguous path": {"POST /api//take HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\nhalf", 400},
		"over the limit":       {"POST /api/probe/take HTTP/1.1\r\n" + head + "Content-Length: 100000000\r\n\r\nhalf", 413},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a refusal waits for the client
			conn := s.Raw(t, c.request)
			got := surfacetest.Read(t, conn, "POST")
			if got.Status != c.status {
				t.Errorf("%v, want %d", got, c.status)
			}
			if got.Status >= 400 {
				got.Problem(t)
			}
			if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection stays: %d, %v", n, err)
			}
		})
	}
}

// Origin: logout cut what a session writes and not what it reads, so that an
// upload went on, and the one who ended it waited in vain.
func TestALogoutEndsAnUpload(t *testing.T) {
	s := open(t)
	for _, path := range []string{"/api/probe/take", "/api/probe/change", "/api/admin/policies/diff"} {
		ann := s.as(t, "ann")
		conn := s.Raw(t, "POST "+path+" HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+
			"Content-Type: application/json\r\nContent-Length: 100\r\n\r\nhalf")
		surfacetest.Eventually(t, "the upload", func() bool { return len(s.Sessions.List(ann.User)) == 1 })
		result := s.End(t, ann.User, host.ErrLoggedOut)
		if result.Ended != 1 || result.Closed != 1 {
			t.Errorf("%s: %+v", path, result)
		}
		if got := surfacetest.Read(t, conn, "POST"); got.Status != 401 || got.Problem(t).Error != "logged out" {
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
	conn := s.Raw(t, "")
	for range 3 {
		_, err := io.WriteString(conn, "POST /api/probe/take?ms=150 HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+
			"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		if err != nil {
			t.Fatal(err)
		}
		if got := surfacetest.Read(t, conn, "POST"); got.Status != 200 {
			t.Fatalf("%v", got)
		}
	}
}

// Origin: curl -I, and the probes of load balancers, got 401 or 405.
func TestHEADIsGETWithoutTheBody(t *testing.T) {
	s := open(t)
	ann, anonymous := s.as(t, "ann"), s.as(t, "")
	for _, path := range []string{"/healthz", "/readyz", "/health", "/login"} {
		get, head := anonymous.Do("GET", path, ""), anonymous.Do("HEAD", path, "")
		if get.Status != 200 || head.Status != 200 || head.Body != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: %v and %v", path, get, head)
		}
	}
	for path, status := range map[string]int{
		"/auth/me": 200, "/auth/routes": 200, "/auth/sessions": 200, "/api/admin/sessions": 200, "/api/admin/policies": 200, "/api/admin/directory": 200,
		"/api/probe/answer?status=200&body=hello": 200, "/api/probe/items/7?status=404&body=hello": 404, "/api/probe/nothing": 404, "/ws/probe": 426, "/nowhere": 404,
		"/api/probe/seen": 200,
	} {
		get, head := ann.Do("GET", path, ""), ann.Do("HEAD", path, "")
		if get.Status != status || head.Status != status || head.Body != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: %v and %v", path, get, head)
		}
	}
	get, head := ann.Do("GET", "/api/probe/answer?status=200&body=hello", ""), ann.Do("HEAD", "/api/probe/answer?status=200&body=hello", "")
	if get.Header.Get("Content-Length") != "5" || head.Header.Get("Content-Length") != "5" {
		t.Errorf("lengths %v and %v", get.Header, head.Header)
	}
	if got := ann.Do("HEAD", "/api/probe/ticks", ""); got.Status != 200 || got.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("an event stream: %v", got)
	}
	surfacetest.Eventually(t, "nothing to run any more", func() bool { return len(s.Sessions.List(ann.User)) == 0 })
	if got := s.as(t, "nia").Do("HEAD", "/api/probe/ticks", ""); got.Status != 403 {
		t.Errorf("an event stream, without rights: %v", got)
	}
	if got := anonymous.Do("HEAD", "/auth/me", ""); got.Status != 401 {
		t.Errorf("without a login: %v", got)
	}
	if list, err := s.Gateway.Surface(); err != nil || len(list) == 0 {
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
		got := ann.Do("PATCH", path, "{}")
		if got.Status != 405 || got.Header.Get("Allow") != allow || !strings.Contains(got.Problem(t).Detail, allow) {
			t.Errorf("%s: %v, want Allow: %s", path, got, allow)
		}
	}
	if got := ann.Do("OPTIONS", "/api/probe/take", ""); got.Status != 405 || got.Header.Get("Allow") != "POST" {
		t.Errorf("OPTIONS: %v", got)
	}
	for _, path := range []string{"/api/admin/policies/diff", "/api/admin/sessions"} {
		if got := s.as(t, "vic").Do("PATCH", path, "{}"); got.Status != 403 || got.Header.Get("Allow") != "" {
			t.Errorf("%s, without rights: %v", path, got)
		}
	}
	if got := s.as(t, "nia").Do("PATCH", "/api/probe/answer", "{}"); got.Status != 403 || got.Header.Get("Allow") != "" {
		t.Errorf("without rights: %v", got)
	}
	if got := s.as(t, "").Do("PATCH", "/auth/me", "{}"); got.Status != 401 || got.Header.Get("Allow") != "" {
		t.Errorf("without a login: %v", got)
	}
}

// What net/http would refuse by itself, in text of its own, the gateway refuses
// first where it can.
func TestRefusalsOfTheProtocolHaveTheOneShape(t *testing.T) {
	s := open(t)
	for request, status := range map[string]int{
		"GET /healthz HTTP/1.1\r\nHost: " + s.Addr + "\r\nX-Big: " + strings.Repeat("x", gateway.MaxHeader) + "\r\n\r\n": 431,
		"GET /healthz?" + strings.Repeat("x", gateway.MaxURL) + " HTTP/1.1\r\nHost: " + s.Addr + "\r\n\r\n":              414,
		"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                                            400,
	} {
		got := surfacetest.Read(t, s.Raw(t, request), "GET")
		if got.Status != status {
			t.Errorf("%.40q: %v, want %d", request, got, status)
		}
		got.Problem(t)
	}
}

// A body whose length is not known is bounded as it arrives.
func TestABodyIsBounded(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for path, limit := range map[string]int{"/api/probe/take": 8 << 20, "/api/admin/policies/diff": 4 << 20} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+path, io.LimitReader(zeros{}, int64(limit)+1))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := ann.HTTP.Do(req)
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
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn := s.Raw(t, "POST "+path+" HTTP/1.1\r\nHost: "+s.Addr+"\r\nContent-Length: 100\r\n\r\nhalf")
			if got := surfacetest.Read(t, conn, "POST"); got.Status != 401 && got.Status != 400 {
				t.Errorf("%v", got)
			}
		})
	}
}
