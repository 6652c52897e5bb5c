package server

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logged opens the host with a log that the test reads.
func (w *world) logged(t *testing.T) (path string) {
	t.Helper()
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	unbound(c)
	shareCompiled(t, c.Data)
	path = filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	end, err := w.serve(c, slog.New(slog.NewTextHandler(file, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the host ended with %v", err)
		}
		file.Close()
	})
	return path
}

// Where a session was opened from is the client's address, not that of the
// proxy in front, in lists and in the log alike.
func TestSessionsAndLogNameTheClientBehindAProxy(t *testing.T) {
	w := prepare(t, "")
	w.limit(t, "rates: {forwardedFrom: [127.0.0.1/32]}")
	log := w.logged(t)
	eve := w.as(t, "eve")
	stream := make(chan answer, 1)
	go func() {
		got, _ := eve.try(t.Context(), "GET", "/api/echo/ticks", nil, http.Header{"X-Forwarded-For": {"198.51.100.1, 203.0.113.7:51000"}})
		stream <- got
	}()
	eventually(t, "the stream is listed with its client's address", func() bool {
		got := eve.get("/auth/sessions")
		return strings.Contains(got.body, `"remoteAddr":"203.0.113.7"`)
	})

	eve.end("/auth/sessions/" + eve.sessions("/auth/sessions").Sessions[0].ID)
	<-stream
	text := read(t, log)
	if !strings.Contains(text, "path=/api/echo/ticks") || !strings.Contains(text, "remote=203.0.113.7") {
		t.Errorf("the log does not name the client:\n%s", text)
	}
}

// Without authentication each request is of the user anonymous, in policy too. The header that
// the operator names is a name for the record, whomever it names.
func TestWithoutAuthenticationAHeaderGivesNoRights(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", strings.Replace(read(t, w.dir+"/bulkhead.yaml"), "auth: {dev: {}}", "auth: {disabled: {roles: [viewer]}}", 1))
	log := w.logged(t)
	someone := w.anonymous(t)
	said := http.Header{"X-Auth-Request-Email": {"ada@example.com"}, "X-Requested-With": {"XMLHttpRequest"}}
	me := someone.do("GET", "/auth/me", nil, said)
	if me.status != 200 || !strings.Contains(me.body, `"user":"anonymous"`) || !strings.Contains(me.body, `"name":"ada@example.com"`) || strings.Contains(me.body, "admin") {
		t.Errorf("who acts is %v", me)
	}
	expect(t, someone.do("GET", "/api/admin/sessions", nil, said), 403, "reading sessions in the name of an administrator")
	expect(t, someone.do("DELETE", "/api/admin/sessions?all=true", nil, said), 403, "ending sessions in the name of an administrator")
	expect(t, someone.do("GET", "/api/echo/echo", nil, said), 200, "what anonymous may")
	for _, line := range strings.Split(read(t, log), "\n") {
		if strings.Contains(line, "path=/api/admin/sessions") && !(strings.Contains(line, "user=anonymous") && strings.Contains(line, "name=ada@example.com")) {
			t.Errorf("the record does not have the name: %s", line)
		}
	}
}

// One id however it is written: in the directory, at sign-in and where an
// administrator names it.
func TestAnAddressIsOneUserHoweverItIsWritten(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "directory/bob.yaml", `
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: bob}
spec: {id: Bob.Roe@Example.com, roles: [viewer]}
`)
	w.open(t)
	bob, ada := w.as(t, "BOB.roe"), w.as(t, "ada") // as adds @example.com
	if me := bob.get("/auth/me"); !strings.Contains(me.body, `"user":"bob.roe@example.com"`) {
		t.Fatalf("signed in as %v", me)
	}
	socket := bob.socket("/ws/echo")
	if got := ada.sessions("/api/admin/sessions?user=Bob.Roe@EXAMPLE.com"); got.Total != 1 {
		t.Errorf("the sessions of bob: %+v", got)
	}
	if got := ada.end("/api/admin/sessions?user=Bob.Roe@EXAMPLE.com&logins=true"); got.status != 200 || !strings.Contains(got.body, `"logins":1`) {
		t.Errorf("signing bob out: %v", got)
	}
	closedWith(t, socket, 4401)
	expect(t, bob.get("/auth/me"), 401, "whom an administrator signed out")
}
