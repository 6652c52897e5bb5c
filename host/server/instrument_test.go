package server

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// A tool sees each request, what was decided about it and what it used, tied together by the
// request's context, and keeps its changes of the configuration when the file is read again.
func TestAnInstrumentSeesEachRequestAndAdjustsEachConfiguration(t *testing.T) {
	w := &world{dir: t.TempDir()}
	w.person(t, "ada", "admin")
	w.write(t, "bulkhead.yaml", lightConfig(t))
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	type request struct {
		actions []host.Action
		used    plugin.Usage
	}
	type key struct{}
	var mu sync.Mutex
	var last *request
	adjusted := 0
	c.Instrument = &Instrument{
		Adjust: func(c *Config) error {
			adjusted++
			c.Data = filepath.Join(w.dir, "elsewhere")
			shareCompiled(t, c.Data)
			return nil
		},
		Handler: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				req := &request{}
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, req)))
				mu.Lock()
				last = req
				mu.Unlock()
			})
		},
		Decided: func(ctx context.Context, q *host.Question, d host.Decision) {
			if req, ok := ctx.Value(key{}).(*request); ok && d.Allow {
				req.actions = append(req.actions, q.Route.Action)
			}
		},
		Called: func(ctx context.Context, u plugin.Usage) {
			if req, ok := ctx.Value(key{}).(*request); ok {
				req.used = u
			}
		},
	}
	end, err := w.serve(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	if got := w.as(t, "ada").do("GET", "/api/echo/echo", nil, nil); got.status != 200 {
		t.Fatal(got)
	}
	eventually(t, "the handler to return", func() bool { // it does after the answer
		mu.Lock()
		defer mu.Unlock()
		return last != nil && len(last.actions) > 0
	})
	mu.Lock()
	if len(last.actions) != 1 || last.actions[0] != "echo:echo.read" || last.used.Fuel == 0 ||
		last.used.MemoryBytes < 1<<20 || last.used.ChangedBytes <= 0 || last.used.Plugin != "echo" {
		t.Errorf("%+v", last)
	}
	mu.Unlock()
	// With another data directory than the first, the file would be refused.
	if _, err := w.server.Reload(t.Context(), false); err != nil || adjusted != 2 {
		t.Errorf("%v after %d adjustments", err, adjusted)
	}
}
