package artifact

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	remotes "oras.land/oras-go/v2/registry/remote"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// note is the content of these tests' artifacts: gzipped JSON.
type note struct {
	Revision string
	Claims   Claims
	Origin   string `json:"-"`
}

const limit = 1 << 20

var notes = Format[*note]{Field: "note", Limit: limit, Signed: true, Verify: func(packed []byte, origin string) (*note, Claims, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, Claims{}, fmt.Errorf("%s: it is not gzipped: %w", origin, err)
	}
	n := &note{Origin: origin}
	if err := json.NewDecoder(z).Decode(n); err != nil {
		return nil, Claims{}, fmt.Errorf("%s: %w", origin, err)
	}
	return n, n.Claims, nil
}}

func put(t testing.TB, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pack(t *testing.T, n note) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := json.NewEncoder(z).Encode(n); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packed(t *testing.T, revision string) []byte { return pack(t, note{Revision: revision}) }

func open(t *testing.T, r Location, keep string) Source[*note] {
	t.Helper()
	r.Problems(func(field, text string) { t.Fatalf("%s: %s", field, text) })
	s, err := Open(r, notes, keep, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAMistakeInAReferenceNamesItsField(t *testing.T) {
	for want, r := range map[string]Location{
		": needs exactly one of file, url and oci":                     {},
		": needs exactly one of file, url and oci ":                    {File: "a", URL: "https://example.com/b"},
		".url: reference \"http://example.com/b\" is not an https URL": {URL: "http://example.com/b"},
		".url: reference \"…@example.com/b\" contains a password":      {URL: "https://u:p@example.com/b"},
		".oci: \"nonsense\" is not":                                    {OCI: "nonsense"},
		".poll: is less than 1s":                                       {URL: "https://example.com/b", Poll: 1},
		".user: needs tokenFile":                                       {URL: "https://example.com/b", Access: Access{User: "u"}},
		": poll, tokenFile, user and caFile are for url":               {File: "a", Poll: host.Duration(time.Minute)},
		"": {URL: "http://127.0.0.1:1/b"},
	} {
		var got []string
		r.Problems(func(field, text string) { got = append(got, field+": "+text) })
		if want = strings.TrimSpace(want); (want == "") != (len(got) == 0) || !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

func TestALocalFileIsBoundedAndRegular(t *testing.T) {
	dir := t.TempDir()
	path := put(t, filepath.Join(dir, "n.gz"), packed(t, "r1"))
	s := open(t, Location{File: path}, "")
	if n, err := s.Load(t.Context()); err != nil || n.Revision != "r1" || n.Origin != path {
		t.Errorf("%+v, %v", n, err)
	}
	put(t, path, make([]byte, limit+1))
	if _, err := s.Load(t.Context()); !errors.Is(err, tooLarge(limit)) || !strings.Contains(err.Error(), path+": it is larger than 1 MiB") {
		t.Errorf("too large: %v", err)
	}
	if _, err := ReadFile(os.DevNull, limit); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a device: %v", err)
	}
}

// What serves may expire, and its successor may be withheld: the place answers
// "not modified" for ever.
func TestAnArtifactExpiresWhileItServes(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	text := pack(t, note{Revision: "r1", Claims: Claims{Expires: expires}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	}))
	defer srv.Close()
	s := open(t, Location{URL: srv.URL}, "")
	for range 2 {
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	over := time.Now().Add(-time.Second)
	s.(*remote[*note]).claims.Expires = over
	if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), srv.URL+": it expired at "+over.UTC().Format(time.RFC3339)) {
		t.Errorf("got %v", err)
	}
}

// Claims of an artifact whose signature is verified are remembered; of another
// nothing is.
func TestAnOldArtifactIsRefusedIfClaimsAreSigned(t *testing.T) {
	for _, signed := range []bool{true, false} {
		var text atomic.Pointer[[]byte]
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*text.Load()) }))
		f := notes
		f.Signed = signed
		s, err := Open(Location{URL: srv.URL}, f, t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		offer := func(serial uint64, digest string) error {
			p := pack(t, note{Claims: Claims{Serial: serial, Digest: digest}})
			text.Store(&p)
			n, err := s.Load(t.Context())
			if err == nil {
				err = s.Publish(n)
			}
			return err
		}
		if err := errors.Join(offer(1, "a"), offer(3, "b"), offer(3, "b")); err != nil {
			t.Error(err)
		}
		for want, c := range map[string]Claims{"its serial 2 is below 3": {Serial: 2, Digest: "c"}, "is that of another": {Serial: 3, Digest: "c"}, "it has no serial": {}} {
			err := offer(c.Serial, c.Digest)
			if (err != nil) != signed || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("signed %t, %s: %v", signed, want, err)
			}
			if !signed {
				continue
			}
			if err := offer(3, "b"); err != nil {
				t.Errorf("the newest again: %v", err)
			}
		}
		srv.Close()
		s.Close()
	}
}

