package artifact

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
	"oras.land/oras-go/v2/content"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

var update = flag.Bool("update", false, "write testdata/refusals.golden")

// module is a small plugin with a manifest.
func module(t testing.TB, name, version string) []byte {
	t.Helper()
	text := fmt.Sprintf(`{"name": %q, "version": %q, "description": "Echoes.", "routes": [{"name": "get", "method": "GET", "path": "/", "action": "get.read"}],
		"capabilities": [{"name": "kube", "reason": "lists pods"}]}`, name, version)
	if _, err := manifest.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	file, err := manifest.Embed([]byte("\x00asm\x01\x00\x00\x00"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// fixture is a registry, keys and plugins of one test.
type fixture struct {
	t      *testing.T
	dir    string
	host   string
	tamper atomic.Pointer[func(r *http.Request, body []byte) []byte] // of answers
	down   atomic.Bool
	asked  atomic.Int64
	client *Client
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, dir: t.TempDir(), client: &Client{}}
	real := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)), registry.WithReferrersSupport(true))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		change := f.tamper.Load()
		switch {
		case f.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case change == nil:
			real.ServeHTTP(w, r)
		default:
			rec := httptest.NewRecorder()
			real.ServeHTTP(rec, r)
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write((*change)(r, rec.Body.Bytes()))
		}
	}))
	t.Cleanup(srv.Close)
	f.host = strings.TrimPrefix(srv.URL, "http://")
	return f
}

