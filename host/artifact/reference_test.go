package artifact

import (
	"strings"
	"testing"
)

const zero = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestReferencesAreReadAndWrittenAlike(t *testing.T) {
	for text, want := range map[string]string{
		"./echo.wasm": "./echo.wasm", "echo.wasm": "echo.wasm", "/opt/echo.wasm": "/opt/echo.wasm", "file:echo.wasm": "echo.wasm",
		"file:///opt/a%20b.wasm": "/opt/a b.wasm", "file:a:b.wasm": "file:a:b.wasm", "./a:b.wasm": "./a:b.wasm",
		"https://example.com/echo.wasm?x=1": "https://example.com/echo.wasm?x=1", "http://127.0.0.1:1/echo.wasm": "http://127.0.0.1:1/echo.wasm",
		"oci://example.com/plugins/echo:v1": "oci://example.com/plugins/echo:v1", "oci://localhost:5000/echo@" + zero: "oci://localhost:5000/echo@" + zero,
		"oci://example.com/echo:v1@" + zero: "oci://example.com/echo:v1@" + zero,
		"oci-layout:dir":                    "oci-layout:dir", "oci-layout:/a/b:v1": "oci-layout:/a/b:v1", "oci-layout:./b:v1@" + zero: "oci-layout:./b:v1@" + zero,
	} {
		r, err := ParseReference(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, r, err, want)
			continue
		}
		if again, err := ParseReference(r.String()); err != nil || again != r {
			t.Errorf("%s: %+v is not %+v, %v", text, again, r, err)
		}
	}
	r, err := ParseReference("oci-layout:dir:v1")
	if err != nil || r.In("/etc").String() != "oci-layout:/etc/dir:v1" || r.Remote() {
		t.Errorf("%s, %v", r.In("/etc"), err)
	}
}

func TestAReferenceThatCannotBeReadSaysWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"": "is empty; write", "ftp://example.com/x": `unknown scheme "ftp"`, "a:b": `unknown scheme "a"`, "http://example.com/x": "not an https URL",
		"https://u:sesame@example.com/x": "contains a password", "https://example.com/x#y": "has a fragment", "dir/": "does not name a file",
		"file://host/x": "is not a file URL", "oci:dir": "lacks // after oci:", "oci://example.com/echo": "neither a tag nor a digest",
		"oci://example.com/Echo:v1": "a repository has lower-case", "oci://example.com/../echo:v1": "a repository has lower-case", "oci://echo:v1": "is not oci://",
		"oci://example.com/echo:v1@sha256:12": "64 hexadecimal digits", "oci://example.com/echo@sha512:" + strings.Repeat("0", 128): "64 hexadecimal digits",
		"oci-layout:": "names no directory", "oci-layout:dir:a b": "which is not a tag", "a\x00b": "control character", strings.Repeat("a", 3000): "longer than 2048",
	} {
		_, err := ParseReference(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, text := range []string{"a.wasm", "file:///a", "https://example.com/a?b", "oci://example.com/a/b:v1@" + zero, "oci-layout:a:b@" + zero, "file:oci://x", "oci-layout:a@b:c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseReference(text)
		if err != nil {
			return
		}
		if again, err := ParseReference(r.String()); err != nil || again != r {
			t.Errorf("%q is %+v, written %q, read %+v, %v", text, r, r.String(), again, err)
		}
		if strings.Contains(r.Origin(), "?") {
			t.Errorf("%q: %q has a query", text, r.Origin())
		}
	})
}

// A payload counts only if it names one manifest and its type.
func FuzzPayload(f *testing.F) {
	good, err := newPayload("example.com/echo", zero)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"critical":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := readPayload(text)
		if (err == nil) != (d != "") || err == nil && d.Validate() != nil {
			t.Errorf("%q, %v", d, err)
		}
	})
}

// Nothing that a registry stores as a signature verifies by chance, or ends the host.
func FuzzProof(f *testing.F) {
	f.Add([]byte("{}"), "c2ln", "", "", "", []byte(nil))
	f.Add([]byte(nil), "", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", `{"Payload":{}}`, `{}`, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	private, _, err := NewKeyPair(nil)
	if err != nil {
		f.Fatal(err)
	}
	k, err := ReadSigningKey(put(f, f.TempDir()+"/k", private), func() ([]byte, error) { return []byte{}, nil })
	if err != nil {
		f.Fatal(err)
	}
	s := signer{name: k.name, key: k.verifier}
	f.Fuzz(func(t *testing.T, payload []byte, sig, cert, entry, stamp string, bundle []byte) {
		p := proof{payload, sig, cert, entry, stamp, bundle}
		for _, manifest := range []bool{true, false} {
			if _, err := s.check(subjectOf([]byte("x"), manifest), p); err == nil {
				t.Errorf("%+v verifies", p)
			}
		}
		if _, _, err := p.certified(subjectOf([]byte("x"), true)); err == nil && bundle == nil && cert == "" {
			t.Errorf("%+v has a certificate", p)
		}
	})
}