func TestAnUnchangedArtifactIsNotSentAgain(t *testing.T) {
	var whole, none atomic.Int32
	text := packed(t, "r1")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			none.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		whole.Add(1)
		_, _ = w.Write(text)
	}))
	defer srv.Close()
	token := put(t, filepath.Join(t.TempDir(), "token"), []byte("sesame\n"))
	s := open(t, Location{URL: srv.URL, Access: Access{TokenFile: token}}, "")
	first, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Load(t.Context())
	if err != nil || second != first || whole.Load() != 1 || none.Load() != 1 {
		t.Errorf("%v, sent %d times, %d not", err, whole.Load(), none.Load())
	}
	put(t, token, []byte("closed"))
	if _, err := s.Load(t.Context()); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "closed") {
		t.Errorf("a wrong token: %v", err)
	}
}

// It may be older than what is known to be wrong.
func TestTheCopyOnDiskCountsUntilThePlaceAnswers(t *testing.T) {
	text := packed(t, "r1")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text == nil {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(text)
	}))
	defer srv.Close()
	b, keep := Location{URL: srv.URL}, t.TempDir()
	s := open(t, b, keep)
	c, err := s.Load(t.Context())
	if err := errors.Join(err, s.Publish(c)); err != nil {
		t.Fatal(err)
	}
	s = open(t, b, keep)
	text = []byte("no artifact")
	if _, err := s.Load(t.Context()); err == nil || errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	text = nil
	if c, err := s.Load(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("%+v, %v", c, err)
	}
}

// File servers call the gzip of a .tar.gz a content encoding; others pack it again.
func TestAnArtifactIsTakenHoweverItsServerEncodesIt(t *testing.T) {
	text := packed(t, "r1")
	again := func(in []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		if _, err := z.Write(in); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	text0, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		want     string
	}{
		"plain":        {"", text, ""},
		"named gzip":   {"gzip", text, ""},
		"named x-gzip": {"X-GZip", text, ""},
		"packed twice": {"gzip", again(text), ""},
		"a packed tar": {"gzip", again(text0), ""},
		"identity":     {"identity", text, ""},
		"a plain tar":  {"", text0, "it is not gzipped"},
		"not packed":   {"gzip", text0, "it is not gzipped"},
		"another":      {"br", text, `content encoding "br"`},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); got != "" {
				t.Errorf("asked for %q", got)
			}
			if c.encoding != "" {
				w.Header().Set("Content-Encoding", c.encoding)
			}
			_, _ = w.Write(c.body)
		}))
		got, err := open(t, Location{URL: srv.URL}, "").Load(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got.Revision != "r1" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		srv.Close()
	}
}