func (f *fixture) ref(text string) Reference {
	f.t.Helper()
	r, err := ParseReference("oci://" + f.host + "/" + text)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// key makes a key pair NAME.key and NAME.pub.
func (f *fixture) key(name string) *SigningKey {
	f.t.Helper()
	private, public, err := NewKeyPair([]byte("sesame"))
	if err != nil {
		f.t.Fatal(err)
	}
	put(f.t, f.path(name+".pub"), public)
	k, err := ReadSigningKey(put(f.t, f.path(name+".key"), private), sesame)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

func sesame() ([]byte, error) { return []byte("sesame"), nil }

func (f *fixture) push(file []byte, to string) Reference {
	f.t.Helper()
	pinned, err := f.client.Push(f.t.Context(), file, f.ref(to), Access{})
	if err != nil {
		f.t.Fatal(err)
	}
	return pinned
}

func (f *fixture) sign(r Reference, k *SigningKey) {
	f.t.Helper()
	if _, _, err := f.client.Sign(f.t.Context(), r, Access{}, k); err != nil {
		f.t.Fatal(err)
	}
}

// by is a policy that asks for the key NAME.
func (f *fixture) by(names ...string) (v Verification) {
	for _, name := range names {
		v.AnyOf = append(v.AnyOf, Identity{Key: f.path(name + ".pub")})
	}
	return v
}

func (f *fixture) pull(source string, v Verification) (*Artifact, error) {
	return f.client.Pull(f.t.Context(), Package{Source: source, Verification: v})
}

// raw pushes a manifest as it is, with the blobs that it names.
func (f *fixture) raw(to string, mediaType string, text []byte, blobs ...[]byte) Reference {
	f.t.Helper()
	r := f.ref(to)
	t, _, done, err := openTarget(r, Access{}, f.client)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	for _, b := range blobs {
		if err := putBlob(f.t.Context(), t, content.NewDescriptorFromBytes("application/octet-stream", b), b); err != nil {
			f.t.Fatal(err)
		}
	}
	desc := content.NewDescriptorFromBytes(mediaType, text)
	if err := putManifest(f.t.Context(), t, desc, text, r.tag); err != nil {
		f.t.Fatal(err)
	}
	return r.at(desc.Digest)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWhatIsPushedAndSignedIsPulledAndVerified(t *testing.T) {
	f := newFixture(t)
	ops, file := f.key("ops"), module(t, "echo", "1.0.0")
	pinned := f.push(file, "plugins/echo:v1")
	if again := f.push(file, "plugins/echo:v1"); again != pinned {
		t.Errorf("the same file is %s and %s", pinned, again)
	}
	f.sign(pinned, ops)
	if _, before, err := f.client.Sign(t.Context(), pinned, Access{}, ops); err != nil || !before {
		t.Errorf("signing again: %t, %v", before, err)
	}
	sum := sha256.Sum256(file)
	for _, source := range []string{pinned.String(), f.ref("plugins/echo:v1").String()} {
		a, err := f.pull(source, f.by("ops"))
		if err != nil || !bytes.Equal(a.Bytes, file) || a.Digest != "sha256:"+hex.EncodeToString(sum[:]) ||
			!slices.Equal(a.Identities, []string{ops.Name()}) || a.Reference.digest != pinned.digest {
			t.Errorf("%s: %+v, %v", source, a, err)
		}
	}
	// Both places where cosign stores signatures are enough alone.
	proofs := func() []proof {
		p, done, err := openPlace(pinned, Access{}, f.client.log())
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		top, err := resolve(t.Context(), p, pinned)
		if err != nil {
			t.Fatal(err)
		}
		list, err := signatures(t.Context(), p, top)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := proofs(); len(list) != 1 { // one signature in two places
		t.Errorf("%d signatures, want 1", len(list))
	}
	noReferrers := func(r *http.Request, body []byte) []byte {
		if strings.Contains(r.URL.Path, "/referrers/") {
			return []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		}
		return body
	}
	f.tamper.Store(&noReferrers)
	if _, err := f.pull(pinned.String(), f.by("ops")); err != nil {
		t.Errorf("by the tag alone: %v", err)
	}
	f.tamper.Store(nil)
	second := f.push(module(t, "echo", "2.0.0"), "plugins/echo:v2")
	to, _, done, err := openTarget(f.ref("plugins/echo:v2"), Access{}, f.client)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	payload := mustPayload(t, second)
	sig, err := ops.sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	layer := content.NewDescriptorFromBytes(typeSimpleSigning, payload)
	err = putBlob(t.Context(), to, layer, payload)
	layer.Annotations = map[string]string{annotationSignature: sig}
	top := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: second.digest, Size: f.size(second)}
	if err = errors.Join(err, referSignature(t.Context(), to, top, layer)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.pull(second.String(), f.by("ops")); err != nil {
		t.Errorf("by the referrer alone: %v", err)
	}
}

// The payload is what cosign's specification shows (cosign, specs/SIGNATURE_SPEC.md), and
// a key of "cosign generate-key-pair" has this form.
func TestSignaturesAndKeysHaveCosignsForm(t *testing.T) {
	d := digest.FromString("x")
	text, err := newPayload("example.com/echo", d)
	want := `{"critical":{"identity":{"docker-reference":"example.com/echo"},"image":{"docker-manifest-digest":"` + d.String() + `"},"type":"cosign container image signature"},"optional":null}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	f := newFixture(t)
	f.key("ops")
	for name, kind := range map[string]string{"ops.key": "ENCRYPTED SIGSTORE PRIVATE KEY", "ops.pub": "PUBLIC KEY"} {
		key, err := os.ReadFile(f.path(name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(key)
		if block == nil || block.Type != kind {
			t.Errorf("%s: %s", name, key)
		}
		if kind == "PUBLIC KEY" {
			continue
		}
		var sealed struct {
			KDF    struct{ Name string }
			Cipher struct{ Name string }
		}
		if err := json.Unmarshal(block.Bytes, &sealed); err != nil || sealed.KDF.Name != "scrypt" || sealed.Cipher.Name != "nacl/secretbox" {
			t.Errorf("%+v, %v", sealed, err)
		}
	}
	if _, err := ReadSigningKey(f.path("ops.key"), func() ([]byte, error) { return []byte("wrong"), nil }); err == nil || !strings.Contains(err.Error(), "check the file and its password") {
		t.Errorf("a wrong password: %v", err)
	}
	tag := signatureTag("sha256:" + digest.Digest(strings.Repeat("a", 64)))
	if tag != "sha256-"+strings.Repeat("a", 64)+".sig" {
		t.Error(tag)
	}
}

// sigstore is a certificate authority with a log and a timestamp authority.
type sigstore struct {
	t *testing.T
	*ca.VirtualSigstore
}

func newSigstore(t *testing.T) sigstore {
	v, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return sigstore{t, v}
}

// root writes the trusted root, changed by change.
func (s sigstore) root(path string, logs, stamps bool) string {
	s.t.Helper()
	trusted := map[string]*root.TransparencyLog{}
	for id, l := range s.RekorLogs() {
		raw, err := hex.DecodeString(id)
		if err != nil {
			s.t.Fatal(err)
		}
		l.ID = raw
		if logs {
			trusted[id] = l
		}
	}
	var authorities []root.TimestampingAuthority
	if stamps {
		authorities = s.TimestampingAuthorities()
	}
	return s.write(path, s.FulcioCertificateAuthorities(), nil, authorities, trusted)
}

func (s sigstore) write(path string, by []root.CertificateAuthority, certificateLogs map[string]*root.TransparencyLog, stamps []root.TimestampingAuthority, logs map[string]*root.TransparencyLog) string {
	s.t.Helper()
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, by, certificateLogs, stamps, logs)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := r.MarshalJSON()
	if err != nil {
		s.t.Fatal(err)
	}
	return put(s.t, path, text)
}

// annotations signs a payload as "cosign sign" does without a key, and returns what it
// stores with the payload.
func (s sigstore) annotations(payload []byte, who, issuer string, at time.Time, stamped bool) map[string]string {
	s.t.Helper()
	entity, err := s.SignAtTime(who, issuer, payload, at)
	if err != nil {
		s.t.Fatal(err)
	}
	verification, err := entity.VerificationContent()
	if err != nil {
		s.t.Fatal(err)
	}
	sig, err := entity.SignatureContent()
	if err != nil {
		s.t.Fatal(err)
	}
	logged, err := entity.TlogEntries()
	if err != nil {
		s.t.Fatal(err)
	}
	e := logged[0].TransparencyLogEntry()
	p := tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(e.CanonicalizedBody), IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: hex.EncodeToString(e.LogId.KeyId),
	}
	set, err := s.RekorSignPayload(p)
	if err != nil {
		s.t.Fatal(err)
	}
	a := map[string]string{
		annotationSignature: base64.StdEncoding.EncodeToString(sig.Signature()),
		annotationCert:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: verification.Certificate().Raw})),
		annotationLogEntry:  string(encode(s.t, map[string]any{"SignedEntryTimestamp": set, "Payload": p})),
	}
	if stamped {
		stamps, err := entity.Timestamps()
		if err != nil {
			s.t.Fatal(err)
		}
		a[annotationTimestamp] = string(encode(s.t, map[string]any{"SignedRFC3161Timestamp": stamps[0]}))
	}
	return a
}

// attach stores a signature of ref below cosign's tag.
func (f *fixture) attach(ref Reference, payload []byte, annotations map[string]string) {
	f.t.Helper()
	layer := content.NewDescriptorFromBytes(typeSimpleSigning, payload)
	layer.Annotations = annotations
	config := []byte("{}")
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: content.NewDescriptorFromBytes(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{layer}}
	m.SchemaVersion = 2
	f.raw(ref.repository+":"+signatureTag(ref.digest), m.MediaType, encode(f.t, m), payload, config)
}

const (
	robot  = "https://github.com/example/echo/.github/workflows/release.yml@refs/tags/v1"
	issuer = "https://token.actions.githubusercontent.com"
)

func (f *fixture) keyless(trust string) Verification {
	return Verification{TrustRoot: trust, AnyOf: []Identity{{Issuer: issuer, Subject: robot}}}
}

func TestACertificateSignatureIsVerifiedOffline(t *testing.T) {
	f, s := newFixture(t), newSigstore(t)
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	payload, err := newPayload("", pinned.digest)
	if err != nil {
		t.Fatal(err)
	}
	f.attach(pinned, payload, s.annotations(payload, robot, issuer, time.Now().Add(5*time.Minute), true))
	both := s.root(f.path("both.json"), true, true)
	for name, v := range map[string]Verification{
		"log and timestamp": f.keyless(both),
		"log":               f.keyless(s.root(f.path("log.json"), true, false)),
		"timestamp":         f.keyless(s.root(f.path("timestamp.json"), false, true)),
		"pattern":           {TrustRoot: both, AllOf: []Identity{{Issuer: issuer, SubjectRegexp: `https://github\.com/example/echo/.*@refs/tags/v\d+`}}},
	} {
		a, err := f.pull(pinned.String(), v)
		if err != nil || !slices.Equal(a.Identities, []string{robot + " (issuer " + issuer + ")"}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// bundled makes the bundle that cosign stores as a referrer: a statement about a digest.
func (s sigstore) bundled(d digest.Digest, predicate string) []byte {
	s.t.Helper()
	statement := encode(s.t, map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": map[string]any{},
		"subject": []any{map[string]any{"name": "", "digest": map[string]string{"sha256": d.Encoded()}}},
	})
	entity, err := s.AttestAtTime(robot, issuer, statement, time.Now().Add(5*time.Minute), true)
	if err != nil {
		s.t.Fatal(err)
	}
	verification, err := entity.VerificationContent()
	if err != nil {
		s.t.Fatal(err)
	}
	sig, err := entity.SignatureContent()
	if err != nil {
		s.t.Fatal(err)
	}
	logged, err := entity.TlogEntries()
	if err != nil {
		s.t.Fatal(err)
	}
	e := logged[0].TransparencyLogEntry()
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(e.CanonicalizedBody, &kind); err != nil {
		s.t.Fatal(err)
	}
	e.KindVersion = &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion}
	set, err := s.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(e.CanonicalizedBody), IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: hex.EncodeToString(e.LogId.KeyId),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: set}
	text, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: verification.Certificate().Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{e},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: "application/vnd.in-toto+json", Signatures: []*protodsse.Signature{{Sig: sig.Signature()}},
		}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// refer stores a bundle as a referrer of ref, as cosign 3 does: with an empty config.
func (f *fixture) refer(ref Reference, bundle []byte) {
	f.t.Helper()
	const kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
	config := []byte("{}")
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind, Config: content.NewDescriptorFromBytes(ocispec.MediaTypeEmptyJSON, config),
		Layers:  []ocispec.Descriptor{content.NewDescriptorFromBytes(kind, bundle)},
		Subject: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: ref.digest, Size: f.size(ref)},
	}
	m.SchemaVersion = 2
	f.raw(ref.repository+":referrer", m.MediaType, encode(f.t, m), bundle, config)
}

func (f *fixture) size(ref Reference) int64 {
	f.t.Helper()
	p, done, err := openPlace(ref, Access{}, f.client.log())
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	top, err := resolve(f.t.Context(), p, ref)
	if err != nil {
		f.t.Fatal(err)
	}
	return top.Size
}

// A bundle of provenance by the same signer is no signature.
func TestABundleIsASignatureIfItSaysSo(t *testing.T) {
	f, s := newFixture(t), newSigstore(t)
	trust := s.root(f.path("root.json"), true, true)
	pinned := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	f.refer(pinned, s.bundled(pinned.digest, "https://slsa.dev/provenance/v1"))
	if _, err := f.pull(pinned.String(), f.keyless(trust)); err == nil || !strings.Contains(err.Error(), `is a statement of the type "https://slsa.dev/provenance/v1" about the artifact, not a signature`) {
		t.Errorf("provenance: %v", err)
	}
	f.refer(pinned, s.bundled(pinned.digest, signPredicate))
	a, err := f.pull(pinned.String(), f.keyless(trust))
	if err != nil || len(a.Identities) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAFileIsVerifiedByTheSignatureBesideIt(t *testing.T) {
	f := newFixture(t)
	ops, team, file := f.key("ops"), f.key("team"), module(t, "echo", "1.0.0")
	path := put(t, f.path("echo.wasm"), file)
	for _, k := range []*SigningKey{ops, team, ops} {
		if _, _, err := f.client.Sign(t.Context(), Reference{scheme: schemeFile, path: path}, Access{}, k); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(f.dir)))
	defer srv.Close()
	both := Verification{AllOf: []Identity{{Key: f.path("ops.pub")}, {Key: f.path("team.pub")}}}
	for _, source := range []string{path, "file:" + path, "file://" + path, srv.URL + "/echo.wasm", srv.URL + "/echo.wasm?token=sesame"} {
		a, err := f.pull(source, both)
		if err != nil || !slices.Equal(a.Identities, []string{ops.Name(), team.Name()}) || strings.Contains(a.Source, "sesame") {
			t.Errorf("%s: %+v, %v", source, a, err)
		}
	}
	if a, err := f.pull(path, Verification{}); err != nil || len(a.Identities) != 0 {
		t.Errorf("a local file without a policy: %+v, %v", a, err)
	}
}

func TestALayoutCarriesAnArtifactWithItsSignatures(t *testing.T) {
	f := newFixture(t)
	ops, file := f.key("ops"), module(t, "echo", "1.0.0")
	pinned := f.push(file, "plugins/echo:v1")
	f.sign(pinned, ops)
	air, err := ParseReference("oci-layout:" + f.path("air") + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Copy(t.Context(), pinned, Access{}, air, Access{}); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	for _, source := range []string{air.String(), "oci-layout:" + f.path("air"), "oci-layout:" + f.path("air") + "@" + pinned.digest.String()} {
		a, err := f.pull(source, f.by("ops"))
		if err != nil || !bytes.Equal(a.Bytes, file) || len(a.Identities) != 1 {
			t.Errorf("%s: %+v, %v", source, a, err)
		}
	}
	f.down.Store(false)
	back := f.ref("elsewhere/echo:v1")
	if r, err := f.client.Copy(t.Context(), air, Access{}, back, Access{}); err != nil || r.digest != pinned.digest {
		t.Errorf("%s, %v", r, err)
	}
	if _, err := f.pull(back.String(), f.by("ops")); err != nil {
		t.Errorf("back in a registry: %v", err)
	}
	// Signing without a network.
	team := f.key("team")
	f.sign(air, team)
	if _, err := f.pull(air.String(), Verification{AllOf: append(f.by("ops").AnyOf, f.by("team").AnyOf...)}); err != nil {
		t.Errorf("signed in the layout: %v", err)
	}
}

func gzipped(t testing.TB, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.CopyN(z, zeros{}, int64(size)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestNothingLoadsThatIsNotAsThePolicySays makes what a registry, a web server, a layout
// or an operator can get wrong, and compares each refusal with testdata/refusals.golden.
func TestNothingLoadsThatIsNotAsThePolicySays(t *testing.T) {
	f, s := newFixture(t), newSigstore(t)
	ops, other := f.key("ops"), f.key("other")
	f.key("third")
	file, evil := module(t, "echo", "1.0.0"), module(t, "echo", "6.6.6")
	good := f.push(file, "plugins/echo:v1")
	f.sign(good, ops)
	trust := s.root(f.path("root.json"), true, true)
	refused := map[string]error{}
	try := func(name string, p Package) {
		t.Helper()
		a, err := f.client.Pull(t.Context(), p)
		if err == nil {
			t.Errorf("%s: it was loaded: %+v", name, a)
			return
		}
		if _, ok := errors.AsType[*Refusal](err); !ok {
			t.Errorf("%s: not a Refusal: %v", name, err)
		}
		refused[name] = err
	}
	pull := func(name, source string, v Verification) {
		t.Helper()
		try(name, Package{Source: source, Verification: v})
	}

	// Tags and digests.
	pull("a tag that is not there", f.ref("plugins/echo:v9").String(), f.by("ops"))
	pull("a digest that is not there", f.ref("plugins/echo@sha256:"+strings.Repeat("0", 64)).String(), f.by("ops"))
	f.push(evil, "plugins/moved:v1")
	pull("a tag moved to something unsigned", f.ref("plugins/moved:v1").String(), f.by("ops"))
	try("a tag moved, and the file is pinned", Package{Source: f.ref("plugins/moved:v1").String(), Digest: digest.FromBytes(file).String(), Verification: Verification{Unsigned: true}})
	flip := func(part string) func(r *http.Request, body []byte) []byte {
		return func(r *http.Request, body []byte) []byte {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) && len(body) > 10 {
				body = bytes.Clone(body)
				body[len(body)-2] ^= 1
			}
			return body
		}
	}
	for name, part := range map[string]string{
		"a flipped bit in the file": "/blobs/" + digest.FromBytes(file).String(), "a flipped bit in the manifest": "/manifests/" + good.digest.String(),
		"a flipped bit in a signature's payload": "/blobs/" + digest.FromBytes(mustPayload(t, good)).String(),
	} {
		change := flip(part)
		f.tamper.Store(&change)
		pull(name, good.String(), f.by("ops"))
		f.tamper.Store(nil)
	}

	// Signatures.
	pull("no signature", f.push(module(t, "echo", "1.0.1"), "plugins/none:v1").String(), f.by("ops"))
	pull("no policy", good.String(), Verification{})
	pull("a foreign signature", good.String(), f.by("other", "third"))
	pull("one of two is missing", good.String(), Verification{AllOf: append(f.by("ops").AnyOf, f.by("other").AnyOf...)})
	copied := f.push(module(t, "echo", "1.0.2"), "plugins/copied:v1")
	payload := mustPayload(t, good)
	sig, err := ops.sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	f.attach(copied, payload, map[string]string{annotationSignature: sig})
	pull("a signature of another artifact", copied.String(), f.by("ops"))
	f.attach(copied, payload, map[string]string{annotationSignature: "%%%"})
	pull("a signature that is not base64", copied.String(), f.by("ops"))
	bad := []byte(`{"critical":{"type":"something else"}}`)
	if sig, err = ops.sign(bad); err != nil {
		t.Fatal(err)
	}
	f.attach(copied, bad, map[string]string{annotationSignature: sig})
	pull("a payload of another type", copied.String(), f.by("ops"))
	_ = other

	// Certificates.
	certified := f.push(module(t, "echo", "1.0.3"), "plugins/certified:v1")
	payload = mustPayload(t, certified)
	soon := time.Now().Add(5 * time.Minute)
	f.attach(certified, payload, s.annotations(payload, robot, issuer, time.Now().Add(40*time.Minute), false))
	pull("a certificate that had expired", certified.String(), f.keyless(trust))
	f.attach(certified, payload, s.annotations(payload, "mallory@example.com", issuer, soon, false))
	pull("a certificate for another subject", certified.String(), f.keyless(trust))
	f.attach(certified, payload, s.annotations(payload, robot, "https://evil.example.com", soon, false))
	pull("a certificate by another issuer", certified.String(), f.keyless(trust))
	f.attach(certified, payload, newSigstore(t).annotations(payload, robot, issuer, soon, true))
	pull("a certificate of another authority", certified.String(), f.keyless(trust))
	f.attach(certified, payload, s.annotations(payload, robot, issuer, soon, true))
	pull("a certificate of another authority, with a known timestamp", certified.String(), f.keyless(
		s.write(f.path("authority.json"), newSigstore(t).FulcioCertificateAuthorities(), nil, s.TimestampingAuthorities(), nil)))
	pull("a certificate that its own log did not sign", certified.String(), f.keyless(
		s.write(f.path("sct.json"), s.FulcioCertificateAuthorities(), s.CTLogs(), s.TimestampingAuthorities(), nil)))
	unlogged := s.annotations(payload, robot, issuer, soon, false)
	delete(unlogged, annotationLogEntry)
	f.attach(certified, payload, unlogged)
	pull("a certificate without a proof of its time", certified.String(), f.keyless(trust))
	pull("a certificate where a key is asked for", certified.String(), f.by("ops"))
	pull("a key where a certificate is asked for", good.String(), f.keyless(trust))
	pull("a trust root without a log or timestamps", certified.String(), f.keyless(s.root(f.path("bare.json"), false, false)))
	pull("an invalid trust root", certified.String(), f.keyless(put(t, f.path("none.json"), []byte("{}"))))

	// Formats.
	manifestOf := func(change func(m *ocispec.Manifest), blob []byte) []byte {
		config := []byte("{}")
		m := ocispec.Manifest{
			MediaType: ocispec.MediaTypeImageManifest, Config: content.NewDescriptorFromBytes(TypePluginManifest, config),
			Layers: []ocispec.Descriptor{content.NewDescriptorFromBytes(TypePlugin, blob)},
		}
		m.SchemaVersion = 2
		change(&m)
		return encode(t, m)
	}
	formats := func(name string, change func(m *ocispec.Manifest), blob []byte) {
		t.Helper()
		r := f.raw("plugins/format:v1", ocispec.MediaTypeImageManifest, manifestOf(change, blob), blob, []byte("{}"))
		pull(name, r.String(), Verification{Unsigned: true})
	}
	bomb := gzipped(t, 64<<20)
	formats("a gzip bomb", func(*ocispec.Manifest) {}, bomb)
	formats("a gzip bomb as a packed layer", func(m *ocispec.Manifest) { m.Layers[0].MediaType = TypePlugin + "+gzip" }, bomb)
	formats("a text", func(*ocispec.Manifest) {}, []byte("a text"))
	formats("a component", func(*ocispec.Manifest) {}, []byte("\x00asm\x0d\x00\x01\x00"))
	formats("two files", func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, file)
	lies := manifestOf(func(m *ocispec.Manifest) { m.Layers[0].Size = 1 << 40 }, file)
	f.raw("plugins/format:lies", ocispec.MediaTypeImageManifest, lies, file, []byte("{}"))
	pull("a file larger than the limit", f.ref("plugins/format:lies").String(), Verification{Unsigned: true})
	pathTrick := manifestOf(func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../../../etc/passwd" }, file)
	pull("an index", f.raw("plugins/format:index", ocispec.MediaTypeImageIndex, encode(t, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{}})).String(), Verification{Unsigned: true})

	// Layouts.
	layoutOf := func(name string, files map[string][]byte) string {
		dir := f.path(name)
		if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
			t.Fatal(err)
		}
		for path, text := range files {
			put(t, filepath.Join(dir, path), text)
		}
		return dir
	}
	version := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	indexOf := func(text []byte) []byte {
		return encode(t, map[string]any{"schemaVersion": 2, "manifests": []any{content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, text)}})
	}
	blob := func(text []byte) string { return "blobs/sha256/" + digest.FromBytes(text).Encoded() }
	pull("a layout with a digest that leads out of it", "oci-layout:"+layoutOf("tricks", map[string][]byte{
		"oci-layout": version, "index.json": indexOf(pathTrick), blob(pathTrick): pathTrick,
	}), Verification{Unsigned: true})
	links := layoutOf("links", map[string][]byte{"oci-layout": version, "index.json": indexOf([]byte("x"))})
	if err := os.Symlink("/etc/hostname", filepath.Join(links, blob([]byte("x")))); err != nil {
		t.Fatal(err)
	}
	pull("a layout with a link that leads out of it", "oci-layout:"+links, Verification{Unsigned: true})
	pull("a layout without an index", "oci-layout:"+layoutOf("empty", map[string][]byte{"oci-layout": version}), Verification{Unsigned: true})
	many := bytes.Repeat([]byte(`{"mediaType":"a"},`), maxEntries+1)
	pull("a layout with too many entries", "oci-layout:"+layoutOf("many", map[string][]byte{
		"oci-layout": version, "index.json": fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s{}]}`, many),
	}), Verification{Unsigned: true})
	pull("a directory that is not there", "oci-layout:"+f.path("nowhere"), Verification{Unsigned: true})

	// Web servers, credentials and authorities.
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/packed.wasm":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		case r.Header.Get("Authorization") == "":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			http.Redirect(w, r, "http://example.com/echo.wasm?token=sesame", http.StatusFound)
		}
	}))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer secure.Close()
	authority := put(t, f.path("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	token := put(t, f.path("token"), []byte("sesame"))
	try("an unknown authority", Package{Source: secure.URL + "/echo.wasm", Verification: Verification{Unsigned: true}})
	try("no credentials", Package{Source: secure.URL + "/echo.wasm", Access: Access{CAFile: authority}, Verification: Verification{Unsigned: true}})
	try("a redirect out of https", Package{Source: secure.URL + "/echo.wasm", Access: Access{CAFile: authority, TokenFile: token}, Verification: Verification{Unsigned: true}})
	try("a gzip bomb by encoding", Package{Source: secure.URL + "/packed.wasm", Access: Access{CAFile: authority}, Verification: Verification{Unsigned: true}})
	try("a token file that is not there", Package{Source: good.String(), Access: Access{TokenFile: f.path("absent")}, Verification: Verification{Unsigned: true}})

	// Policies.
	rsa := put(t, f.path("rsa.pub"), []byte(rsaKey))
	pull("a key of another type", good.String(), Verification{AnyOf: []Identity{{Key: rsa}}})
	pull("a private key", good.String(), Verification{AnyOf: []Identity{{Key: f.path("ops.key")}}})
	pull("an identity without issuer", good.String(), Verification{TrustRoot: trust, AnyOf: []Identity{{Subject: robot}}})
	pull("a certificate without trust root", good.String(), Verification{AnyOf: []Identity{{Issuer: issuer, Subject: robot}}})
	pull("unsigned and signed", good.String(), Verification{AnyOf: f.by("ops").AnyOf, Unsigned: true})
	twice := put(t, f.path("twice.pub"), mustRead(t, f.path("ops.pub")))
	pull("one key as two", good.String(), Verification{AllOf: []Identity{{Key: f.path("ops.pub")}, {Key: twice}}})
	try("a pin that is no digest", Package{Source: good.String(), Digest: "sha256:abc", Verification: Verification{Unsigned: true}})

	golden(t, "refusals", refused, f.dir)
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustPayload(t testing.TB, r Reference) []byte {
	t.Helper()
	text, err := newPayload(r.registry+"/"+r.repository, r.digest)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const rsaKey = `-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMWtfMNsBqVVEdVnXEmUpB1xkxCL7jYJ
jBBHnGbdyn3K7ue6ULLPKYwXYXnv9IvXEVHUcjpKvtGhVkUZC6GcVN0CAwEAAQ==
-----END PUBLIC KEY-----
`

var (
	hexRE  = regexp.MustCompile(`[0-9a-f]{64}`)
	portRE = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	timeRE = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-][0-9:]+)`)
)

// golden compares errors with testdata/NAME.golden, in which what changes from run to
// run has names.
func golden(t *testing.T, name string, got map[string]error, dir string) {
	t.Helper()
	var out strings.Builder
	for _, c := range slices.Sorted(maps.Keys(got)) {
		text := strings.ReplaceAll(got[c].Error(), dir, "DIR")
		text = timeRE.ReplaceAllString(portRE.ReplaceAllString(hexRE.ReplaceAllString(text, "HEX"), "HOST"), "TIME")
		if strings.Contains(text, "\n") || strings.Contains(text, "sesame") {
			t.Errorf("%s: not one line, or with a secret: %q", c, text)
		}
		fmt.Fprintf(&out, "%s\n\t%s\n", c, text)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		put(t, path, []byte(out.String()))
	}
	if want := string(mustRead(t, path)); want != out.String() {
		t.Errorf("refusals are not those of %s; run with -update and look at the change:\n%s", path, out.String())
	}
}
