package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
)

func TestAStreamedBodyIsBoundedAndEndsWithItsSession(t *testing.T) {
	g := gateway.New(gateway.Config{PublicURL: &url.URL{}, Authn: unlimited{}, Health: surfacetest.Healthy, Logger: slog.New(slog.DiscardHandler)})
	g.Mount(gateway.Route{Method: "PUT", Path: "/upload", Access: gateway.Always, Action: "x:y", Handle: func(w http.ResponseWriter, r *http.Request) error {
		ctx, end := context.WithCancelCause(r.Context())
		defer end(nil)
		body, done, err := g.StreamBody(ctx, w, r, 10)
		if err != nil {
			return err
		}
		defer done()
		begin := make([]byte, 1)
		if _, err := io.ReadFull(body, begin); err != nil {
			return err
		}
		if begin[0] == 'w' { // the client writes no more, and the session ends
			end(host.ErrLoggedOut)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}})
	srv := httptest.NewServer(g)
	defer srv.Close()
	put := func(body io.Reader) int {
		t.Helper()
		// Without a length, as a client sends what it does not know the size of.
		r, err := http.NewRequestWithContext(t.Context(), "PUT", srv.URL+"/upload", struct{ io.Reader }{body})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := put(strings.NewReader("0123456789")); got != 204 {
		t.Errorf("as much as allowed: %d", got)
	}
	if got := put(strings.NewReader("0123456789a")); got != 413 {
		t.Errorf("a byte more: %d", got)
	}
	open, client := io.Pipe()
	defer client.Close()
	go func() { _, _ = client.Write([]byte("w")) }()
	if got := put(open); got != 401 {
		t.Errorf("after the end of the session: %d", got)
	}
}
