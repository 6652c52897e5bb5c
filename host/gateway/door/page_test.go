package door_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

func pages(t *testing.T) *surfacetest.Person {
	t.Helper()
	public, err := url.Parse("https://console.example.com")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"index.js": "import './bulkhead.js'", "icon.svg": "<svg/>"}
	return surfacetest.Open(t, &surfacetest.Policy{}, func(g *gateway.Gateway, _ *session.Table) {
		door.Mount(g, door.Config{
			Lease:  func(string, *host.Principal) (door.Plugin, bool) { return nil, false },
			Behind: func(string) error { return nil }, PublicURL: public,
			Page: func(name, digest, file string) ([]byte, bool) {
				text, ok := files[file]
				return []byte(text), ok && name == "probe" && digest == "sha256:0a"
			},
		})
	}).Anonymous(t)
}

// Wherever the document is opened, it has an opaque origin, loads this version's files and
// connects to nothing.
func TestAPluginsPageIsConfined(t *testing.T) {
	got := pages(t).Do("GET", "/ui/probe/0a/", "")
	policy := got.Header.Get("Content-Security-Policy")
	if got.Status != 200 || !strings.Contains(got.Body, `src="index.js"`) || strings.Contains(got.Body, "index.css") {
		t.Fatal(got)
	}
	for _, want := range []string{"default-src 'none'", "script-src https://console.example.com/ui/probe/0a/ ", "connect-src 'none'", "form-action 'none'",
		"frame-ancestors 'self'", "; sandbox allow-scripts"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %q: %s", want, policy)
		}
	}
	for _, never := range []string{"allow-same-origin", "unsafe", "*", "'self';  ", "script-src 'self'"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy has %q: %s", never, policy)
		}
	}
}

// A plugin's file is run by nothing but its own page: opened by itself it is sandboxed.
func TestAPagesFilesAreServedToItsFrame(t *testing.T) {
	p := pages(t)
	for path, kind := range map[string]string{"index.js": "text/javascript", "icon.svg": "image/svg+xml", "bulkhead.js": "text/javascript", "bulkhead.css": "text/css"} {
		got := p.Do("GET", "/ui/probe/0a/"+path, "", "Origin", "null")
		if got.Status != 200 || !strings.HasPrefix(got.Header.Get("Content-Type"), kind) || got.Header.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.HasSuffix(got.Header.Get("Content-Security-Policy"), "; sandbox") || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	for _, path := range []string{"/ui/probe/0a/absent.js", "/ui/probe/0b/", "/ui/probe/0b/index.js", "/ui/probe/0b/bulkhead.js", "/ui/other/0a/", "/ui/probe/0a/index.html"} {
		if got := p.Do("GET", path, ""); got.Status != 404 {
			t.Errorf("%s: %v", path, got)
		}
	}
}
