package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// From a key to a plugin that was pushed, signed, listed, carried and pulled, by the
// commands alone.
func TestAPluginIsPublishedSignedListedAndCarried(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)), registry.WithReferrersSupport(true)))
	defer srv.Close()
	at := "oci://" + strings.TrimPrefix(srv.URL, "http://")
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	file, err := manifest.Embed([]byte("\x00asm\x01\x00\x00\x00"), []byte(`{"name": "hello", "version": "1.0.0", "description": "Says \u001b[2Jhello.",
		"routes": [{"name": "get", "method": "GET", "path": "/", "action": "get.read"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("hello.wasm"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("COSIGN_PASSWORD", "sesame")
	run := func(code int, want string, args ...string) string {
		t.Helper()
		stdout, stderr, got := bulkhead(t, append([]string{"plugin"}, args...)...)
		if got != code || !strings.Contains(stdout+stderr, want) || strings.Contains(stdout+stderr, "sesame") || strings.Contains(stdout, "\x1b") {
			t.Errorf("%v: exit code %d, want %d with %q:\n%s%s", args, got, code, want, stdout, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	for _, name := range []string{"ops", "other"} {
		run(0, name+".pub", "keygen", "-o", in(name))
	}
	run(1, "file exists", "keygen", "-o", in("ops"))
	tag := at + "/plugins/hello:v1"
	pinned := run(0, tag+"@sha256:", "push", in("hello.wasm"), tag)
	run(2, "has neither a tag nor a digest", "push", in("hello.wasm"), at+"/plugins/hello")
	run(1, "is not a WebAssembly module", "push", in("ops.pub"), tag)
	run(1, "has no signature", "verify", tag, "--key", in("ops.pub"))
	run(0, "signed by key sha256:", "sign", tag, "--key", in("ops.key"))
	run(0, "was signed before by", "sign", pinned, "--key", in("ops.key"))
	run(0, "signed by key sha256:", "verify", tag, "--key", in("ops.pub"))
	run(1, "by another signer", "verify", tag, "--key", in("other.pub"))
	run(1, "verification.allOf[1].key", "verify", tag, "--all", "--key", in("ops.pub"), "--key", in("other.pub"))
	run(2, "name who must have signed", "verify", tag)
	run(2, "no such file", "verify", tag, "--key", in("absent.pub"))
	run(2, "check the file and its password", "sign", tag, "--key", in("other.key"), "--password-file", in("ops.pub"))

	catalog := at + "/catalog:latest"
	run(0, "hello 1.0.0", "catalog", "add", catalog, tag, "--key", in("ops.pub"))
	run(1, "has no signature", "catalog", catalog, "--key", in("ops.pub"))
	run(0, "signed by", "catalog", "sign", catalog, "--key", in("ops.key"))
	run(0, "hello  1.0.0    1-2", "catalog", catalog, "--key", in("ops.pub"))
	var listed struct {
		Plugins []struct{ Name, Reference string }
	}
	if err := json.Unmarshal([]byte(run(0, "hello", "catalog", catalog, "--key", in("ops.pub"), "--json")), &listed); err != nil || len(listed.Plugins) != 1 {
		t.Fatalf("%+v, %v", listed, err)
	}
	run(0, "signed by", "verify", listed.Plugins[0].Reference, "--key", in("ops.pub"))

	run(0, "signed by", "pull", tag, "--key", in("ops.pub"), "-o", "oci-layout:"+in("carried")+":v1")
	run(0, "not signed", "pull", tag, "-o", in("unverified.wasm"))
	run(1, "by another signer", "pull", tag, "--key", in("other.pub"), "-o", in("never.wasm"))
	srv.CloseClientConnections()
	run(0, "signed by", "pull", "oci-layout:"+in("carried"), "--key", in("ops.pub"), "-o", in("pulled.wasm"))
	run(0, "/elsewhere/hello:v1@sha256:", "push", "oci-layout:"+in("carried"), at+"/elsewhere/hello:v1")
	run(0, "signed by", "verify", at+"/elsewhere/hello:v1", "--key", in("ops.pub"))
	run(0, "signed by", "sign", in("pulled.wasm"), "--key", in("other.key"))
	run(0, "signed by", "verify", in("pulled.wasm"), "--key", in("other.pub"))
	for _, name := range []string{"pulled.wasm", "unverified.wasm"} {
		if got, err := os.ReadFile(in(name)); err != nil || !bytes.Equal(got, file) {
			t.Errorf("%s is not the file: %v", name, err)
		}
	}
	if _, err := os.Stat(in("never.wasm")); !os.IsNotExist(err) {
		t.Errorf("a refused file was written: %v", err)
	}
}
