package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// A route without a handler would answer 404 to users; it is refused when the plugin is
// packed, and when a host loads it.
func TestAPluginWhoseHandlersAreNotItsRoutesIsRefused(t *testing.T) {
	wasm, err := os.ReadFile(packtest.Build(t, "sdk/pack/testdata/hello"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := manifest.Extract(wasm)
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for routes, want := range map[string]string{
		`{"name": "hello", "method": "GET", "path": "/hello", "action": "hello.read"}`: "",
		`{"name": "hallo", "method": "GET", "path": "/hello", "action": "hello.read"}`: `manifest and handlers differ: route "hallo" (GET /hello) of the manifest has no handler` + "\n" + `the handler "hello" has no route in the manifest`,
	} {
		old := `{"name": "hello", "method": "GET", "path": "/hello", "action": "hello.read"}`
		packed, err := manifest.Embed(wasm, []byte(strings.Replace(string(text), old, routes, 1)))
		if err != nil {
			t.Fatal(err)
		}
		check := func(how string, err error) {
			if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: %v, want %q", how, err, want)
			}
		}
		check("packing", plugin.CheckHandlers(t.Context(), box, packed))
		file := filepath.Join(t.TempDir(), "plugin.wasm")
		if err := os.WriteFile(file, packed, 0o600); err != nil {
			t.Fatal(err)
		}
		check("loading", newFixture(t).swap(plugin.Config{Name: "hello", Source: file}))
	}
}

// A host may have higher limits than the defaults, under which a plugin is packed.
func TestAModuleOverTheDefaultLimitsIsNotRefusedForThem(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"name": "big", "version": "1.0.0", "routes": [{"name": "get", "method": "GET", "path": "/", "action": "read"}]}`
	for module, refused := range map[string]bool{
		"\x00asm\x01\x00\x00\x00\x05\x04\x01\x00\xd0\x0f": false, // a memory of 2000 pages
		"\x00asm\x01\x00\x00\x00\x05\x04\x01\x00\xd0":     true,  // a section that ends early
	} {
		packed, err := manifest.Embed([]byte(module), []byte(text))
		if err == nil {
			err = plugin.CheckHandlers(t.Context(), box, packed)
		}
		if (err != nil) != refused {
			t.Errorf("%q: %v", module, err)
		}
	}
}
