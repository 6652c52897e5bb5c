package git

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// answers is a transport that answers every request.
type answers struct{ sent int }

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	a.sent++
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("text"))}, nil
}

// Once the authority is lost, nothing is sent, and what is being received ends.
func TestNothingIsSentWithoutAuthority(t *testing.T) {
	auth, next := new(authority), new(answers)
	g := &guard{auth, next}
	request := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://example.com", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		return g.RoundTrip(req)
	}
	resp, err := request()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	conn := &guardedConn{ours, auth}
	defer conn.Close()
	auth.lose(host.ErrLoggedOut)
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("the body: %v", err)
	}
	if _, err := request(); !errors.Is(err, host.ErrLoggedOut) || next.sent != 1 {
		t.Errorf("%v after %d requests", err, next.sent)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("a write: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("a read: %v", err)
	}
}
