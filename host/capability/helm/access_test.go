package helm

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func open(t *testing.T, r ...Repository) *charts {
	t.Helper()
	c, err := openCharts(Config{Repositories: r}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// failure of loading ref, whose detail is for the user.
func (c *charts) failure(t *testing.T, ref, version string) *host.Error {
	t.Helper()
	ch, err := c.load(t.Context(), ref, version)
	e, ok := err.(*host.Error)
	if !ok {
		t.Fatalf("%s: got %v, %v", ref, ch, err)
	}
	return e
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestContentEncodingOfARepositoryIsUnderstood(t *testing.T) {
	good := archive(t, "good", "1.0.0")
	for _, c := range []struct {
		name, index, encoding string
		body                  []byte
		digest                bool
		fails                 string
	}{
		{"an archive that is marked as encoded", "", "gzip", good, true, ""},
		{"the same without a digest", "", "gzip", good, false, ""},
		{"an archive that is encoded", "", "gzip", zipped(t, good), true, ""},
		{"the same without a digest", "", "GZIP", zipped(t, good), false, ""},
		{"an index that is encoded", "gzip", "", good, true, ""},
		{"nothing is encoded", "", "identity", good, true, ""},
		{"another encoding", "", "br", good, true, `"br", which is not supported`},
		{"another encoding of the index", "br", "", good, true, `"br", which is not supported`},
		{"another archive", "", "gzip", archive(t, "good", "1.0.1"), true, "digest"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); got != "" {
				t.Errorf("it asks for the encoding %q", got)
			}
			body, encoding := c.body, c.encoding
			if r.URL.Path == "/index.yaml" {
				digest := ""
				if c.digest {
					digest = fmt.Sprintf(", digest: %X", sha256.Sum256(good))
				}
				body, encoding = []byte(`{apiVersion: v1, entries: {good: [{name: good, version: 1.0.0, urls: [good-1.0.0.tgz]`+digest+`}]}}`), c.index
				if encoding == "gzip" {
					body = zipped(t, body)
				}
			}
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			_, _ = w.Write(body)
		}))
		ch, err := open(t, Repository{Name: "r", URL: server.URL}).load(t.Context(), "r/good", "")
		server.Close()
		switch {
		case c.fails == "" && (err != nil || ch.Name() != "good"):
			t.Errorf("%s: %v", c.name, err)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.fails)
		}
	}
}

