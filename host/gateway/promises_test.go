package gateway_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

// bare is a gateway with one public route and nothing behind it.
func bare(t *testing.T, log io.Writer, handle gateway.Handler) *gateway.Gateway {
	t.Helper()
	g := gateway.New(gateway.Config{PublicURL: &url.URL{}, Authn: &authn.Service{}, Health: surfacetest.Healthy, Logger: slog.New(slog.NewTextHandler(log, nil))})
	g.Mount(gateway.Route{Method: "GET", Path: "/", Access: gateway.Always, Action: "host:health.read", Handle: handle})
	return g
}

// A panic of a handler is one request's: it is answered, logged with its stack under
// the request's id, and its text stays with the operator.
func TestAPanicIsOneRequests(t *testing.T) {
	log := &logtest.Log{}
	g := bare(t, log, func(http.ResponseWriter, *http.Request) error { panic("the secret is 42") })
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	got := surfacetest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.String()}
	if got.Status != 500 || strings.Contains(got.Body, "secret") || got.Problem(t).Error != "internal error" {
		t.Errorf("%v", got)
	}
	if text := log.String(); !strings.Contains(text, "the secret is 42") || !strings.Contains(text, "promises_test.go") || !strings.Contains(text, got.Header.Get("X-Request-Id")) {
		t.Errorf("the log says %s", text)
	}
}

// What fails after the answer has begun cuts it, so that it is not taken for whole.
func TestAnAnswerThatBreaksOffIsCut(t *testing.T) {
	g := bare(t, io.Discard, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "half")
		return errors.New("it breaks off")
	})
	srv := httptest.NewServer(g)
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer reads like a whole one")
	}
}

