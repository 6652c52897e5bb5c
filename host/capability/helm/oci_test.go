package helm

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	remotes "oras.land/oras-go/v2/registry/remote"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// push puts a chart into a registry as "helm push" does.
func push(t *testing.T, ref, kind string, archive []byte) {
	t.Helper()
	repository, err := remotes.NewRepository(ref)
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = true
	blob := func(kind string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
		if err := repository.Push(t.Context(), d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	text, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: blob("application/vnd.cncf.helm.config.v1+json", []byte("{}")),
		Layers: []ocispec.Descriptor{blob("application/vnd.cncf.helm.chart.provenance.v1.prov", []byte("signature")), blob(kind, archive)},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(text), Size: int64(len(text))}
	if err := repository.PushReference(t.Context(), d, bytes.NewReader(text), repository.Reference.Reference); err != nil {
		t.Fatal(err)
	}
}

// shop is a registry and, at the same address below /charts, a repository whose
// index names archives in it. It wants the Authorization header.
func shop(t *testing.T, authorization string) *httptest.Server {
	t.Helper()
	oci := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && authorization != "" && r.Header.Get("Authorization") != authorization:
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/charts/index.yaml":
			place := "oci://" + strings.TrimPrefix(server.URL, "http://")
			fmt.Fprintf(w, `{apiVersion: v1, entries: {
				hello: [{name: hello, version: 1.0.0, urls: ["%[1]s/team/hello:1.0.0"], digest: %[2]x}],
				forged: [{name: hello, version: 1.0.0, urls: ["%[1]s/team/hello:1.0.0"], digest: %064[3]d}],
				absent: [{name: hello, version: 1.0.0, urls: ["%[1]s/team/absent:1.0.0"]}],
				bad: [{name: hello, version: 1.0.0, urls: ["%[1]s/Team"]}],
				away: [{name: hello, version: 1.0.0, urls: ["oci://127.0.0.1:1/team/hello:1.0.0"]}]}}`, place, sha256.Sum256(archive(t, "hello", "1.0.0")), 1)
		default:
			oci.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestChartsOfAnOCIRegistry(t *testing.T) {
	server := shop(t, "")
	place := strings.TrimPrefix(server.URL, "http://")
	for tag, version := range map[string]string{"1.0.0": "1.0.0", "1.2.0": "1.2.0", "1.10.0_b1": "1.10.0+b1", "2.0.0-rc.1": "2.0.0-rc.1", "v0.9.0": "v0.9.0"} {
		push(t, place+"/team/hello:"+tag, chartLayer, archive(t, "hello", version))
	}
	push(t, place+"/team/hello:latest", chartLayer, archive(t, "hello", "9.9.9"))
	push(t, place+"/team/image:1.0.0", ocispec.MediaTypeImageLayerGzip, archive(t, "image", "1.0.0"))
	c := open(t, Repository{Name: "oci", URL: "oci://" + place + "/team/"}, Repository{Name: "index", URL: server.URL + "/charts"})
	for ref, want := range map[string]any{
		"oci/hello":            "1.10.0+b1",
		"oci/hello 1.0.0":      "1.0.0",
		"oci/hello v1.0.0":     "1.0.0",
		"oci/hello 0.9.0":      "v0.9.0",
		"oci/hello v0.9.0":     "v0.9.0",
		"oci/hello ~1.2":       "1.2.0",
		"oci/hello <1":         "v0.9.0",
		"oci/hello 1.10.0+b1":  "1.10.0+b1",
		"oci/hello 2.0.0-rc.1": "2.0.0-rc.1",
		"oci/hello >=2-0":      "2.0.0-rc.1",
		"oci/hello 3.0.0":      host.NotFound,
		"oci/hello ^3":         host.NotFound,
		"oci/absent":           host.NotFound,
		"oci/absent 1.0.0":     host.NotFound,
		"oci/hello latest":     host.Invalid,
		"oci/image":            "is not a Helm chart",
		"index/hello":          "1.0.0",
		"index/forged":         "digest is not the one in the index",
		"index/absent":         host.NotFound,
		"index/away":           `Head "https://127.0.0.1:1/`,
		"index/bad":            "its address in the registry cannot be used",
	} {
		chartName, version, _ := strings.Cut(ref, " ")
		ch, err := c.load(t.Context(), chartName, version)
		switch want := want.(type) {
		case host.Kind:
			if host.KindOf(err) != want {
				t.Errorf("%s: got %v, want %v", ref, err, want)
			}
		case string:
			if err != nil && !strings.Contains(err.Error(), want) || err == nil && ch.Metadata.Version != want {
				t.Errorf("%s: got %v, %v, want %s", ref, ch, err, want)
			}
		}
	}
}

func TestCredentialsForARegistry(t *testing.T) {
	server := shop(t, "Basic Ym90OnMzY3JldA==") // bot:s3cret
	place := strings.TrimPrefix(server.URL, "http://")
	push(t, place+"/team/hello:1.0.0", chartLayer, archive(t, "hello", "1.0.0"))
	t.Setenv("BULKHEAD_TEST_TOKEN", "s3cret")
	for url, chart := range map[string]string{"oci://" + place + "/team": "hello", server.URL + "/charts": "hello"} {
		c := open(t, Repository{Name: "r", URL: url, User: "bot", TokenEnv: "BULKHEAD_TEST_TOKEN"})
		if ch, err := c.load(t.Context(), "r/"+chart, ""); err != nil || ch.Metadata.Version != "1.0.0" {
			t.Errorf("%s: got %v, %v", url, ch, err)
		}
		e := open(t, Repository{Name: "r", URL: url}).failure(t, "r/"+chart, "")
		if e.Kind != host.Upstream || strings.Contains(e.Detail+e.Message, place) {
			t.Errorf("%s without credentials: %+v", url, e)
		}
	}
}

func TestARegistryThatIsAwayDoesNotTellWhereItIs(t *testing.T) {
	server := shop(t, "")
	place := strings.TrimPrefix(server.URL, "http://")
	c := open(t, Repository{Name: "r", URL: "oci://" + place + "/team"})
	server.Close()
	e := c.failure(t, "r/hello", "")
	if e.Kind != host.Upstream || e.Detail != "its registry does not answer as it should" || !strings.Contains(e.Error(), place) {
		t.Errorf("got %+v", e)
	}
}

func TestARegistryIsReadWithinBounds(t *testing.T) {
	manifest := func(layer int64) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"layers":[{"mediaType":%q,"digest":"sha256:%064d","size":%d}]}`, ocispec.MediaTypeImageManifest, chartLayer, 1, layer)
	}
	var text string
	tags := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			tags += 1000
			w.Header().Set("Link", fmt.Sprintf(`</v2/team/hello/tags/list?last=%d>; rel="next"`, tags))
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "team/hello", "tags": make([]string, 1000)})
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString(text).String())
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			fmt.Fprint(w, text)
		default:
			t.Errorf("it asks for %s", r.URL)
		}
	}))
	defer server.Close()
	c := open(t, Repository{Name: "r", URL: "oci://" + strings.TrimPrefix(server.URL, "http://") + "/team"})
	for want, c := range map[string]func() *host.Error{
		"over 10000 tags":      func() *host.Error { return c.failure(t, "r/hello", "^1") },
		"its manifest is over": func() *host.Error { text = strings.Repeat(" ", maxManifest+1); return c.failure(t, "r/hello", "1.0.0") },
		"it is over 20971520":  func() *host.Error { text = manifest(maxArchive + 1); return c.failure(t, "r/hello", "1.0.0") },
		"manifest is not JSON": func() *host.Error { text = "junk"; return c.failure(t, "r/hello", "1.0.0") },
	} {
		if e := c(); !strings.Contains(e.Error(), want) {
			t.Errorf("got %v, want %q", e, want)
		}
	}
	if tags > maxTags+1000 {
		t.Errorf("%d tags were read", tags)
	}
}

// An index and a registry may name other servers; they learn nothing there.
func TestCredentialsForARegistryGoNowhereElse(t *testing.T) {
	t.Setenv("BULKHEAD_TEST_TOKEN", "s3cret")
	asked := 0
	stranger := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("the registry that the index names gets %q", got)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer stranger.Close()
	index := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{apiVersion: v1, entries: {a: [{name: a, version: 1.0.0, urls: ["oci://%s/team/a:1.0.0"]}]}}`, strings.TrimPrefix(stranger.URL, "https://"))
	}))
	defer index.Close()
	ca := t.TempDir() + "/ca.pem"
	write(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: index.Certificate().Raw}))
	c := open(t, Repository{Name: "r", URL: index.URL, User: "bot", TokenEnv: "BULKHEAD_TEST_TOKEN", CAFile: ca})
	if e := c.failure(t, "r/a", ""); asked == 0 {
		t.Errorf("the registry was not asked: %v", e)
	}

	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a server without TLS is asked for a token: %s %v", r.URL, r.Header)
	}))
	defer plain.Close()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+plain.URL+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer registry.Close()
	c = open(t, Repository{Name: "r", URL: "oci://" + strings.TrimPrefix(registry.URL, "http://") + "/team", User: "bot", TokenEnv: "BULKHEAD_TEST_TOKEN"})
	if e := c.failure(t, "r/a", "1.0.0"); !strings.Contains(e.Error(), "the address is not https") {
		t.Errorf("got %v", e)
	}
}
