package azure

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// authority is a session's; it ends when told to, and no context with it.
type authority struct{ gone atomic.Bool }

func (a *authority) Alive() bool { return !a.gone.Load() }
func (a *authority) Cause() error {
	if a.gone.Load() {
		return host.ErrLoggedOut
	}
	return nil
}

// Contexts are cancelled a moment later than authority ends; until then authority
// alone keeps a request from leaving.
func TestNoRequestLeavesWithoutAuthority(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
	}))
	defer srv.Close()
	auth := &authority{}
	send := func(ctx context.Context) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		return guard{srv.Client()}.Do(req)
	}
	of := context.WithValue(t.Context(), authorityKey{}, host.Authority(auth))
	resp, err := send(of)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := resp.Body.Read(make([]byte, 16)); n == 0 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	auth.gone.Store(true)
	if n, err := resp.Body.Read(make([]byte, 16)); n > 0 || !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("of an answer in progress: %d bytes, %v", n, err)
	}
	if _, err := send(of); !errors.Is(err, host.ErrLoggedOut) || asked.Load() != 1 {
		t.Errorf("after the logout: %v, asked %d times", err, asked.Load())
	}
	if _, err := send(t.Context()); host.KindOf(err) != host.Internal || asked.Load() != 1 {
		t.Errorf("for no session: %v, asked %d times", err, asked.Load())
	}
	if of.Err() != nil {
		t.Fatal("the context did not live")
	}
}