// What is no error for people is internal: logged, and told as that alone.
func TestAnErrorOfNoKindStaysWithTheOperator(t *testing.T) {
	for _, err := range []error{
		errors.New("dial 10.0.0.7: refused"),
		&host.Error{Kind: host.Internal, Message: "dial 10.0.0.7: refused"},
		&host.Error{Kind: host.Internal, Err: errors.New("dial 10.0.0.7: refused")},
	} {
		g := bare(t, io.Discard, func(http.ResponseWriter, *http.Request) error { return err })
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 500 || strings.Contains(w.Body.String(), "10.0.0.7") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

// A deadline that one answer left on a connection does not cut the next one, not
// even if that is a refusal.
func TestADeadlineIsOfOneAnswer(t *testing.T) {
	s := open(t)
	conn := s.Raw(t, "")
	for _, path := range []string{"/healthz", "/api//x", "/healthz"} {
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+s.Addr+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		surfacetest.Read(t, conn, "GET")
	}
	var cleared []time.Time
	w := &deadlines{ResponseRecorder: httptest.NewRecorder(), write: &cleared}
	s.ServeHTTP(w, httptest.NewRequest("GET", "http://"+s.Addr+"/api//x", nil))
	if len(cleared) < 2 || !cleared[0].IsZero() || time.Until(cleared[1]) < gateway.WriteAnswerTimeout/2 {
		t.Errorf("write deadlines of a refusal: %v", cleared)
	}
}

// deadlines records the write deadlines of an answer.
type deadlines struct {
	*httptest.ResponseRecorder
	write *[]time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { *d.write = append(*d.write, t); return nil }
func (d *deadlines) SetReadDeadline(time.Time) error    { return nil }

// A page of another site can neither change anything with a person's cookie, nor
// open a socket, nor state a reason.
func TestForeignPagesActForNobody(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for _, foreign := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"} {
		if got := ann.Do("POST", "/api/probe/take", "{}", foreign); got.Status != 403 {
			t.Errorf("%s: a change: %v", foreign, got)
		}
		if got := ann.Do("GET", "/api/probe/seen", "", foreign); got.Status != 200 {
			t.Errorf("%s: a link: %v", foreign, got)
		}
		if got := ann.Do("GET", "/api/probe/seen?bulkhead-reason=because", "", foreign); got.Status != 403 {
			t.Errorf("%s: a link with a reason: %v", foreign, got)
		}
		if got := ann.Do("GET", "/api/admin/sessions?bulkhead-reason=because", "", foreign); got.Status != 403 {
			t.Errorf("%s: an administrative link with a reason: %v", foreign, got)
		}
		if got := ann.Do("POST", "/auth/logout", "{}", foreign); got.Status != 403 {
			t.Errorf("%s: a logout: %v", foreign, got)
		}
		name, value, _ := strings.Cut(foreign, ": ")
		d := websocket.Dialer{Jar: ann.HTTP.Jar}
		if _, resp, err := d.DialContext(t.Context(), "ws://"+s.Addr+"/ws/probe", http.Header{name: {value}}); err == nil || resp == nil || resp.StatusCode != 403 {
			t.Errorf("%s: a socket: %v", foreign, resp)
		}
	}
	if got := ann.Send("POST", "/api/probe/take", strings.NewReader("a=b"), "Content-Type: application/x-www-form-urlencoded"); got.Status != 403 {
		t.Errorf("a form: %v", got)
	}
	if got := ann.Do("GET", "/api/probe/seen?bulkhead-reason=because", ""); got.Status != 200 {
		t.Errorf("a reason of one's own: %v", got)
	}
}

// A signed-out user learns nothing, and a user without rights learns as little.
func TestWhatExistsIsForThoseWhoMay(t *testing.T) {
	s := open(t)
	anonymous, nia, ann := s.as(t, ""), s.as(t, "nia"), s.as(t, "ann")
	for _, path := range []string{"/api/probe/seen", "/api/probe/nothing", "/api/nothing/x", "/api/admin/sessions", "/api/admin/nothing"} {
		if got := anonymous.Do("GET", path, ""); got.Status != 401 {
			t.Errorf("signed out, %s: %v", path, got)
		}
		if got := nia.Do("GET", path, ""); got.Status != 403 {
			t.Errorf("without rights, %s: %v", path, got)
		}
	}
	for path, status := range map[string]int{"/api/probe/nothing": 404, "/api/nothing/x": 404, "/api/admin/nothing": 404, "/ws/probe": 426} {
		if got := ann.Do("GET", path, ""); got.Status != status {
			t.Errorf("%s: %v", path, got)
		}
	}
	// The other door is named to those who may use what is behind it.
	if got := ann.Do("GET", "/api/probe", ""); got.Status != 404 || !strings.Contains(got.Problem(t).Error, "GET /ws/probe") {
		t.Errorf("%v", got)
	}
	if got := nia.Do("GET", "/api/probe", ""); got.Status != 403 {
		t.Errorf("%v", got)
	}
}

// A person sees and ends what they have running; another's is absent to them.
func TestOnesOwnSessions(t *testing.T) {
	s := open(t)
	ann, vic := s.as(t, "ann"), s.as(t, "vic")
	conn, _ := ann.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	var id string
	for _, v := range s.Sessions.List(ann.User) {
		id = v.ID
	}
	if got := vic.Do("GET", "/auth/sessions", ""); strings.Contains(got.Body, id) {
		t.Errorf("another sees it: %v", got)
	}
	if got := vic.Do("DELETE", "/auth/sessions/"+id, "{}"); got.Status != 404 {
		t.Errorf("another ends it: %v", got)
	}
	if got := vic.Do("GET", "/api/admin/sessions", ""); got.Status != 403 {
		t.Errorf("a viewer sees all: %v", got)
	}
	if got := ann.Do("GET", "/auth/sessions", ""); !strings.Contains(got.Body, id) || !strings.Contains(got.Body, `"kind":"socket"`) || !strings.Contains(got.Body, `"current":true`) {
		t.Errorf("%v", got)
	}
	if got := ann.Do("DELETE", "/auth/sessions/"+id, "{}"); got.Status != 200 || !strings.Contains(got.Body, `"ended":1,"closed":1`) {
		t.Errorf("%v", got)
	}
	surfacetest.WantClose(t, conn, 4410, "by its owner")
}

// A filter that is misspelt ends nothing, and everybody's sessions only all=true does.
func TestAnAdministratorNamesWhatEnds(t *testing.T) {
	s := open(t)
	ann, vic := s.as(t, "ann"), s.as(t, "vic")
	conn, _ := vic.Dial("/ws/probe")
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?usr=vic@example.com", "?user=", "?user=a&user=b", "?all=maybe", "?all=false", "?all=true&user=vic@example.com", "?logins=true", "?logins=true&kind=socket", "?all=true&logins=true"} {
		if got := ann.Do("DELETE", "/api/admin/sessions"+query, "{}"); got.Status != 400 {
			t.Errorf("%q: %v", query, got)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=5001", "?limit=x", "?usr=x"} {
		if got := ann.Do("GET", "/api/admin/sessions"+query, ""); got.Status != 400 {
			t.Errorf("%q: %v", query, got)
		}
	}
	for query, seen := range map[string]bool{"?user=vic@example.com": true, "?user=ann@example.com": false, "?kind=socket": true, "?kind=events": false, "?plugin=probe": true, "?plugin=x": false, "?replica=x": false, "?login=x": false} {
		if got := ann.Do("GET", "/api/admin/sessions"+query, ""); strings.Contains(got.Body, "vic@example.com") != seen {
			t.Errorf("%q: %v", query, got)
		}
	}
	if got := ann.Do("DELETE", "/api/admin/sessions?user=vic@example.com&kind=socket", "{}"); got.Status != 200 || !strings.Contains(got.Body, `"ended":1`) {
		t.Errorf("%v", got)
	}
	surfacetest.WantClose(t, conn, 4401, "by an administrator")
	if got := vic.Do("GET", "/auth/me", ""); got.Status != 200 {
		t.Errorf("their login ended, too: %v", got)
	}
	if got := ann.Do("DELETE", "/api/admin/sessions?user=vic@example.com&logins=true", "{}"); got.Status != 200 || !strings.Contains(got.Body, `"logins":`) {
		t.Errorf("%v", got)
	}
	if got := vic.Do("GET", "/auth/me", ""); got.Status != 401 {
		t.Errorf("their login goes on: %v", got)
	}
}

func TestAQuestionToPolicyIsRefusedWhereItCouldBeReadInTwoWays(t *testing.T) {
	s := open(t)
	ann := s.as(t, "ann")
	for _, query := range []string{"user=a&user=b&action=x:y", "usr=a", "user=a&action=x:y&unlisted=maybe", "user=%zz", ""} {
		if got := ann.Do("GET", "/api/admin/policies/explain?"+query, ""); got.Status != 400 {
			t.Errorf("%q: %v", query, got)
		}
	}
	q := url.Values{"user": {"vic@example.com"}, "action": {"probe:seen.read"}, "team": {"a", "b"}}
	if got := ann.Do("GET", "/api/admin/policies/explain?"+q.Encode(), ""); got.Status != 200 {
		t.Errorf("%v", got)
	}
}

// Readiness is 503 while a check fails or the host stops, and what is degraded takes
// no replica out of service. Reasons stay with the operator.
func TestReadinessFollowsItsChecks(t *testing.T) {
	failing, degraded, stopping := error(nil), error(nil), false
	g := gateway.New(gateway.Config{PublicURL: &url.URL{}, Authn: unlimited{}, Logger: slog.New(slog.DiscardHandler), Health: gateway.Health{
		Checks:   func() map[string]error { return map[string]error{"state": failing} },
		Degraded: func() map[string]error { return map[string]error{"policy": degraded} },
		Clusters: func() (int, int) { return 1, 2 }, Stopping: func() bool { return stopping },
	}})
	secret := errors.New("dial 10.0.0.7: refused")
	for _, c := range []struct {
		failing, degraded error
		stopping          bool
		status            int
		says              string
	}{
		{nil, nil, false, 200, `"checks":{"policy":"ok","state":"ok"},"clusters":{"ready":1,"total":2},"status":"ready"`},
		{nil, secret, false, 200, `"policy":"degraded"`},
		{secret, nil, false, 503, `"status":"not_ready"`},
		{nil, nil, true, 503, `"status":"shutting_down"`},
	} {
		failing, degraded, stopping = c.failing, c.degraded, c.stopping
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "10.0.0.7") {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
		for path, says := range map[string]string{"/healthz": "status", "/health": "login_methods"} {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != 200 || !strings.Contains(w.Body.String(), says) || strings.Contains(w.Body.String(), "shutting_down") != c.stopping {
				t.Errorf("%s %+v: %d %s", path, c, w.Code, w.Body)
			}
		}
	}
}

// unlimited is sign-in that lets every client through.
type unlimited struct{ *authn.Service }

func (unlimited) Screen(*http.Request)            {}
func (unlimited) AdmitClient(*http.Request) error { return nil }
func (unlimited) FromProxy(*http.Request) bool    { return false }
func (unlimited) RemoteAddr(*http.Request) string { return "192.0.2.1" }
