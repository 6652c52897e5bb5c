package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

func packed(t *testing.T, text string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

// unlimited is a sign-in without bounds; nothing of the page asks who somebody is.
type unlimited struct{ gateway.Authenticator }

func (unlimited) Screen(*http.Request)                              {}
func (unlimited) AdmitClient(*http.Request) error                   { return nil }
func (unlimited) RemoteAddr(*http.Request) string                   { return "" }
func (unlimited) CheckSite(*http.Request) error                     { return nil }
func (unlimited) Resolve(*http.Request) (r authn.Resolved, e error) { panic("the page is public") }

func serve(t *testing.T, files fstest.MapFS) func(path, encoding string) *http.Response {
	t.Helper()
	g := gateway.New(gateway.Config{PublicURL: &url.URL{}, Authn: unlimited{}, Logger: slog.New(slog.DiscardHandler)})
	mount(g, files)
	return func(path, encoding string) *http.Response {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Result()
	}
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func built(t *testing.T) fstest.MapFS {
	return fstest.MapFS{
		"manifest.json": {Data: []byte(`{"Script":"main-A.js","Style":"main-B.css"}`)},
		"main-A.js.gz":  packed(t, "let page"), "main-B.css.gz": packed(t, "body {}"), "notes.txt.gz": packed(t, "x"),
	}
}

// Each answer has a nonce of its own, and nothing else on the page may run.
func TestThePageRunsOnlyItsOwnScript(t *testing.T) {
	get := serve(t, built(t))
	nonce := regexp.MustCompile(`nonce="([^"]{20,})" src="/console/main-A.js"`)
	seen := map[string]bool{}
	for range 2 {
		got := get("/", "")
		page, policy := text(t, got.Body), got.Header.Get("Content-Security-Policy")
		m := nonce.FindStringSubmatch(page)
		if got.StatusCode != 200 || m == nil {
			t.Fatalf("%d %s", got.StatusCode, page)
		}
		if seen[m[1]] {
			t.Error("a nonce is used twice")
		}
		seen[m[1]] = true
		for _, want := range []string{"default-src 'none'", "script-src 'nonce-" + m[1] + "' 'strict-dynamic'", "frame-ancestors 'none'", "connect-src 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("the policy lacks %q: %s", want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("the policy is %s", policy)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Error("the page with its nonce may be kept")
		}
	}
}

func TestAFileIsServedAsItIsAskedForAndMayBeKept(t *testing.T) {
	get := serve(t, built(t))
	plain, small := get("/console/main-A.js", ""), get("/console/main-A.js", "br, gzip")
	if got := text(t, plain.Body); got != "let page" || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("%q %v", got, plain.Header)
	}
	unpacked, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, unpacked); got != "let page" || small.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%q %v", got, small.Header)
	}
	for _, r := range []*http.Response{plain, small} {
		if !strings.Contains(r.Header.Get("Cache-Control"), "immutable") || r.Header.Get("Vary") != "Accept-Encoding" ||
			!strings.HasPrefix(r.Header.Get("Content-Type"), "text/javascript") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v", r.Header)
		}
	}
}

func TestOnlyScriptsAndStylesAreServed(t *testing.T) {
	get := serve(t, built(t))
	for _, path := range []string{"/console/manifest.json", "/console/notes.txt", "/console/main-A.js.gz", "/console/absent.js", "/console/.js"} {
		if got := get(path, "gzip"); got.StatusCode != 404 {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
}

func TestAProgramWithoutThePageSaysSo(t *testing.T) {
	get := serve(t, fstest.MapFS{".keep": {}})
	got := get("/", "")
	if body := text(t, got.Body); got.StatusCode != 404 || !strings.Contains(body, "without its console page") || !strings.Contains(body, "make build") {
		t.Errorf("%d %s", got.StatusCode, body)
	}
}

// Half a build is a mistake of the build and not "no page".
func TestHalfABuildIsAnError(t *testing.T) {
	files := built(t)
	files["manifest.json"] = &fstest.MapFile{Data: []byte(`{"Script":"main-`)}
	if got := serve(t, files)("/", ""); got.StatusCode != 500 {
		t.Errorf("%d", got.StatusCode)
	}
}
