package door

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Origin: on HTTP/2 a deadline that passes resets the stream, and each event left
// one behind: a stream that was silent for 10 s broke off.
func TestASilentEventStreamLeavesNoDeadline(t *testing.T) {
	const soon = 50 * time.Millisecond
	table := session.NewTable(func(*host.Principal) error { return nil }, session.Options{})
	s, err := table.Open(t.Context(), &host.Principal{User: "ann", Login: host.Login{ID: "1"}}, host.SessionInfo{Kind: host.SessionEvents})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &eventStream{w: w, ctl: http.NewResponseController(w), session: s, done: make(chan struct{}), writeTimeout: soon}
		defer e.keeper.Wait()
		defer e.Close(host.CloseNormal, "")
		if _, err := e.Accept(nil, 0); err != nil {
			t.Error(err)
			return
		}
		if err := e.Write(false, []byte("one")); err != nil {
			t.Error(err)
		}
		<-time.After(3 * soon) // silence
		if err := e.Write(false, []byte("two")); err != nil {
			t.Error(err)
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || err != nil || !strings.Contains(string(text), "data: two") {
		t.Errorf("%s %q, %v", resp.Proto, text, err)
	}
}

func TestAnEventForgesNoFieldAndNoneIsSentAfterTheEnd(t *testing.T) {
	table := session.NewTable(func(*host.Principal) error { return nil }, session.Options{})
	s, err := table.Open(t.Context(), &host.Principal{User: "ann", Login: host.Login{ID: "1"}}, host.SessionInfo{Kind: host.SessionEvents})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := httptest.NewRecorder()
	e := &eventStream{w: w, ctl: http.NewResponseController(w), session: s, done: make(chan struct{}), writeTimeout: time.Second}
	if err := e.Write(false, []byte("a\rid: 7\r\nevent: end\n\nb")); err != nil {
		t.Fatal(err)
	}
	const want = "data: a\ndata: id: 7\ndata: event: end\ndata: \ndata: b\n\n"
	if got := w.Body.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w.Body.Reset()
	if err := e.WriteEvent("cluster_data", "7", []byte("{}")); err != nil || w.Body.String() != "event: cluster_data\nid: 7\ndata: {}\n\n" {
		t.Errorf("got %q, %v", w.Body.String(), err)
	}
	w.Body.Reset()
	s.End(host.ErrLoggedOut)
	if err := e.Write(false, []byte("late")); err == nil || w.Body.Len() > 0 {
		t.Errorf("after the end: %v, %q", err, w.Body.String())
	}
}

// discarding counts what is written.
type discarding struct {
	*httptest.ResponseRecorder
	bytes int
}

func (d *discarding) Write(p []byte) (int, error) {
	d.bytes += len(p)
	return len(p), nil
}

// A guest chooses how many lines an event has, and a client how long it takes to read them.
func TestTheLinesOfAnEventAreNotKept(t *testing.T) {
	table := session.NewTable(func(*host.Principal) error { return nil }, session.Options{})
	s, err := table.Open(t.Context(), &host.Principal{User: "ann", Login: host.Login{ID: "1"}}, host.SessionInfo{Kind: host.SessionEvents})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &discarding{httptest.NewRecorder(), 0}
	e := &eventStream{w: w, ctl: http.NewResponseController(w), session: s, done: make(chan struct{}), writeTimeout: time.Minute}
	lines := bytes.Repeat([]byte("\r"), 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := e.Write(false, lines); err != nil || w.bytes != len("data: \n")*(len(lines)+1)+1 {
		t.Errorf("%d bytes, %v", w.bytes, err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("an event of 1 MiB took %d KiB", took>>10)
	}
}
