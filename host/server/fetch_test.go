package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// A plugin of the configuration may come from an OCI image layout. It serves if it is
// signed as its entry says, under the policy of now, and its copy serves while the
// layout is away.
func TestAPluginOfTheConfigurationIsVerified(t *testing.T) {
	w := light(t, "")
	vic := w.as(t, "vic")
	key := func(name string) *artifact.SigningKey {
		private, public, err := artifact.NewKeyPair(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, name+".key", string(private))
		w.write(t, name+".pub", string(public))
		k, err := artifact.ReadSigningKey(filepath.Join(w.dir, name+".key"), func() ([]byte, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	release := key("release")
	key("foreign")
	module := packtest.Build(t, "plugins/echo")
	layout := filepath.Join(w.dir, "air")
	ref, err := artifact.ParseReference("oci-layout:" + layout + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	var client artifact.Client
	pushed, err := client.Push(t.Context(), wasm, ref, artifact.Access{})
	if err == nil {
		_, _, err = client.Sign(t.Context(), pushed, artifact.Access{}, release)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest := w.server.plugins.Get("echo").Info().Digest
	good := lightConfig(t)
	entry := func(text string) string {
		return strings.Replace(good, fmt.Sprintf("{name: echo, source: %q}", module), "{name: echo, source: 'oci-layout:./air:v1', "+text+"}", 1)
	}
	w.write(t, "bulkhead.yaml", entry("verification: {anyOf: [{key: ./release.pub}]}, config: {n: 1}"))
	w.reload(t)
	expect(t, vic.get("/api/echo/echo"), 200, "a signed plugin")
	for want, text := range map[string]string{
		"plugins[0].verification: lists no identity": "config: {n: 2}",
		"verify: ": "verification: {anyOf: [{key: ./foreign.pub}]}, config: {n: 2}",
		"verify":   "digest: '" + digest + "', verification: {anyOf: [{key: ./foreign.pub}]}, config: {n: 2}", // which is kept
		"plugins[0].verification.anyOf[0]: needs either key": "verification: {anyOf: [{}]}",
	} {
		w.write(t, "bulkhead.yaml", entry(text))
		_, err := w.server.Reload(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), want) || host.KindOf(err) != host.Unprocessable {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		expect(t, vic.get("/api/echo/echo"), 200, text)
	}
	if err := os.RemoveAll(layout); err != nil {
		t.Fatal(err)
	}
	w.write(t, "bulkhead.yaml", entry("verification: {anyOf: [{key: ./release.pub}]}, config: {n: 3}"))
	w.reload(t)
	expect(t, vic.get("/api/echo/echo"), 200, "its copy")
}