// A URL may have a secret in its query, and so may one that it leads to.
func TestASecretInAURLStaysOutOfErrors(t *testing.T) {
	text := packed(t, "r1")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "http://127.0.0.1:1/b?sig=sesame", http.StatusFound)
			return
		}
		_, _ = w.Write(text)
	}))
	defer srv.Close()
	b := Location{URL: srv.URL + "/b?sig=sesame"}
	got, err := open(t, b, "").Load(t.Context())
	if err != nil || got.Origin != srv.URL+"/b" {
		t.Fatalf("%+v, %v", got, err)
	}
	_, moved := open(t, Location{URL: srv.URL + "/moved?sig=sesame"}, "").Load(t.Context())
	srv.Close()
	_, away := open(t, b, "").Load(t.Context())
	var bad error
	(&Location{URL: "http://u:sesame@example.com/b"}).Problems(func(field, text string) { bad = errors.Join(bad, errors.New(field+": "+text)) })
	for _, err := range []error{moved, away, bad} {
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v", err)
		}
	}
}

// push puts a file into a registry as "oras push REF FILE:KIND" does.
func push(t *testing.T, ref, kind string, text []byte) {
	t.Helper()
	repo, err := remotes.NewRepository(ref)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	layer := content.NewDescriptorFromBytes(kind, text)
	if err := repo.Push(t.Context(), layer, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	manifest, err := oras.PackManifest(t.Context(), repo, oras.PackManifestVersion1_1, "application/vnd.unknown.v1",
		oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Tag(t.Context(), manifest, repo.Reference.Reference); err != nil {
		t.Fatal(err)
	}
}

func TestAnArtifactComesFromARegistry(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/policy/site:v1"
	s := open(t, Location{OCI: ref}, "")
	if _, err := s.Load(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an empty registry: %v", err)
	}
	push(t, ref, "application/octet-stream", packed(t, "r0"))
	if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "0 of its layers are of the type application/vnd.oci.image.layer.v1.tar+gzip") {
		t.Errorf("another type: %v", err)
	}
	push(t, ref, ocispec.MediaTypeImageLayerGzip, packed(t, "r1"))
	first, err := s.Load(t.Context())
	if err != nil || first.Revision != "r1" {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := s.Load(t.Context()); err != nil || again != first {
		t.Errorf("it was read again: %v", err)
	}
	push(t, ref, ocispec.MediaTypeImageLayerGzip, packed(t, "r2"))
	if next, err := s.Load(t.Context()); err != nil || next.Revision != "r2" {
		t.Errorf("%+v, %v", next, err)
	}
	wrong := digest.FromString("another")
	pinned := open(t, Location{OCI: strings.TrimSuffix(ref, ":v1") + "@" + wrong.String()}, "")
	if _, err := pinned.Load(t.Context()); err == nil {
		t.Error("a digest that is not there was found")
	}
}

func TestADownloadEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() }))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := open(t, Location{URL: srv.URL}, "").Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestARedirectDoesNotLeaveEncryption(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("asked in plain text, with %q", r.Header.Get("Authorization"))
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusTemporaryRedirect))
	defer secure.Close()
	client := secure.Client()
	client.CheckRedirect = redirect
	req, err := http.NewRequestWithContext(t.Context(), "GET", secure.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer x")
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "leaves https") {
		t.Errorf("got %v", err)
	}
}

func TestWhatARegistryHoldsIsBoundedBeforeItIsFetched(t *testing.T) {
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	size, asked := int64(maxManifest+1), "/manifests/"
	manifest := fmt.Appendf(nil, `{"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": %q, "size": %d}]}`, digest, limit+1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, asked) {
			t.Errorf("fetched %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		if size > maxManifest {
			w.Header().Set("Docker-Content-Digest", digest)
			w.Header().Set("Content-Length", fmt.Sprint(size))
			return
		}
		w.Header().Set("Docker-Content-Digest", subjectOf(manifest, true).digest.String())
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		_, _ = w.Write(manifest)
	}))
	defer srv.Close()
	s := open(t, Location{OCI: strings.TrimPrefix(srv.URL, "http://") + "/policy/site:v1"}, "")
	if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "its manifest has 1048577 bytes, over the limit of 1048576") {
		t.Errorf("a manifest: %v", err)
	}
	size, asked = 0, "/blobs/"
	if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "its file has 1048577 bytes, over the limit of 1048576") {
		t.Errorf("a layer: %v", err)
	}
}