func TestCredentialsGoToTheRepositoryAlone(t *testing.T) {
	good := archive(t, "good", "1.0.0")
	var want string
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("another server gets %q", got)
		}
		_, _ = w.Write(good)
	}))
	defer elsewhere.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch got := r.Header.Get("Authorization"); {
		case got != want:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/index.yaml":
			fmt.Fprintf(w, `{apiVersion: v1, entries: {good: [{name: good, version: 1.0.0, urls: [good.tgz]}],
				moved: [{name: good, version: 1.0.0, urls: [moved.tgz]}], other: [{name: good, version: 1.0.0, urls: ["%s/x.tgz"]}],
				plain: [{name: good, version: 1.0.0, urls: [plain.tgz]}]}}`, elsewhere.URL)
		case r.URL.Path == "/moved.tgz":
			http.Redirect(w, r, elsewhere.URL+"/x.tgz", http.StatusFound)
		case r.URL.Path == "/plain.tgz":
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "https", "http", 1)+"/x.tgz?secret", http.StatusFound)
		default:
			_, _ = w.Write(good)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	write(t, dir+"/ca.pem", ca)
	write(t, dir+"/token", []byte("s3cret\n"))
	t.Setenv("BULKHEAD_TEST_TOKEN", "s3cret")

	basic, bearer := "Basic Ym90OnMzY3JldA==", "Bearer s3cret"
	for header, r := range map[string][]Repository{
		basic:  {{User: "bot", TokenFile: dir + "/token"}, {User: "bot", TokenEnv: "BULKHEAD_TEST_TOKEN"}},
		bearer: {{TokenFile: dir + "/token"}, {TokenEnv: "BULKHEAD_TEST_TOKEN"}},
		"":     {{}},
	} {
		want = header
		for _, r := range r {
			r.Name, r.URL, r.CAFile = "r", server.URL, dir+"/ca.pem"
			c := open(t, r)
			for _, chart := range []string{"good", "moved", "other"} {
				if _, err := c.load(t.Context(), "r/"+chart, ""); err != nil {
					t.Errorf("%+v: %s: %v", r, chart, err)
				}
			}
			if e := c.failure(t, "r/plain", ""); !strings.Contains(e.Error(), "redirect is refused") || strings.Contains(e.Detail, "127.0.0.1") || strings.Contains(e.Error(), "secret") {
				t.Errorf("a redirect that leaves TLS: %v", e)
			}
		}
	}

	// A token that is replaced is used within a second or so; one that is spoiled
	// leaves the last one in use.
	want = bearer
	c := open(t, Repository{Name: "r", URL: server.URL, CAFile: dir + "/ca.pem", TokenFile: dir + "/token"})
	load := func() *host.Error {
		t.Helper()
		_, err := c.load(t.Context(), "r/good", "")
		c.sources["r"].(*remote).index.expire()
		e, _ := err.(*host.Error)
		return e
	}
	if e := load(); e != nil {
		t.Fatal(e)
	}
	want = "Bearer second"
	if e := load(); e == nil || e.Kind != host.Upstream || e.Detail != "its repository refuses the host's credentials" {
		t.Errorf("a token that is not good any more: %v", e)
	}
	write(t, dir+"/token", []byte("\xef\xbb\xbfsecond"))
	for deadline := time.Now().Add(20 * time.Second); load() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the next token is not used")
		}
	}
	write(t, dir+"/token", []byte("sec\nond"))
	for deadline := time.Now().Add(20 * time.Second); c.sources["r"].(*remote).token.Problem() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a token of two lines is taken")
		}
	}
	if e := load(); e != nil {
		t.Errorf("the last good token: %v", e)
	}
}

func TestOnlyConfiguredAuthoritiesCount(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	e := open(t, Repository{Name: "r", URL: server.URL}).failure(t, "r/x", "")
	if e.Detail != "its repository does not answer as it should" || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("got %v", e)
	}
}

func TestFilesOfARepositoryAreRelativeToTheConfiguration(t *testing.T) {
	c := Config{Repositories: []Repository{{Path: "a"}, {TokenFile: "b", CAFile: "c"}}}
	for _, p := range c.Paths() {
		if *p != "" {
			*p = "/base/" + *p
		}
	}
	if r := c.Repositories; r[0].Path != "/base/a" || r[1].TokenFile != "/base/b" || r[1].CAFile != "/base/c" {
		t.Errorf("got %+v", r)
	}
}

func TestRedirectsOfARepositoryAreBounded(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/index.yaml", http.StatusFound)
	}))
	defer server.Close()
	if e := open(t, Repository{Name: "r", URL: server.URL}).failure(t, "r/x", ""); asked != 1+maxRedirects || !strings.Contains(e.Error(), "redirect is refused") {
		t.Errorf("after %d requests: %v", asked, e)
	}
}

// certificate is a PEM file of an authority that signed nothing.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTheNextAuthoritiesCount(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	file := t.TempDir() + "/ca.pem"
	write(t, file, certificate(t))
	c := open(t, Repository{Name: "r", URL: server.URL, CAFile: file})
	if e := c.failure(t, "r/x", ""); !strings.Contains(e.Error(), "certificate") {
		t.Errorf("another authority's certificate: %v", e)
	}
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(c.failure(t, "r/x", "").Error(), "404"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the right one is not used")
		}
	}
}

func TestTheCauseOfAnErrorStaysWithTheOperator(t *testing.T) {
	err := chartFailure("demo/x", fileFailure(fmt.Errorf("loading: %w", &fs.PathError{Op: "readdirent", Path: "/srv/current/charts", Err: fs.ErrPermission})))
	e, _ := errors.AsType[*host.Error](err)
	if e.Detail != "one of its files cannot be read: permission denied" || strings.Contains(e.Message, "/srv") || !strings.Contains(e.Error(), "/srv/current") {
		t.Errorf("got %+v", e)
	}
}
