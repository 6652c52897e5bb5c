package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// scripted is a host that has the plugin echo at revision 7, once it was installed.
type scripted struct {
	*httptest.Server
	mu        sync.Mutex
	requests  []string
	installed int64 // revision
	fails     bool
	approved  bool // what waits of the plugin filed
}

func script(t *testing.T) *scripted {
	t.Helper()
	s := &scripted{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *scripted) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if len(body) > 300 {
		body = fmt.Appendf(nil, "%d bytes", len(body))
	}
	s.requests = append(s.requests, r.Method+" "+strings.TrimPrefix(r.URL.String(), "/api/admin")+" "+string(body))
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer a-token":
		answer(401, map[string]string{"error": "not signed in"})
	case r.Method == "POST" && r.URL.Path == "/api/admin/uploads":
		answer(201, map[string]any{"digest": "sha256:up", "bytes": len(body)})
	case r.URL.Path == "/api/admin/config/reload" && r.URL.Query().Get("dryRun") == "true":
		answer(200, config.Report{Outcome: config.Checked, Changes: []config.Change{{Path: "limits.idle", New: `"20m0s"`}}})
	case r.URL.Path == "/api/admin/config/reload" && s.fails:
		answer(422, map[string]string{"error": "the configuration is refused; the earlier one serves on", "detail": "bulkhead.yaml: line 2: auth: has no login method"})
	case r.URL.Path == "/api/admin/config/reload":
		answer(200, config.Report{Outcome: config.Applied, Changes: []config.Change{{Path: "plugins[echo].limits.fuel", Old: "1", New: "2"}}, Plugins: map[string]string{"echo": "published"}})
	case r.URL.Path == "/api/admin/catalog":
		answer(200, map[string]any{"catalogs": []artifact.Catalog{
			{Source: "oci://example.com/a", Entries: []artifact.Entry{{Name: "hello", Version: "1.2.0", HostAPI: artifact.HostAPI{Min: 1, Max: 2}, Reference: "oci://example.com/a@sha256:1"}}},
			{Source: "oci://example.com/b", Problem: "it cannot be reached"},
		}})
	case r.Method == "PUT" && r.URL.Query().Get("dryRun") == "true":
		source := ""
		if bytes.Contains(body, []byte("reference")) {
			source = "oci://registry.example.com/hello:v1@sha256:pin"
		}
		answer(200, map[string]any{"report": plugin.Report{Name: "echo", Source: source, Plugin: "echo", Version: "2.0", Digest: "sha256:up", Outcome: plugin.Passed, Comparison: &plugin.Comparison{
			From: "1.0", To: "2.0", Digest: "sha256:new", More: []plugin.Change{{Field: "grants.helm", New: "all\x1b[2J"}}, Less: []plugin.Change{{Field: "limits.fuel", Old: "2", New: "1"}},
		}}})
	case r.Method == "PUT":
		var q fleet.Request
		_ = json.Unmarshal(body, &q)
		if q.Revision != s.installed {
			answer(409, map[string]string{"error": "echo was changed by ben@example.com (dev) at noon"})
			return
		}
		s.installed++
		answer(200, map[string]any{"report": plugin.Report{}})
	case r.Method == "GET" && r.URL.Path == "/api/admin/plugins/filed":
		p := fleet.Plugin{Name: "filed", Origin: plugin.File, State: fleet.Progressing, Because: "replica R1: waits", Tag: fmt.Sprint(s.approved), Replicas: []fleet.OnReplica{{Replica: "R1", Fresh: true}}}
		if s.approved {
			p.State, p.Because = fleet.Active, ""
		} else {
			p.Waiting = &plugin.Waiting{Version: "2.0", Digest: "sha256:up", Comparison: &plugin.Comparison{Digest: "sha256:more", More: []plugin.Change{{Field: "actions", New: "filed:write"}}}}
		}
		answer(200, p)
	case r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/approve"):
		s.approved = true
		w.WriteHeader(204)
	case r.Method == "GET" && s.installed == 0:
		answer(404, map[string]string{"error": "no plugin has the name"})
	case r.Method == "GET":
		p := fleet.Plugin{Name: "echo", Origin: plugin.API, State: fleet.Active, Revision: s.installed, Tag: fmt.Sprint(s.installed),
			Replicas: []fleet.OnReplica{{Replica: "R1", Fresh: true, Running: fleet.Running{Revision: s.installed, Phase: fleet.Done}}}}
		if s.fails {
			p.State, p.Because = fleet.Failed, "replica R1: health: it answers 500"
		}
		if r.URL.Path == "/api/admin/plugins" {
			answer(200, map[string]any{"plugins": []fleet.Plugin{p}})
			return
		}
		answer(200, p)
	case r.Method == "POST":
		s.installed++
		w.WriteHeader(204)
	case r.Method == "DELETE":
		s.installed = 0
		w.WriteHeader(204)
	}
}

