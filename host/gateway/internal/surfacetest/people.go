package surfacetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// Person is a user with a browser.
type Person struct {
	t    *testing.T
	url  string
	User host.UserID
	HTTP *http.Client
}

// Anonymous returns a user who is not signed in.
func (s *Surface) Anonymous(t *testing.T) *Person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &Person{t: t, url: s.URL, HTTP: &http.Client{
		Jar: jar, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(p.HTTP.CloseIdleConnections)
	return p
}

// As returns a user who is signed in by SignIn: ann@example.com for "ann" and for
// "ann.2", which is another login.
func (s *Surface) As(t *testing.T, login string) *Person {
	t.Helper()
	p := s.Anonymous(t)
	p.User = principal(login).User
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.HTTP.Jar.SetCookies(u, []*http.Cookie{{Name: cookieName, Value: login}})
	return p
}

// Answer is an answer that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a Answer) String() string { return fmt.Sprintf("%d %v %s", a.Status, a.Header, a.Body) }

// Problem is the answer's error, which has to have the shape of all errors.
func (a Answer) Problem(t *testing.T) gateway.ErrorBody {
	t.Helper()
	var e gateway.ErrorBody
	d := json.NewDecoder(strings.NewReader(a.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || e.Error == "" || e.RequestID == "" || e.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("%v is no error of the host: %v", a, err)
	}
	return e
}

// Do sends a request; header are lines "Name: value".
func (p *Person) Do(method, path, body string, header ...string) Answer {
	p.t.Helper()
	if body != "" {
		header = append(header, "Content-Type: application/json")
	}
	return p.Send(method, path, strings.NewReader(body), header...)
}

// Send sends a request with a body of any reader.
func (p *Person) Send(method, path string, body io.Reader, header ...string) Answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// Cookie is the header line that signs p in.
func (p *Person) Cookie() string {
	u, _ := url.Parse(p.url)
	var all []string
	for _, c := range p.HTTP.Jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return "Cookie: " + strings.Join(all, "; ") + "\r\n"
}

// Raw sends bytes on a connection of their own.
func (s *Surface) Raw(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	// A bound on the test, should nothing come.
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// Read reads one answer.
func Read(t *testing.T, conn net.Conn, method string) Answer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// Dial opens a websocket; got is the refusal when there is none.
func (p *Person) Dial(path string, protocols ...string) (conn *websocket.Conn, got Answer) {
	p.t.Helper()
	d := websocket.Dialer{Jar: p.HTTP.Jar, Subprotocols: protocols}
	conn, resp, err := d.DialContext(p.t.Context(), strings.Replace(p.url, "http", "ws", 1)+path, nil)
	if err == nil {
		p.t.Cleanup(func() { conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // a bound on the test
		return conn, Answer{Status: resp.StatusCode, Header: resp.Header}
	}
	if resp == nil {
		p.t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	return nil, Answer{resp.StatusCode, resp.Header, string(text)}
}

// WantClose reads until the socket is closed.
func WantClose(t *testing.T, conn *websocket.Conn, code int, reason string) {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue
		}
		if ce, ok := err.(*websocket.CloseError); !ok || ce.Code != code || !strings.Contains(ce.Text, reason) {
			t.Errorf("closed with %v, want %d %q", err, code, reason)
		}
		return
	}
}

// Eventually polls for what another goroutine does.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}

// Events reads an event stream; next returns the next event, "" at its end.
func Events(t *testing.T, resp *http.Response) (next func() string) {
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

// Stream begins to read an answer.
func (p *Person) Stream(path string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	return resp
}
