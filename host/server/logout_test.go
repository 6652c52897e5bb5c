package server

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A plugin in a loop without host calls is stopped by the logout, and the
// request is answered 401; another user's request goes on.
func TestLogoutKillsRunningCall(t *testing.T) {
	w := withoutCluster(t)
	gone, stays := w.as(t, "ed1"), w.as(t, "ed2")
	type result struct {
		answer
		err error
	}
	ctx, leave := context.WithCancel(t.Context())
	start := func(a *actor, path string) chan result {
		done := make(chan result, 1)
		go func() {
			got, err := a.try(ctx, "GET", path, nil, nil)
			done <- result{got, err}
		}()
		return done
	}
	spin, sleep := start(gone, "/api/echo/spin"), start(gone, "/api/echo/sleep?ms=600000")
	other := start(stays, "/api/echo/sleep?ms=600000")
	eventually(t, "the calls to run", func() bool {
		return len(w.server.sessions.List("ed1@example.com")) == 2 && len(w.server.sessions.List("ed2@example.com")) == 1
	})
	if got := gone.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	if n := len(w.server.sessions.List("ed1@example.com")); n != 0 {
		t.Errorf("logout was answered with %d sessions of the user left", n)
	}
	for name, done := range map[string]chan result{"spin": spin, "sleep": sleep} {
		select {
		case r := <-done:
			if r.err != nil || r.status != 401 {
				t.Errorf("%s: %v, %v, want 401", name, r.answer, r.err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s runs on", name)
		}
	}
	select {
	case r := <-other:
		t.Errorf("another user's call ended: %v, %v", r.answer, r.err)
	default:
	}
	leave()
	<-other
}

func TestLogoutClosesASocket(t *testing.T) {
	w := withoutCluster(t)
	ed := w.as(t, "ed3")
	conn, refused := ed.dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	if err := conn.WriteMessage(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.ReadMessage(); err != nil || string(text) != "hello" {
		t.Fatalf("echo: %q, %v", text, err)
	}
	if got := ed.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	_, _, err := conn.ReadMessage()
	if err == nil || !strings.Contains(err.Error(), "4401") || !strings.Contains(err.Error(), "logged out") {
		t.Fatalf("the socket ended with %v", err)
	}
}

// Origin: event streams that outlived a logout, and a last event that looked
// the same whether the stream was complete or cut.
func TestAnEventStreamSaysWhyItEnds(t *testing.T) {
	w := withoutCluster(t)
	ed := w.as(t, "ed3")
	got := ed.get("/api/echo/ticks?n=2")
	if got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" ||
		got.body != "data: 0\n\ndata: 1\n\nevent: end\nretry: 2147483647\ndata: {\"code\":1000,\"reason\":\"\"}\n\n" {
		t.Errorf("a complete stream: %v %q", got.header, got.body)
	}
	expect(t, ed.get("/api/echo/ticks?n=many"), 400, "refused before it began")
	cut := make(chan answer, 1)
	go func() {
		got, err := ed.try(t.Context(), "GET", "/api/echo/ticks", nil, nil)
		if err != nil {
			t.Error(err)
		}
		cut <- got
	}()
	eventually(t, "the stream to run", func() bool { return len(w.server.sessions.List("ed3@example.com")) == 1 })
	if got := ed.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	if got := <-cut; !strings.HasSuffix(got.body, "event: end\nretry: 2147483647\ndata: {\"code\":4401,\"reason\":\"logged out\"}\n\n") {
		t.Errorf("a cut stream ends with %q", got.body)
	}
}

func TestAClientThatLeavesStopsItsCall(t *testing.T) {
	w := withoutCluster(t)
	ed := w.as(t, "ed4")
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := ed.try(ctx, "GET", "/api/echo/spin", nil, nil)
		done <- err
	}()
	eventually(t, "the call to run", func() bool { return len(w.server.sessions.List("ed4@example.com")) == 1 })
	leave()
	<-done
	eventually(t, "the call to end", func() bool { return len(w.server.sessions.List("ed4@example.com")) == 0 })
}

func TestALoginSurvivesARestartAndALogoutToo(t *testing.T) {
	w := prepare(t, "")
	in, out := (*actor)(nil), (*actor)(nil)
	t.Run("before", func(t *testing.T) {
		w.open(t)
		in, out = w.as(t, "vic"), w.as(t, "wes")
		if got := out.post("/auth/logout", "{}"); got.status != 200 {
			t.Fatalf("logout: %v", got)
		}
		listen := strings.TrimPrefix(w.url, "http://") // the cookie belongs to the origin
		w.write(t, "bulkhead.yaml", strings.Replace(read(t, w.dir+"/bulkhead.yaml"), "127.0.0.1:0", listen, 1))
	})
	w.open(t)
	in.t, out.t = t, t
	if got := in.get("/auth/me"); got.status != 200 {
		t.Errorf("signed in before the restart: %v", got)
	}
	if got := out.get("/auth/me"); got.status != 401 {
		t.Errorf("signed out before the restart: %v", got)
	}
}

func TestShutdownEndsWhatRuns(t *testing.T) {
	w := prepare(t, "")
	done := make(chan answer, 1)
	var closed error
	var events answer
	outer := t
	t.Run("serving", func(t *testing.T) {
		w.open(t)
		ed := w.as(t, "ed1")
		ed.t = outer // its socket is closed after the host is
		conn, refused := ed.dial("/ws/echo")
		if conn == nil {
			t.Fatalf("dial: %v", refused)
		}
		go func() {
			got, _ := ed.try(context.Background(), "GET", "/api/echo/spin", nil, nil)
			done <- got
		}()
		go func() { _, _, closed = conn.ReadMessage(); done <- answer{status: -1} }()
		go func() {
			events, _ = ed.try(context.Background(), "GET", "/api/echo/ticks", nil, nil)
			done <- answer{status: -1}
		}()
		eventually(t, "all to run", func() bool { return len(w.server.sessions.List("ed1@example.com")) == 3 })
	}) // the host is shut down here
	for range 3 {
		select {
		case got := <-done:
			if got.status >= 0 && got.status != 503 {
				t.Errorf("the call: %v, want 503", got)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("something runs on after the shutdown")
		}
	}
	if closed == nil || !strings.Contains(closed.Error(), "1012") {
		t.Errorf("the socket ended with %v", closed)
	}
	// A browser asks again, which is what it should.
	if !strings.HasSuffix(events.body, "event: end\ndata: {\"code\":1012,\"reason\":\"host is shutting down\"}\n\n") {
		t.Errorf("the event stream ended with %v", events)
	}
}
