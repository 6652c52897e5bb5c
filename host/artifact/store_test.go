package artifact

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// stored is a store with what it logs.
func stored(t *testing.T, dir string, limit int64) (*Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := OpenStore(dir, limit, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func TestARestartAndARollbackNeedNoNetwork(t *testing.T) {
	f := newFixture(t)
	ops, dir := f.key("ops"), f.path("store")
	s, _ := stored(t, dir, 0)
	var digests []string
	tagged := Package{Source: f.ref("plugins/echo:v1").String(), Verification: f.by("ops")}
	for _, version := range []string{"1.0.0", "1.0.1"} {
		f.sign(f.push(module(t, "echo", version), "plugins/echo:v1"), ops)
		a, err := s.Fetch(t.Context(), tagged)
		if err != nil || a.Cached {
			t.Fatalf("%+v, %v", a, err)
		}
		digests = append(digests, a.Digest)
	}
	f.down.Store(true)
	s, log := stored(t, dir, 0) // a restart
	if a, err := s.Fetch(t.Context(), tagged); err != nil || !a.Cached || a.Digest != digests[1] || len(a.Identities) != 1 {
		t.Errorf("the tag: %+v, %v", a, err)
	}
	if !strings.Contains(log.String(), "cannot be reached; the copy on disk is used") {
		t.Errorf("no warning: %s", log)
	}
	for i, d := range digests {
		if a, err := s.cached(d, f.by("ops")); err != nil || a.Digest != digests[i] {
			t.Errorf("by digest: %+v, %v", a, err)
		}
	}
	asked := f.asked.Load()
	pinned := tagged
	pinned.Digest = digests[0]
	if a, err := s.Fetch(t.Context(), pinned); err != nil || !a.Cached || a.Digest != digests[0] || f.asked.Load() != asked {
		t.Errorf("pinned, asked %d times: %+v, %v", f.asked.Load()-asked, a, err)
	}
	// The policy counts as it is now, not as it was.
	f.key("other")
	if a, err := s.cached(digests[0], f.by("other")); err == nil || !strings.Contains(err.Error(), "has no valid signature by any of these") {
		t.Errorf("under another policy: %+v, %v", a, err)
	}
	if a, err := s.cached(digests[0], Verification{}); err == nil || !strings.Contains(err.Error(), "lists no identity that must have signed") {
		t.Errorf("without a policy: %+v, %v", a, err)
	}
	if _, err := s.cached("sha256:"+strings.Repeat("0", 64), f.by("ops")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was never fetched: %v", err)
	}
}

func TestAFlippedBitOnDiskIsFoundAndFetchedAgain(t *testing.T) {
	f := newFixture(t)
	ops := f.key("ops")
	s, log := stored(t, f.path("store"), 0)
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	f.sign(pinned, ops)
	p := Package{Source: pinned.String(), Verification: f.by("ops")}
	a, err := s.Fetch(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.blobs())
	if err != nil || len(entries) != 3 { // file, manifest, signatures
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		path := filepath.Join(s.blobs(), e.Name())
		text := mustRead(t, path)
		text[len(text)/2] ^= 4
		put(t, path, text)
		f.down.Store(true)
		if got, err := s.Fetch(t.Context(), p); err == nil || !strings.Contains(err.Error(), "the copy on disk is damaged") {
			t.Errorf("%+v, %v", got, err)
		}
		f.down.Store(false)
		if got, err := s.Fetch(t.Context(), p); err != nil || got.Cached || got.Digest != a.Digest {
			t.Errorf("fetched again: %+v, %v", got, err)
		}
		if got, err := s.Fetch(t.Context(), p); err != nil || !got.Cached {
			t.Errorf("kept again: %+v, %v", got, err)
		}
	}
	if n := strings.Count(log.String(), "damaged and was removed; check the disk"); n != 3 {
		t.Errorf("%d of 3 are logged", n)
	}
}

func TestAnUnsignedPluginIsLoudAtEachStart(t *testing.T) {
	f := newFixture(t)
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	for range 2 {
		s, log := stored(t, f.path("store"), 0)
		if _, err := s.Fetch(t.Context(), Package{Source: pinned.String(), Verification: Verification{Unsigned: true}}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "used without a signature, because of verification.unsigned") {
			t.Errorf("%s", log)
		}
	}
}

func TestWhatIsNotInUseIsCollectedAndTheStoreIsBounded(t *testing.T) {
	f := newFixture(t)
	s, _ := stored(t, f.path("store"), 0)
	fetch := func(version string) string {
		r := f.push(module(t, "echo", version), "plugins/echo:v1")
		a, err := s.Fetch(t.Context(), Package{Source: r.String(), Verification: Verification{Unsigned: true}})
		if err != nil {
			t.Fatal(err)
		}
		return a.Digest
	}
	old, current := fetch("1.0.0"), fetch("1.0.1")
	kept := func(d string) bool {
		_, err := s.cached(d, Verification{Unsigned: true})
		return err == nil
	}
	age := func() {
		list, err := s.list()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			then := time.Now().Add(-2 * grace)
			if err := os.Chtimes(filepath.Join(s.records(), e.name), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	if freed, err := s.Collect([]string{current}); err != nil || freed != 0 || !kept(old) {
		t.Errorf("just used: %d, %v", freed, err)
	}
	age()
	if freed, err := s.Collect([]string{current}); err != nil || freed == 0 || kept(old) || !kept(current) {
		t.Errorf("%d, %v", freed, err)
	}
	size, err := s.size()
	if err != nil {
		t.Fatal(err)
	}
	s.limit = 2*size + 10
	fetch("1.0.2")
	if _, err := s.Collect([]string{current}); err != nil { // 1.0.2 may go
		t.Fatal(err)
	}
	newest := fetch("1.0.3")
	if n, err := s.size(); err != nil || n > s.limit || !kept(current) || !kept(newest) {
		t.Errorf("%d of %d bytes, %v", n, s.limit, err)
	}
	s.limit = 10
	if d := fetch("1.0.4"); kept(d) {
		t.Error("it is over its limit")
	}
}

func TestTwoProcessesShareAStore(t *testing.T) {
	f := newFixture(t)
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	var wait sync.WaitGroup
	for range 4 {
		s, _ := stored(t, f.path("store"), 0) // a lock of its own, as in another process
		wait.Go(func() {
			for range 10 {
				if _, err := s.Fetch(t.Context(), Package{Source: pinned.String(), Verification: Verification{Unsigned: true}}); err != nil {
					t.Error(err)
				}
				if _, err := s.Collect(nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

// Go sends a header on to another port of the same host, and a registry may send a
// client to another server.
func TestCredentialsStayWithTheirServer(t *testing.T) {
	f := newFixture(t)
	file := module(t, "echo", "1.0.0")
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = w.Write(file)
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("asked with %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, other.URL+"/echo.wasm", http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	a, err := f.client.Pull(t.Context(), Package{
		Source: first.URL + "/echo.wasm", Verification: Verification{Unsigned: true}, Access: Access{TokenFile: put(t, f.path("token"), []byte("sesame\n"))},
	})
	if err != nil || !bytes.Equal(a.Bytes, file) || len(seen) != 1 || seen[0] != "" {
		t.Errorf("%+v, %v; the other server got %q", a, err, seen)
	}
}

func TestARegistryIsAskedWithItsCredentials(t *testing.T) {
	f := newFixture(t)
	deny := func(r *http.Request, body []byte) []byte {
		if user, password, _ := r.BasicAuth(); user != "ci" || password != "sesame" {
			t.Errorf("asked as %q", user)
		}
		return body
	}
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	challenge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		deny(r, nil)
		proxied, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+f.host+r.URL.RequestURI(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		proxied.Header.Set("Accept", r.Header.Get("Accept"))
		resp, err := http.DefaultTransport.RoundTrip(proxied)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for name := range resp.Header {
			w.Header().Set(name, resp.Header.Get(name))
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = resp.Body, 0
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		_, _ = w.Write(body.Bytes())
	}))
	defer challenge.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	p := Package{
		Source: "oci://" + strings.TrimPrefix(challenge.URL, "http://") + "/plugins/echo@" + pinned.digest.String(), Verification: Verification{Unsigned: true},
	}
	if _, err := f.client.Pull(t.Context(), p); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("without credentials: %v", err)
	}
	p.Access = Access{User: "ci", TokenFile: put(t, f.path("token"), []byte("sesame\n"))}
	if _, err := f.client.Pull(t.Context(), p); err != nil {
		t.Errorf("with credentials: %v", err)
	}
}

func TestACatalogueListsPluginsAndIsSigned(t *testing.T) {
	f := newFixture(t)
	ops := f.key("ops")
	catalog := f.ref("catalog:latest")
	for _, c := range []struct{ name, version string }{{"echo", "1.0.0"}, {"gitops", "0.2.0"}, {"echo", "1.10.0"}, {"echo", "1.9.0"}, {"echo", "1.9.0"}} {
		r := f.push(module(t, c.name, c.version), "plugins/"+c.name+":"+c.version)
		f.sign(r, ops)
		if _, e, err := f.client.AddToCatalog(t.Context(), Package{Source: r.String(), Verification: f.by("ops")}, catalog, Access{}); err != nil || e.Version != c.version {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	if _, err := f.client.Catalog(t.Context(), Package{Source: catalog.String(), Verification: f.by("ops")}); err == nil || !strings.Contains(err.Error(), "has no signature") {
		t.Errorf("not signed: %v", err)
	}
	f.sign(catalog, ops)
	got, err := f.client.Catalog(t.Context(), Package{Source: catalog.String(), Verification: f.by("ops")})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range got.Entries {
		list = append(list, e.Name+" "+e.Version+" "+e.HostAPI.String()+" "+strings.Join(e.Capabilities, ",")+" "+e.Description)
	}
	if want := "echo 1.10.0 1-2 kube Echoes.|echo 1.9.0 1-2 kube Echoes.|echo 1.0.0 1-2 kube Echoes.|gitops 0.2.0 1-2 kube Echoes."; strings.Join(list, "|") != want {
		t.Errorf("%s", strings.Join(list, "|"))
	}
	e, err := Find([]*Catalog{got}, "echo", "")
	if err != nil || e.Version != "1.10.0" {
		t.Fatalf("%+v, %v", e, err)
	}
	if a, err := f.pull(e.Reference, f.by("ops")); err != nil || digest.FromBytes(a.Bytes) != digest.FromBytes(module(t, "echo", "1.10.0")) {
		t.Errorf("from the catalogue: %+v, %v", a, err)
	}
	// A copy is complete.
	air, err := ParseReference("oci-layout:" + f.path("air") + ":catalog")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Copy(t.Context(), catalog, Access{}, air, Access{}); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	carried, err := f.client.Catalog(t.Context(), Package{Source: air.String(), Verification: f.by("ops")})
	if err != nil || len(carried.Entries) != 4 {
		t.Fatalf("%+v, %v", carried, err)
	}
	if _, err := f.pull(carried.Entries[0].Reference, f.by("ops")); err != nil {
		t.Errorf("from the layout: %v", err)
	}
	refused := map[string]error{}
	_, refused["two sources of one name"] = Find([]*Catalog{got, carried}, "echo", "")
	_, refused["a version that is not there"] = Find([]*Catalog{got}, "echo", "7.0.0")
	f.down.Store(false)
	entry := func(name, version string) string {
		return `{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"` + TypePlugin + `","digest":"sha256:` + strings.Repeat("a", 64) + `","size":1,` +
			`"annotations":{"org.opencontainers.image.title":"` + name + `","org.opencontainers.image.version":"` + version + `","vnd.bulkhead.host-api":"1-2"}}`
	}
	for name, manifests := range map[string]string{
		"one version twice":     entry("echo", "1.0.0") + "," + entry("echo", "1.0.0"),
		"a name that is a path": entry("../echo", "1.0.0"),
		"not a version":         entry("echo", "latest"),
		"too many entries":      strings.TrimSuffix(strings.Repeat("{},", maxPlugins+1), ","),
	} {
		text := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"` + TypeCatalog + `","manifests":[` + manifests + `]}`
		index, err := readCatalog([]byte(text))
		if err == nil {
			_, err = entries(index, catalog)
		}
		if refused[name] = about(catalog, StepFormat, err); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	golden(t, "catalog", refused, f.dir)
}

// cached returns the plugin whose file has digest from disk, verified under v as it is
// now. An error wraps fs.ErrNotExist if there is no copy.
func (s *Store) cached(digest string, v Verification) (*Artifact, error) {
	t := &task{Package: Package{Digest: digest, Verification: v}}
	if _, err := checkDigest(digest); err != nil {
		return nil, &Refusal{Origin: "the copy on disk", Step: StepReference, Field: "digest", Text: "is " + err.Error()}
	}
	if v.Required() {
		var err error
		if t.policy, err = v.open(); err != nil {
			return nil, about(Reference{scheme: schemeFile, path: digest}, StepReference, err)
		}
	}
	a, err := s.find(t)
	if err == nil {
		warnUnsigned(s.log, t, a)
		s.use(a.Digest)
	}
	return a, err
}
