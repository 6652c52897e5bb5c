package pack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// wasm joins sections, each an id and its contents of under 128 bytes.
func wasm(sections ...[]byte) []byte {
	out := bytes.Clone(header)
	for _, s := range sections {
		out = append(append(out, s[0], byte(len(s)-1)), s[1:]...)
	}
	return out
}

func str(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func section(id byte, parts ...[]byte) []byte { return append([]byte{id}, bytes.Join(parts, nil)...) }

var (
	types     = section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 1, 0x7e})
	functions = section(3, []byte{2, 0, 1})
	memory    = section(7, []byte{4},
		str("memory"), []byte{2, 0}, str("bulkhead_alloc"), []byte{0, 0},
		str("bulkhead_start"), []byte{0, 1}, str("bulkhead_handle"), []byte{0, 1})
)

func TestAModuleIsCheckedAgainstItsManifest(t *testing.T) {
	m := &manifest.Manifest{
		Routes:       []manifest.Route{{Name: "a", Kind: manifest.Unary}},
		Capabilities: []manifest.Capability{{Name: "helm"}},
	}
	imported := func(module string) []byte { return section(2, []byte{1}, str(module), str("fetch"), []byte{0, 1}) }
	exports := func(kind byte, alloc byte) []byte {
		return section(7, []byte{4}, str("memory"), []byte{kind, 0}, str("bulkhead_alloc"), []byte{0, alloc},
			str("bulkhead_start"), []byte{0, 1}, str("bulkhead_handle"), []byte{0, 1})
	}
	for _, c := range []struct {
		why    string
		module []byte
		want   string // empty: fits
	}{
		{"fits", wasm(types, functions, memory), ""},
		{"granted import", wasm(types, imported("bulkhead:helm/v1"), section(3, []byte{1, 0}),
			section(7, []byte{4}, str("memory"), []byte{2, 0}, str("bulkhead_alloc"), []byte{0, 1},
				str("bulkhead_start"), []byte{0, 0}, str("bulkhead_handle"), []byte{0, 0})), ""},
		{"nothing exported", wasm(types, functions), "does not export memory"},
		{"wrong type", wasm(types, functions, exports(2, 1)), "bulkhead_alloc is (i32 i32) -> i64, want (i32) -> i32"},
		{"no such function", wasm(types, functions, exports(2, 9)), "a function without a type"},
		{"memory is a function", wasm(types, functions, exports(0, 0)), "export memory is"},
		{"capability not asked for", wasm(types, functions, memory, imported("bulkhead:kube/v1")), `capability "kube"`},
		{"other version", wasm(types, functions, memory, imported("bulkhead:helm/v2")), `"bulkhead:helm/v2", which no host provides`},
		{"other host", wasm(types, functions, memory, imported("env")), `"env", which no host provides`},
	} {
		t.Run(c.why, func(t *testing.T) {
			err := check(c.module, m)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAMalformedModuleIsAnError(t *testing.T) {
	for why, module := range map[string][]byte{
		"empty":             nil,
		"cut section":       append(bytes.Clone(header), 1, 100),
		"many types":        wasm([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"unknown type":      wasm([]byte{1, 1, 0x60, 1, 0x11, 0}),
		"unknown import":    wasm(section(2, []byte{1}, str("m"), str("n"), []byte{9, 0})),
		"name past the end": wasm([]byte{2, 1, 50}),
	} {
		if m, err := readModule(module); err == nil {
			t.Errorf("%s: accepted as %+v", why, m)
		}
	}
}

func FuzzReadModule(f *testing.F) {
	f.Add(wasm(types, functions, memory))
	f.Add(wasm(types, section(2, []byte{1}, str("m"), str("n"), []byte{1, 0x70, 1, 0, 5})))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readModule(data)
		if err == nil && len(m.types)+len(m.functions)+len(m.imports)+len(m.exports) > len(data) {
			t.Errorf("%d bytes hold more elements than bytes", len(data))
		}
	})
}
