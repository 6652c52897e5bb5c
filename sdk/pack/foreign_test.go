package pack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// importing is a module that imports a function NAME of MODULE, given as pairs, and exports
// others, all of type () -> .
func importing(imports []string, exports ...string) []byte {
	var in, out [][]byte
	for i := 0; i < len(imports); i += 2 {
		in = append(in, str(imports[i]), str(imports[i+1]), []byte{0, 0})
	}
	for _, name := range exports {
		out = append(out, str(name), []byte{0, 0})
	}
	return wasm(section(1, []byte{1, 0x60, 0, 0}), section(2, append([][]byte{{byte(len(imports) / 2)}}, in...)...),
		section(3, []byte{1, 0}), section(7, append([][]byte{{byte(len(exports))}}, out...)...))
}

func TestAnABIIsRecognizedByImportsAndExports(t *testing.T) {
	for _, c := range []struct {
		module  []byte
		want    manifest.ABI
		entries string
		reaches string
	}{
		{importing([]string{"wasi_snapshot_preview1", "proc_exit"}, "_start"), manifest.WASICommand, "", ""},
		{importing(nil, "_start"), manifest.WASICommand, "", ""},
		{importing([]string{"extism:host/env", "alloc", "wasi_snapshot_preview1", "proc_exit"}, "_start", "count_vowels", "_initialize"), manifest.Extism, "count_vowels", ""},
		{importing([]string{"extism:host/env", "http_request"}, "_start"), manifest.Extism, "_start", "http"},
		{importing([]string{"http_handler", "log"}, "handle_request"), manifest.HTTPWasm, "", "http"},
		{importing([]string{"wapc", "__guest_request"}, "wapc_init"), manifest.Kubewarden, "", ""},
	} {
		r, err := Recognize(c.module)
		if err != nil || r.ABI != c.want || strings.Join(r.Entries, " ") != c.entries || strings.Join(r.Capabilities, " ") != c.reaches {
			t.Errorf("%s: %+v, %v", c.want, r, err)
			continue
		}
		if err := r.Draft("adopted").Validate(); err != nil {
			t.Errorf("%s: the draft: %v", c.want, err)
		}
	}
}

func TestAModuleThatCannotBeRunIsRefusedByWhatItIs(t *testing.T) {
	parts := append([]byte{2, 0}, str("wasi:http/types@0.2.0")...)
	parts = append(append(parts, 5, 0, 0), str("log")...)
	parts = append(parts, 1, 0)
	component := append(bytes.Clone(componentHeader), 10, byte(len(parts)))
	component = append(component, parts...)
	for _, c := range []struct {
		why    string
		module []byte
		want   string
	}{
		{"component of wasi:http", component, "a WebAssembly component of wasi:http (header 0d 00 01 00; its world imports wasi:http/types@0.2.0, log), which Bulkhead does not run; build the handler as a core module instead"},
		{"component without imports", componentHeader, "a WebAssembly component (header 0d 00 01 00; it imports nothing)"},
		{"component that is cut off", append(bytes.Clone(componentHeader), 10, 99), "it imports nothing"},
		{"Extism without functions", importing([]string{"extism:host/env", "alloc"}, "_initialize"), "exports no function without parameters"},
		{"preview 0", importing([]string{"wasi_unstable", "proc_exit"}, "_start"), "wasi_unstable (WASI preview 0)"},
		{"old Extism", importing([]string{"env", "extism_alloc"}, "count"), "Extism before 1.0"},
		{"proxy-wasm", importing([]string{"env", "proxy_log"}, "proxy_on_context_create"), "proxy-wasm filter"},
		{"OPA", importing([]string{"env", "opa_abort"}, "eval"), "OPA compiled"},
		{"another host", importing([]string{"shopify_function_v1", "output"}, "_start"), "imports shopify_function_v1, which no host"},
		{"a library", importing(nil, "add"), "but add; is it a library?"},
		{"nothing", importing(nil), "but nothing; is it a library?"},
		{"not wasm", []byte("hello"), "not a WebAssembly"},
	} {
		if r, err := Recognize(c.module); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", c.why, r, err)
		}
	}
}

func TestAForeignModuleIsCheckedAgainstItsManifest(t *testing.T) {
	extism := importing([]string{"extism:host/env", "alloc"}, "count")
	m := &manifest.Manifest{ABI: manifest.Extism, Routes: []manifest.Route{{Entry: "count"}}}
	if err := check(extism, m); err != nil {
		t.Error(err)
	}
	m.Routes[0].Entry = "cuont"
	if err := check(extism, m); err == nil || !strings.Contains(err.Error(), `no function "cuont" without parameters; it has count`) {
		t.Error(err)
	}
	m.ABI = manifest.HTTPWasm
	if err := check(extism, m); err == nil || !strings.Contains(err.Error(), `abi "http-wasm", but the module has abi "extism"`) {
		t.Error(err)
	}
	if err := check(wasm(types, functions, memory), m); err == nil || !strings.Contains(err.Error(), "leave abi out") {
		t.Error(err)
	}
}

func TestANameIsMadeOfAFilesName(t *testing.T) {
	for from, want := range map[string]string{"count_vowels": "count-vowels", "99 Bottles!": "bottles", "a--b_": "a-b", "": "", "___": "", strings.Repeat("a", 99): strings.Repeat("a", 63)} {
		if got := Name(from); got != want {
			t.Errorf("%q became %q", from, got)
		}
	}
}

func FuzzRecognize(f *testing.F) {
	f.Add(importing([]string{"extism:host/env", "alloc"}, "count"))
	f.Add(append(bytes.Clone(componentHeader), 10, 5, 1, 0, 1, 'a', 5))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := Recognize(data); err == nil && r.ABI != "" {
			_ = r.Draft("adopted")
		}
	})
}
