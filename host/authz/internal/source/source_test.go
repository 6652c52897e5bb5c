package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rego = "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n"

func put(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyPair makes a signing key; it returns the files of its two halves.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return put(t, filepath.Join(t.TempDir(), name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = write("key", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
	return private, write("key.pub", "PUBLIC KEY", der, err)
}

func packed(t *testing.T, revision string, s *Signing) []byte {
	t.Helper()
	var out bytes.Buffer
	c := newContent("", "", []Module{{"site.rego", []byte(rego)}}, map[string]any{"site": map[string]any{"frozen": true}})
	if err := Pack(&out, c, revision, s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(t *testing.T, b Bundle, keep string) Source {
	t.Helper()
	cfg := Config{Bundle: &b}
	if err := config.Check("policy", cfg.Check); err != nil {
		t.Fatal(err)
	}
	s, err := Open(cfg, keep, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestABundleFileBringsRegoDataAndRevision(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), packed(t, "r7", nil))
	c, err := open(t, Bundle{Location: artifact.Location{File: path}}, "").Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Modules) != 1 || string(c.Modules[0].Text) != rego || c.Revision != "r7" || c.Data["site"] == nil {
		t.Errorf("%+v", c)
	}
}

func TestADirectoryMergesItsDataAndNamesConflicts(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.json"), []byte(`{"site": {"frozen": ["prod"]}}`))
	put(t, filepath.Join(dir, "b.yaml"), []byte("site:\n  owners: [ann]\n"))
	put(t, filepath.Join(dir, "p.rego"), []byte(rego))
	c, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	site, _ := c.Data["site"].(map[string]any)
	if len(site) != 2 || len(c.Modules) != 1 {
		t.Errorf("%+v", c)
	}
	put(t, filepath.Join(dir, "c.yml"), []byte("site: {owners: [bob]}\n"))
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "c.yml: /site/owners") {
		t.Errorf("two owners: %v", err)
	}
	put(t, filepath.Join(dir, "c.yml"), []byte("- 1\n"))
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "not an object") {
		t.Errorf("a list: %v", err)
	}
}

// Editors on Windows put a byte order mark in front of what they save.
func TestAByteOrderMarkIsPassedOver(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.json"), []byte(mark+`{"a": 1.50}`))
	put(t, filepath.Join(dir, "b.yaml"), []byte(mark+"b: 2\n"))
	put(t, filepath.Join(dir, "p.rego"), []byte(mark+rego))
	c, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Data["a"] != json.Number("1.50") || c.Data["b"] != json.Number("2") {
		t.Errorf("%#v", c.Data)
	}
	private, public := keyPair(t)
	text, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	put(t, public, append([]byte(mark), text...))
	token := put(t, filepath.Join(dir, "token"), []byte(mark+"sesame\r\n"))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer sesame" {
			t.Errorf("the token is sent as %q", got)
		}
		_, _ = w.Write(packed(t, "r1", &Signing{KeyFile: private}))
	}))
	defer srv.Close()
	if _, err := open(t, Bundle{Location: artifact.Location{URL: srv.URL, Access: artifact.Access{TokenFile: token}}, Keys: []Key{{ID: "ops", File: public}}}, "").Load(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAMistakeInDataNamesItsLine(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"d.json", "{\n\"site\": {\n", "d.json: line 2: unexpected EOF"},
		{"d.json", "{\n}\n}\n", "d.json: line 3: something follows"},
		{"d.json", "{}\n{}\n", "d.json: line 2: something follows"},
		{"d.json", "{\"a\":\n{\"b\": 1,\n \"b\": 2}}", `d.json: line 3: it has the key "b" twice`},
		{"d.json", `{"a": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", "d.json: line 1: it holds over 4000000 values, or is nested deeper than 100"},
		{"d.json", "{\"a\": 1,}", "d.json: line 1: "},
		{"d.json", "{\"a\" 1}", "d.json: line 1: "},
		{"d.json", "{\"a\": [1}", "d.json: line 1: "},
		{"d.json", "{\n\"a\": tru\n}", "d.json: line 2: "},
		{"d.json", "", "d.json: line 1: "},
		{"e.yaml", "e: 1\ne: 2\n", `e.yaml: line 2: has the key "e" twice`},
		{"e.yaml", "e: [\n", "e.yaml: line 1: is not YAML"},
		{"e.yaml", "e: 1\n---\nf: 2\n", "e.yaml: line 3: a second document begins"},
		{"e.yaml", "e: &e 1\nf: *e\n", "e.yaml: line 2: uses an alias"},
		{"e.yml", "e: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "e.yml: line 1: is nested deeper than 100 levels"},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, c.file), []byte(c.text))
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "d.json"), []byte(`{"d": 12345678901234567890}`))
	put(t, filepath.Join(dir, "e.yaml"), []byte("e: 12345678901234567890\n"))
	c, err := Read(dir)
	if err != nil || c.Data["d"] != json.Number("12345678901234567890") || c.Data["e"] != c.Data["d"] {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSignaturesAreVerified(t *testing.T) {
	private, public := keyPair(t)
	other, _ := keyPair(t)
	key := Key{ID: "ops", File: public, Algorithm: "ES256"}
	signed := packed(t, "r1", &Signing{KeyFile: private, Algorithm: "ES256", KeyID: "ops"})
	for name, c := range map[string]struct {
		text []byte
		want string // of the error; empty: it loads
	}{
		"good":          {signed, ""},
		"no signature":  {packed(t, "r1", nil), "b.tar.gz: it is not signed"},
		"another key":   {packed(t, "r1", &Signing{KeyFile: other, Algorithm: "ES256", KeyID: "ops"}), "verif"},
		"changed after": {tamper(t, signed), "site.rego"},
	} {
		path := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), c.text)
		_, err := open(t, Bundle{Location: artifact.Location{File: path}, Keys: []Key{key}}, "").Load(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Which key is meant is for a signature to say, unless there is only one.
func TestAKeysIDCountsAmongSeveral(t *testing.T) {
	private, public := keyPair(t)
	_, other := keyPair(t)
	ops, spare := Key{ID: "ops", File: public}, Key{ID: "spare", File: other}
	for _, c := range []struct {
		id   string
		keys []Key
		ok   bool
	}{
		{"ops", []Key{ops}, true}, {"", []Key{ops}, true}, {"spare", []Key{ops}, true},
		{"ops", []Key{ops, spare}, true}, {"", []Key{ops, spare}, false}, {"spare", []Key{ops, spare}, false}, {"gone", []Key{ops, spare}, false},
	} {
		path := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), packed(t, "r1", &Signing{KeyFile: private, KeyID: c.id}))
		if _, err := open(t, Bundle{Location: artifact.Location{File: path}, Keys: c.keys}, "").Load(t.Context()); (err == nil) != c.ok {
			t.Errorf("signed as %q with %d keys: %v", c.id, len(c.keys), err)
		}
	}
}

// The algorithm follows from the key, and another one is a mistake that says so.
func TestAnAlgorithmFitsItsKey(t *testing.T) {
	files := func(key crypto.Signer) (private, public string) {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		der2, err2 := x509.MarshalPKIXPublicKey(key.Public())
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		return put(t, filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
			put(t, filepath.Join(dir, "key.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der2}))
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, edKey, err3 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	rsaPrivate, rsaPublic := files(rsaKey)
	ecPrivate, ecPublic := files(ecKey)
	edPrivate, edPublic := files(edKey)
	secret := put(t, filepath.Join(t.TempDir(), "secret"), bytes.Repeat([]byte("a secret "), 8))
	for _, c := range []struct{ private, public, algorithm, signing, verifying string }{
		{rsaPrivate, rsaPublic, "", "", ""},
		{rsaPrivate, rsaPublic, "PS512", "", ""},
		{ecPrivate, ecPublic, "", "", ""},
		{ecPrivate, ecPublic, "ES384", "", ""},
		{secret, secret, "HS256", "", ""},
		{ecPrivate, ecPublic, "RS256", "the key is EC P-384 and does not fit the algorithm RS256; use ES384", "the key is EC P-384 and does not fit the algorithm RS256; use ES384"},
		{rsaPrivate, rsaPublic, "ES256", "use RS256 or", "use RS256 or"},
		{ecPrivate, ecPublic, "HS256", "use ES384", "use ES384"},
		{edPrivate, edPublic, "", "signed with RSA, EC", "signed with RSA, EC"},
		{secret, secret, "", "a secret needs", "a secret needs"},
		{ecPublic, ecPrivate, "", "is public", "is private"},
	} {
		var out bytes.Buffer
		content := newContent("", "", []Module{{"site.rego", []byte(rego)}}, nil)
		err := Pack(&out, content, "r1", &Signing{KeyFile: c.private, Algorithm: c.algorithm})
		if (err == nil) != (c.signing == "") || err != nil && !strings.Contains(err.Error(), c.signing) {
			t.Errorf("signing with %+v: %v", c, err)
		}
		path := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), out.Bytes())
		_, err = open(t, Bundle{Location: artifact.Location{File: path}, Keys: []Key{{ID: "ops", File: c.public, Algorithm: c.algorithm}}}, "").Load(t.Context())
		if (err == nil) != (c.verifying == "") || err != nil && !strings.Contains(err.Error(), "bundle.keys: ops: ") || err != nil && !strings.Contains(err.Error(), c.verifying) {
			t.Errorf("verifying with %+v: %v", c, err)
		}
	}
}

// tamper changes the Rego in a packed bundle and nothing else.
func tamper(t *testing.T, in []byte) []byte {
	t.Helper()
	return repack(t, in, func(name string, text []byte) []byte {
		if strings.HasSuffix(name, ".rego") {
			return append(text, "\n# more\n"...)
		}
		return text
	})
}

// repack passes each file of a packed bundle through change.
func repack(t *testing.T, in []byte, change func(name string, text []byte) []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	tw := tar.NewWriter(w)
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		text, err2 := io.ReadAll(tr)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		text = change(h.Name, text)
		h.Size = int64(len(text))
		if err := errors.Join(tw.WriteHeader(h), func() error { _, err := tw.Write(text); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatIsNoUsableBundleSaysSo(t *testing.T) {
	// The header of a file says how long it is, which need not be so.
	bomb := func(size, there int64) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		tw := tar.NewWriter(w)
		err := tw.WriteHeader(&tar.Header{Name: "data.json", Mode: 0o600, Size: size})
		if _, err2 := io.CopyN(tw, zeros{}, there); errors.Join(err, err2, w.Close()) != nil {
			t.Fatal(err, err2)
		}
		return out.Bytes()
	}
	empty := func() []byte {
		var out bytes.Buffer
		if err := Pack(&out, newContent("", "", nil, nil), "", nil); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"text":    {[]byte("hello"), "not a gzipped tar"},
		"empty":   {empty(), "it is empty"},
		"bomb":    {bomb(maxUnpacked+1, maxUnpacked+1), "larger than 64 MiB"},
		"promise": {bomb(1<<44, 0), "larger than 64 MiB"}, // making room for it would end the process
		"short":   {bomb(maxUnpacked, 1), "not a gzipped tar"},
		"cut":     {packed(t, "r", nil)[:100], "gzipped tar"},
	} {
		path := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), c.text)
		if _, err := open(t, Bundle{Location: artifact.Location{File: path}}, "").Load(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLastGoodBundleServesWhileItsPlaceIsAway(t *testing.T) {
	private, public := keyPair(t)
	text := packed(t, "r1", &Signing{KeyFile: private, Algorithm: "ES256", KeyID: "ops"})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer srv.Close()
	keep := t.TempDir()
	b := Bundle{Location: artifact.Location{URL: srv.URL}, Keys: []Key{{ID: "ops", File: public, Algorithm: "ES256"}}}
	s := open(t, b, keep)
	want, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(filepath.Join(keep, "*")); len(kept) != 0 {
		t.Errorf("%v is kept before it is published", kept)
	}
	if err := s.Publish(want); err != nil {
		t.Fatal(err)
	}
	srv.Close()
	got, err := open(t, b, keep).Load(t.Context())
	if err != nil || got.Digest != want.Digest {
		t.Errorf("%+v, %v", got, err)
	}
	// The copy is verified like any other.
	kept, _ := filepath.Glob(filepath.Join(keep, "*.tar.gz"))
	if len(kept) != 1 {
		t.Fatalf("%v is kept", kept)
	}
	put(t, kept[0], tamper(t, text))
	if _, err := open(t, b, keep).Load(t.Context()); !errors.Is(err, artifact.ErrUnreachable) {
		t.Errorf("a copy that somebody changed: %v", err)
	}
}

func TestABundleIsTakenOnceItsKeyIsThere(t *testing.T) {
	private, public := keyPair(t)
	_, other := keyPair(t)
	text := packed(t, "r1", &Signing{KeyFile: private, Algorithm: "ES256", KeyID: "ops"})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	}))
	defer srv.Close()
	s := open(t, Bundle{Location: artifact.Location{URL: srv.URL}, Keys: []Key{{ID: "ops", File: other, Algorithm: "ES256"}}}, "")
	if _, err := s.Load(t.Context()); err == nil {
		t.Fatal("it was taken with another key")
	}
	right, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	put(t, other, right)
	if _, err := s.Load(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMistakesInASourceNameTheirField(t *testing.T) {
	for want, c := range map[string]Config{
		"policy: has both":             {Dir: "a", Bundle: &Bundle{Location: artifact.Location{File: "b"}}},
		"policy.bundle: needs exactly": {Bundle: &Bundle{}},
		"policy.bundle.url":            {Bundle: &Bundle{Location: artifact.Location{URL: "http://example.com/b"}, Unsigned: true}},
		"policy.bundle.oci":            {Bundle: &Bundle{Location: artifact.Location{OCI: "nonsense"}, Unsigned: true}},
		"policy.bundle.keys: is miss":  {Bundle: &Bundle{Location: artifact.Location{URL: "https://example.com/b"}}},
		"policy.bundle.unsigned":       {Bundle: &Bundle{Location: artifact.Location{File: "b"}, Unsigned: true, Keys: []Key{{ID: "a", File: "a"}}}},
		"policy.bundle.poll":           {Bundle: &Bundle{Location: artifact.Location{URL: "https://example.com/b", Poll: 1}, Unsigned: true}},
		"policy.bundle.keys[0].algo":   {Bundle: &Bundle{Location: artifact.Location{File: "b"}, Keys: []Key{{ID: "a", File: "a", Algorithm: "none"}}}},
		"policy.bundle.keys[1].id":     {Bundle: &Bundle{Location: artifact.Location{File: "b"}, Keys: []Key{{ID: "a", File: "a"}, {ID: "a", File: "a"}}}},
		"policy.bundle.user":           {Bundle: &Bundle{Location: artifact.Location{URL: "https://example.com/b", Access: artifact.Access{User: "u"}}, Unsigned: true}},
	} {
		if err := config.Check("policy", c.Check); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
