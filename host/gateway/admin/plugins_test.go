package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// installed has the plugin echo at revision 7. It notes what it was asked.
type installed struct {
	mu    sync.Mutex
	asked []string
}

func (p *installed) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
}

func (p *installed) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return ""
	}
	return p.asked[len(p.asked)-1]
}

func (p *installed) Plugins(context.Context) ([]fleet.Plugin, error) {
	return []fleet.Plugin{{Name: "echo", Origin: plugin.API, State: fleet.Active, Revision: 7}}, nil
}

func (p *installed) Plugin(_ context.Context, name, tag string) (*fleet.Plugin, error) {
	p.note("plugin %s after %q", name, tag)
	if name != "echo" {
		return nil, host.E(host.NotFound, "", "no plugin has the name %q", name)
	}
	return &fleet.Plugin{Name: name, Tag: "t2"}, nil
}

func (p *installed) Catalogs(context.Context) []*artifact.Catalog {
	p.note("catalogs")
	return []*artifact.Catalog{{Source: "oci://example.com/catalog", Problem: "it cannot be reached"}}
}

func (p *installed) Check(_ context.Context, name string, q *fleet.Request) (*plugin.Report, error) {
	p.note("check %s %s", name, q.Digest)
	return &plugin.Report{Name: name, DryRun: true, Outcome: plugin.Passed, Comparison: &plugin.Comparison{Digest: "c"}}, nil
}

func (p *installed) Put(_ context.Context, who *host.Principal, name string, q *fleet.Request) (*plugin.Report, error) {
	p.note("put %s %s by %s", name, q.Digest, who.User)
	if q.Revision != 7 {
		return nil, host.E(host.Conflict, "", "echo was changed since revision %d: by ben@example.com (dev) at 2026-01-01T00:00:00Z, now revision 7", q.Revision)
	}
	return &plugin.Report{Name: name, Outcome: plugin.Passed}, nil
}

func (p *installed) Approve(_ context.Context, who *host.Principal, name, consent string) error {
	p.note("approve %s of %s by %s", consent, name, who.User)
	return nil
}

func (p *installed) Promote(_ context.Context, who *host.Principal, name string, revision int64) error {
	p.note("promote %s %d by %s", name, revision, who.User)
	return nil
}

func (p *installed) Rollback(_ context.Context, who *host.Principal, name, digest string, revision int64) error {
	p.note("rollback %s to %q %d by %s", name, digest, revision, who.User)
	return nil
}

func (p *installed) Remove(_ context.Context, who *host.Principal, name string, revision int64) error {
	p.note("remove %s %d by %s", name, revision, who.User)
	return nil
}

func (p *installed) Upload(_ context.Context, r io.Reader, n, _ int64, by host.UserID) (state.Upload, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return state.Upload{}, err
	}
	p.note("upload %d of %d by %s", len(content), n, by)
	return state.Upload{Digest: "sha256:u", Bytes: int64(len(content)), By: by}, nil
}

func TestAdministratorsInstallPlugins(t *testing.T) {
	s, _, asked := open(t)
	ann := s.As(t, "ann")
	for _, c := range []struct {
		method, path, body string
		status             int
		asked, answer      string
	}{
		{"GET", "/api/admin/plugins", "", 200, "", `"name":"echo"`},
		{"GET", "/api/admin/plugins/echo", "", 200, `plugin echo after ""`, `"tag":"t2"`},
		{"GET", "/api/admin/plugins/echo?after=t1", "", 200, `plugin echo after "t1"`, ""},
		{"GET", "/api/admin/plugins/nothing", "", 404, "plugin nothing", `no plugin has the name`},
		{"GET", "/api/admin/plugins/echo?before=t1", "", 400, "", "before"},
		{"PUT", "/api/admin/plugins/echo?dryRun=true", `{"digest":"sha256:1"}`, 200, "check echo sha256:1", `"comparison":{`},
		{"PUT", "/api/admin/plugins/echo", `{"digest":"sha256:1","revision":7}`, 200, "put echo sha256:1 by ann@example.com", `"report"`},
		{"PUT", "/api/admin/plugins/echo?dryRun=false", `{"digest":"sha256:1","revision":7}`, 200, "put echo", ""},
		{"PUT", "/api/admin/plugins/echo", `{"digest":"sha256:1","revision":3}`, 409, "put echo", "ben@example.com (dev) at 2026-01-01T00:00:00Z"},
		{"PUT", "/api/admin/plugins/echo?dryRun=maybe", `{}`, 400, "", "dryRun must be true or false"},
		{"PUT", "/api/admin/plugins/echo?dryRun=true&dryRun=false", `{}`, 400, "", "more than once"},
		{"PUT", "/api/admin/plugins/echo", `{"grant":{}}`, 400, "", "grant"},
		{"PUT", "/api/admin/plugins/echo", `{"digest":"a"}{"digest":"b"}`, 400, "", "more after the JSON"},
		{"PUT", "/api/admin/plugins/echo", `{"config":"` + strings.Repeat("x", 257<<10) + `"}`, 413, "", ""},
		{"POST", "/api/admin/plugins/echo/approve", `{"consent":"sha256:1"}`, 204, "approve sha256:1 of echo by ann@example.com", ""},
		{"POST", "/api/admin/plugins/echo/approve", `{"digest":"sha256:1"}`, 400, "", "digest"},
		{"GET", "/api/admin/catalog", "", 200, "catalogs", `"problem":"it cannot be reached"`},
		{"GET", "/api/admin/catalog?name=echo", "", 400, "", "name"},
		{"POST", "/api/admin/plugins/echo/promote", `{"revision":7}`, 204, "promote echo 7 by ann@example.com", ""},
		{"POST", "/api/admin/plugins/echo/promote", `{"digest":"sha256:1"}`, 422, "", "digest"},
		{"POST", "/api/admin/plugins/echo/rollback", `{"revision":7,"digest":"sha256:1"}`, 204, `rollback echo to "sha256:1" 7 by ann@example.com`, ""},
		{"POST", "/api/admin/plugins/echo/rollback", ``, 204, `rollback echo to "" 0 by ann@example.com`, ""},
		{"DELETE", "/api/admin/plugins/echo?revision=7", "", 204, "remove echo 7 by ann@example.com", ""},
		{"DELETE", "/api/admin/plugins/echo?revision=x", "", 400, "", "revision"},
	} {
		before := asked.installed.last()
		got := ann.Do(c.method, c.path, c.body)
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 60)]
		if got.Status != c.status || !strings.Contains(got.Body, c.answer) {
			t.Errorf("%s: %v, want %d %s", name, got, c.status, c.answer)
		}
		if last := asked.installed.last(); !strings.HasPrefix(last, c.asked) || c.asked == "" && last != before {
			t.Errorf("%s asks for %q, want %q", name, last, c.asked)
		}
	}
}

