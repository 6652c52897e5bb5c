package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// A real browser walks through the console page as a viewer, an editor, somebody on call
// and an administrator. Nothing in its console, no report of the content security policy,
// nothing that axe-core finds, nothing wider than a small screen.
func TestTheConsolePageInABrowser(t *testing.T) {
	parts := getSignInParts(t)
	_, c := onCluster(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "directory/oncall.yaml", `apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ola}
spec: {id: ola@example.com, roles: [viewer, breakglass]}
`)
	w.write(t, "hostile.wasm", string(hostilePlugin(t)))
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"  - {name: hostile, source: ./hostile.wasm}\n")
	w.open(t)
	if got := w.anonymous(t).get("/"); got.status == 404 && os.Getenv("CI") == "" && os.Getenv("BULKHEAD_SDKS") == "" {
		t.Skip("this program has no console page; `make console` builds it: ", got)
	}
	var saw struct {
		Problems []string
		Pages    map[string][]string
		Loaded   struct{ Requests, Bytes int }
		Skip     string
		Tabbed   []string
		Answer   string
		Session  []string
		Draft    string
		Echo     string
		Asked    []string
		Hostile  map[string]string
	}
	parts.drive(t, &saw, "console.mjs", w.url, os.Getenv("BULKHEAD_SCREENSHOTS"), pod(t, c, "shop"))

	for _, p := range saw.Problems {
		t.Error(p)
	}
	for user, want := range map[string]string{
		"vic": "Home Features Sessions",
		"eve": "Home Features Terminal Sessions",
		"ola": "Home Features Terminal Sessions Plugins Policy Directory Audit Configuration", // the last with a reason
		"ada": "Home Features Terminal Sessions Plugins Policy Directory Audit Configuration",
	} {
		if got := strings.Join(saw.Pages[user], " "); got != want {
			t.Errorf("%s sees the pages %q, want %q", user, got, want)
		}
	}
	if saw.Loaded.Requests == 0 || saw.Loaded.Bytes > 100<<10 || saw.Loaded.Requests > 12 {
		t.Errorf("the first page takes %+v", saw.Loaded)
	}
	t.Logf("the first page takes %d requests and %d bytes", saw.Loaded.Requests, saw.Loaded.Bytes)
	if saw.Skip != "Skip to the content" || !slices.Contains(saw.Tabbed, "Sessions") {
		t.Errorf("the keyboard reaches %q, %q", saw.Skip, saw.Tabbed)
	}
	if !strings.Contains(saw.Answer, "200") {
		t.Errorf("a feature answers %q", saw.Answer)
	}
	if !slices.Contains(saw.Session, "exec socket") {
		t.Errorf("the terminal's session is not shown: %q", saw.Session)
	}
	if saw.Draft != "a draft" {
		t.Errorf("after the logout the page has the draft %q", saw.Draft)
	}
	if !strings.Contains(saw.Echo, "user: ada@example.com") {
		t.Errorf("the page of echo shows %q", saw.Echo)
	}
	if len(saw.Asked) > 0 {
		t.Errorf("a hostile page asked for %q", saw.Asked)
	}
	if len(saw.Hostile) < 12 {
		t.Errorf("a hostile page tried %v", saw.Hostile)
	}
	for what, got := range saw.Hostile {
		if got != "refused" {
			t.Errorf("a hostile page gets %s: %s", what, got)
		}
	}
}

// hostilePlugin is echo with a page that wants more than it may have.
func hostilePlugin(t *testing.T) []byte {
	t.Helper()
	module, err := os.ReadFile(packtest.Build(t, "plugins/echo"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := manifest.Extract(module)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.UI = "hostile", &manifest.UI{Title: "Hostile", Routes: []string{"echo-get"}}
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if module, err = manifest.EmbedUI(module, manifest.UIFiles{"index.js": []byte(read(t, "testdata/signin/hostile.js"))}); err != nil {
		t.Fatal(err)
	}
	if module, err = manifest.Embed(module, raw); err != nil {
		t.Fatal(err)
	}
	return module
}