func (s *scripted) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.requests, "\n")
	s.requests = nil
	return all
}

func TestPluginsAreManagedFromTheCommandLine(t *testing.T) {
	s := script(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wasm, token, entry := file("echo.wasm", "wasm"), file("token", "a-token\n"), file("echo.yaml", "grants: {helm: [{clusters: [dev]}]}\n")
	for _, c := range []struct {
		args           string
		code           int
		out, err, asks string
	}{
		{"install echo " + wasm + " --dry-run", 0, "MORE  grants.helm: all.[2J", "trying it", "PUT /plugins/echo?dryRun=true"},
		{"install echo " + wasm + " --dry-run --json", 0, `"digest": "sha256:new"`, "", ""},
		{"install echo " + wasm, 3, "", "--consent sha256:new", ""},
		{"install echo " + wasm + " --consent sha256:old", 3, "", "another comparison", ""},
		{"upgrade echo " + wasm, 1, "", "echo is not installed", ""},
		{"status echo", 1, "", `no plugin has the name "echo"`, ""},
		{"install echo " + wasm + " --entry " + entry + " --consent sha256:new", 0, "echo: active on 1 replica", "replica R1: done",
			`{"digest":"sha256:up","grants":{"helm":[{"clusters":["dev"]}]},"consent":"sha256:new"}`},
		{"install echo " + wasm + " --consent sha256:new", 1, "", "ben@example.com (dev)", ""},
		{"upgrade echo " + wasm + " --consent sha256:new --json", 0, `"state": "active"`, "", `"revision":1,"keep":["grants","config","limits","rollout"]`},
		{"upgrade echo --entry " + entry + " --consent sha256:new", 0, "active", "", `"keep":["module","config","limits","rollout"]`},
		{"canary echo " + wasm + " --percent 10 --promote-after 5m --consent sha256:new", 0, "active", "", `"canary":{"percent":10,"promoteAfter":"5m0s"}`},
		{"promote echo", 0, "active", "", `POST /plugins/echo/promote {"revision":4}`},
		{"rollback echo --to sha256:1", 0, "active", "", `POST /plugins/echo/rollback {"digest":"sha256:1","revision":5}`},
		{"status", 0, "echo", "", "GET /plugins"},
		{"status echo --json", 0, `"name": "echo"`, "", ""},
		{"remove echo", 0, "echo: removed", "", "DELETE /plugins/echo?revision=6"},
		{"remove echo", 1, "", "echo is not installed", ""},
		{"canary echo " + wasm, 2, "", "--percent", ""},
		{"upgrade echo", 2, "", "nothing is to be changed", ""},
		{"install echo " + wasm + " --entry " + file("bad.yaml", "grant: {}\n"), 2, "", "bad.yaml", ""},
		{"install echo " + filepath.Join(dir, "absent.wasm"), 2, "", "absent.wasm", ""},
		{"status filed", 1, "plugin approve filed --consent sha256:more", "filed is progressing", ""},
		{"approve filed", 3, "", "MORE  actions: filed:write", ""},
		{"approve filed --consent sha256:old", 3, "", "another comparison", ""},
		{"approve filed --consent sha256:more", 0, "filed: active", "", `POST /plugins/filed/approve {"consent":"sha256:more"}`},
		{"approve filed", 1, "", "no version of filed waits", ""},
		{"approve absent", 1, "", `no plugin has the name "absent"`, ""},
		{"install hello oci://registry.example.com/hello:v1 --dry-run", 0, "from oci://registry.example.com/hello:v1@sha256:pin", "", `{"reference":"oci://registry.example.com/hello:v1"}`},
		{"install hello oci://registry.example.com/hello:v1 --consent sha256:new", 0, "active", "", `{"reference":"oci://registry.example.com/hello:v1@sha256:pin","digest":"sha256:up","consent":"sha256:new"}`},
		{"upgrade hello catalog:hello@1.2.0 --consent sha256:new", 0, "active", "", `{"reference":"catalog:hello@1.2.0","consent":"sha256:new","revision":1,"keep":["grants"`},
		{"remove hello", 0, "removed", "", ""},
		{"install hello --dry-run", 0, "from", "", `{"reference":"catalog:hello"}`},
		{"install hello oci://registry.example.com/hello", 2, "", "has neither a tag nor a digest", ""},
		{"catalog", 1, "hello  1.2.0", "oci://example.com/b cannot be used", "GET /catalog"},
		{"catalog --json", 1, `"reference": "oci://example.com/a@sha256:1"`, "", ""},
		{"catalog --key ops.pub", 2, "", "--key requires a REF", ""},
	} {
		args := append([]string{"plugin"}, strings.Fields(c.args)...)
		out, err, code := bulkhead(t, append(args, "--host", s.URL, "--token-file", token)...)
		asked := s.asked()
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(err, c.err) || !strings.Contains(asked, c.asks) {
			t.Errorf("%s: exit code %d, out %q, err %q, asked:\n%s\nwant %d %q %q %q", c.args, code, out, err, asked, c.code, c.out, c.err, c.asks)
		}
		if strings.Contains(asked, "a-token") {
			t.Errorf("%s: the token is in a URL or body", c.args)
		}
	}
	s.mu.Lock()
	s.installed, s.fails = 1, true
	s.mu.Unlock()
	if _, err, code := bulkhead(t, "plugin", "upgrade", "echo", wasm, "--consent", "sha256:new", "--host", s.URL, "--token-file", token); code != 1 ||
		!strings.Contains(err, "health: it answers 500") || !strings.Contains(err, "goes on serving") {
		t.Errorf("a failing step: %d %q", code, err)
	}
	if _, err, code := bulkhead(t, "plugin", "status", "--token-file", token); code != 2 || !strings.Contains(err, "--host") {
		t.Errorf("a token without a host: %d %q", code, err)
	}
	if _, err, code := bulkhead(t, "plugin", "status", "--host", s.URL, "--token-file", file("other", "another")); code != 1 || !strings.Contains(err, "not signed in") {
		t.Errorf("a token that is not good: %d %q", code, err)
	}
}

func TestTheConfigurationIsComparedAndReloadedFromTheCommandLine(t *testing.T) {
	s := script(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args     string
		fails    bool
		code     int
		out, err string
	}{
		{"diff", false, 0, "limits.idle: none -> \"20m0s\"\n", ""},
		{"diff --json", false, 0, `"path": "limits.idle"`, ""},
		{"diff " + token, false, 2, "", "give two files"},
		{"reload", false, 0, "applied\nplugins[echo].limits.fuel: 1 -> 2\nplugin echo: published\n", ""},
		{"reload --json", false, 0, `"outcome": "applied"`, ""},
		{"reload", true, 1, "", "line 2: auth: has no login method"},
	} {
		s.mu.Lock()
		s.fails = c.fails
		s.mu.Unlock()
		args := append([]string{"config"}, strings.Fields(c.args)...)
		out, err, code := bulkhead(t, append(args, "--host", s.URL, "--token-file", token)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(err, c.err) {
			t.Errorf("%s: exit code %d, out %q, err %q", c.args, code, out, err)
		}
	}
}

func TestAHostThatDoesNotRunHereIsNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bulkhead.yaml")
	if err := os.WriteFile(file, []byte("auth: {dev: {}}\ndirectory: {files: .}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err, code := bulkhead(t, "plugin", "status", "-c", file); code != 1 || !strings.Contains(err, "no host runs here") {
		t.Errorf("%d %q", code, err)
	}
}