// Each change is an action of its own, which users without it may not even try.
func TestEachChangeOfAPluginIsAnAction(t *testing.T) {
	s, policy, asked := open(t)
	nia := s.As(t, "nia")
	for request, action := range map[string]host.Action{
		"GET /api/admin/catalog": "admin:plugins.catalog.read", "GET /api/admin/plugins": "admin:plugins.read", "GET /api/admin/plugins/echo": "admin:plugins.read",
		"PUT /api/admin/plugins/echo": "admin:plugins.install", "PUT /api/admin/plugins/echo?dryRun=true": "admin:plugins.install",
		"POST /api/admin/plugins/echo/approve": "admin:plugins.approve",
		"POST /api/admin/plugins/echo/promote": "admin:plugins.promote", "POST /api/admin/plugins/echo/rollback": "admin:plugins.rollback",
		"DELETE /api/admin/plugins/echo": "admin:plugins.remove", "POST /api/admin/uploads": "admin:plugins.upload",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := nia.Do(method, path, "{}"); got.Status != 403 {
			t.Errorf("%s: %v", request, got)
		}
		all := policy.Asked()
		route := all[len(all)-1].Route
		if route.Action != action || route.Mutates != (method != "GET") {
			t.Errorf("%s asks for %s, mutates %v; want %s", request, route.Action, route.Mutates, action)
		}
	}
	if last := asked.installed.last(); last != "" {
		t.Errorf("without a right: %s", last)
	}
}

func TestAnUploadIsStreamedAndBounded(t *testing.T) {
	s, _, asked := open(t)
	ann := s.As(t, "ann")
	content := bytes.Repeat([]byte("wasm"), 1<<19) // more than other bodies may have
	got := ann.Send("POST", "/api/admin/uploads", bytes.NewReader(content), "X-Requested-With: XMLHttpRequest")
	if got.Status != 201 || !strings.Contains(got.Body, `"digest":"sha256:u"`) || asked.installed.last() != fmt.Sprintf("upload %d of %d by ann@example.com", len(content), len(content)) {
		t.Errorf("%v; %s", got, asked.installed.last())
	}
	got = ann.Send("POST", "/api/admin/uploads", io.MultiReader(bytes.NewReader(content)), "X-Requested-With: XMLHttpRequest") // of unknown length
	if got.Status != 201 || asked.installed.last() != fmt.Sprintf("upload %d of 0 by ann@example.com", len(content)) {
		t.Errorf("%v; %s", got, asked.installed.last())
	}
	conn := s.Raw(t, "POST /api/admin/uploads HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+"Content-Length: "+fmt.Sprint(state.MaxUpload+1)+"\r\n\r\n")
	if refused := surfacetest.Read(t, conn, "POST"); refused.Status != 413 {
		t.Errorf("announced as too long: %v", refused)
	}
}

// An administrator who is signed out uploads nothing more.
func TestAnUploadEndsWithItsSession(t *testing.T) {
	s, _, asked := open(t)
	ann := s.As(t, "ann")
	conn := s.Raw(t, "POST /api/admin/uploads HTTP/1.1\r\nHost: "+s.Addr+"\r\n"+ann.Cookie()+"Content-Length: 100\r\n\r\nbegin")
	surfacetest.Eventually(t, "the upload to begin", func() bool { return len(s.Sessions.All()) == 1 })
	s.End(t, ann.User, host.ErrLoggedOut)
	if got := surfacetest.Read(t, conn, "POST"); got.Status != 401 {
		t.Errorf("%v", got)
	}
	if last := asked.installed.last(); last != "" {
		t.Errorf("stored: %s", last)
	}
}
