package pack

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Recognized is what a module was written for, as its imports and exports show.
type Recognized struct {
	ABI manifest.ABI `json:"abi"` // empty: Bulkhead's own
	// Entries are the functions that a route of an Extism plug-in can call, sorted.
	Entries []string `json:"entries,omitempty"`
	// Capabilities are those that the module's imports can call.
	Capabilities []string `json:"capabilities,omitempty"`
	Imports      []string `json:"imports"` // MODULE.NAME, sorted
	Exports      []string `json:"exports"` // NAME and type, sorted
}

// Import modules of other hosts.
const (
	moduleWASI   = "wasi_snapshot_preview1"
	moduleExtism = "extism:host/env"
	moduleHTTP   = "http_handler"
	moduleWaPC   = "wapc"
)

// Recognize finds the ABI of a module by its header, imports and exports. The error for a
// module that no host of Bulkhead can run says what it is and what to build instead.
func Recognize(module []byte) (*Recognized, error) {
	if bytes.HasPrefix(module, componentHeader) {
		return nil, refuseComponent(module)
	}
	m, err := readModule(module)
	if err != nil {
		return nil, err
	}
	r := &Recognized{Imports: slices.Sorted(slices.Values(m.names)), Exports: []string{}}
	for _, name := range slices.Sorted(maps.Keys(m.exports)) {
		r.Exports = append(r.Exports, name+": "+m.exports[name])
	}
	from := func(module string) bool { return slices.Contains(m.imports, module) }
	has := func(name, signature string) bool { return m.exports[name] == signature }
	switch {
	case has(abi.ExportHandle, entry):
		return r, nil
	case from(moduleWaPC), has("__guest_call", "(i32 i32) -> i32"):
		r.ABI = manifest.Kubewarden
	case from(moduleHTTP):
		r.ABI, r.Capabilities = manifest.HTTPWasm, []string{"http"}
	case from(moduleExtism):
		if r.ABI, r.Entries = manifest.Extism, callable(m); len(r.Entries) == 0 {
			return nil, fmt.Errorf("the module imports %s, but exports no function without parameters that a route could call", moduleExtism)
		}
		if slices.Contains(m.names, moduleExtism+".http_request") {
			r.Capabilities = []string{"http"}
		}
	case has("_start", "() -> ") && !slices.ContainsFunc(m.imports, func(module string) bool { return module != moduleWASI }):
		r.ABI = manifest.WASICommand
	default:
		return nil, refuse(m)
	}
	return r, nil
}

// ours are the functions that toolchains export for hosts, and not for callers.
var ours = []string{"_initialize", "_start", "__wasm_call_ctors", "hs_init", "hs_exit", "free"}

// callable returns the functions that Extism can call: those without parameters that
// return nothing or an i32.
func callable(m *module) (names []string) {
	for name, signature := range m.exports {
		if (signature == "() -> i32" || signature == "() -> ") && !slices.Contains(ours, name) && !strings.HasPrefix(name, "asyncify_") {
			names = append(names, name)
		}
	}
	if len(names) == 0 && m.exports["_start"] == "() -> " {
		return []string{"_start"}
	}
	slices.Sort(names)
	return names
}

// maxListed is the most imports that a refusal lists.
const maxListed = 8

func listed(names []string) string {
	if len(names) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}

// refuse says what a module is that cannot be run.
func refuse(m *module) error {
	imports := m.importModules()
	starts := func(prefix string) bool {
		return slices.ContainsFunc(m.names, func(n string) bool { return strings.HasPrefix(n, prefix) })
	}
	const known = "Bulkhead runs its own plugins, WASI preview 1 commands, Extism plug-ins, http-wasm middleware and Kubewarden policies (waPC)"
	switch {
	case slices.Contains(imports, "wasi_unstable"):
		return fmt.Errorf("the module imports wasi_unstable (WASI preview 0); build it with a toolchain for wasi_snapshot_preview1")
	case starts("env.extism_"):
		return fmt.Errorf("the module imports env.extism_…, the ABI of Extism before 1.0; build it with a PDK of version 1")
	case starts("env.proxy_"):
		return fmt.Errorf("the module is a proxy-wasm filter (it imports env.proxy_…), which Bulkhead does not run; an http-wasm middleware is the nearest thing that it runs")
	case slices.Contains(imports, "env") && starts("env.opa_"):
		return fmt.Errorf("the module is a policy that OPA compiled to WebAssembly (it imports env.opa_…); Bulkhead runs Rego itself: see policies/README.md")
	}
	if other := slices.DeleteFunc(imports, func(n string) bool { return n == moduleWASI }); len(other) > 0 {
		return fmt.Errorf("the module imports %s, which no host of Bulkhead provides; %s", listed(other), known)
	}
	return fmt.Errorf("the module exports nothing that a host could call: neither _start nor the functions of another ABI, but %s; is it a library? %s",
		listed(append(slices.Sorted(maps.Keys(m.exports)), []string{"nothing"}[min(1, len(m.exports)):]...)), known)
}

// componentHeader begins a binary of the component model.
var componentHeader = []byte("\x00asm\x0d\x00\x01\x00")

// refuseComponent names the imports of a component's world.
func refuseComponent(data []byte) error {
	names := componentImports(data)
	what, instead := "a WebAssembly component", "build a core module instead: a WASI preview 1 command (wasm32-wasip1), or a plugin with an SDK of Bulkhead"
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "wasi:http/") }) {
		what = "a WebAssembly component of wasi:http"
		instead = "build the handler as a core module instead: with an SDK of Bulkhead, or as a WASI preview 1 command (wasm32-wasip1) that answers as a CGI program"
	}
	world := "it imports nothing"
	if len(names) > 0 {
		world = "its world imports " + listed(names)
	}
	return fmt.Errorf("the file is %s (header 0d 00 01 00; %s), which Bulkhead does not run; %s", what, world, instead)
}

// componentImports returns the names in the import sections of a component's outermost
// level, as far as they can be read (component model, Binary.md).
func componentImports(data []byte) (names []string) {
	r := &reader{b: data[len(componentHeader):]}
	for len(r.b) > 0 && r.err == nil {
		id := r.byte()
		section := &reader{b: r.bytes(r.u32())}
		if r.err != nil || id != 10 {
			continue
		}
		section.each(func() {
			section.byte()
			name := section.name()
			section.externDesc()
			if section.err == nil {
				names = append(names, name)
			}
		})
	}
	return names
}

// externDesc skips an externdesc.
func (r *reader) externDesc() {
	switch kind := r.byte(); kind {
	case 0x00: // core module
		r.byte()
		r.u32()
	case 0x01, 0x04, 0x05: // function, component, instance
		r.u32()
	case 0x03: // type
		if r.byte() == 0 {
			r.u32()
		}
	default:
		r.fail("import of unknown kind %d", kind)
	}
}

// checkForeign is check for a module of another ABI. Whether the host has each of its
// imports shows when it is linked.
func checkForeign(module []byte, m *manifest.Manifest) error {
	r, err := Recognize(module)
	if err != nil {
		return err
	}
	if r.ABI != m.ABI {
		return fmt.Errorf("the manifest says abi %q, but the module has %s", m.ABI, named(r.ABI))
	}
	for k, route := range m.Routes {
		if m.ABI == manifest.Extism && !slices.Contains(r.Entries, route.Entry) && !slices.Contains(ours, route.Entry) {
			return fmt.Errorf("manifest: routes[%d].entry: the module has no function %q without parameters; it has %s", k, route.Entry, listed(r.Entries))
		}
	}
	return nil
}

func named(a manifest.ABI) string {
	if a == "" {
		return "Bulkhead's own; leave abi out"
	}
	return fmt.Sprintf("abi %q", a)
}

// Draft returns a manifest for a module of another ABI, to be filled in: who may call what
// is for the operator to say. Its routes change things as far as policy knows, except those
// of a policy, which only judges.
func (r *Recognized) Draft(name string) *manifest.Manifest {
	m := &manifest.Manifest{Name: name, Version: "0.1.0", Description: "Adopted: say what it does.", ABI: r.ABI}
	route := func(r manifest.Route) {
		r.Kind = manifest.Unary
		m.Routes = append(m.Routes, r)
	}
	switch r.ABI {
	case manifest.Extism:
		used := map[string]bool{}
		for _, e := range r.Entries {
			slug := Name(e)
			if used[slug] || !manifest.ValidName(slug) || len(m.Routes) == manifest.MaxRoutes {
				continue
			}
			used[slug] = true
			route(manifest.Route{Name: slug, Method: "POST", Path: "/" + slug, Action: slug, Mutates: true, Entry: e})
		}
	case manifest.Kubewarden:
		route(manifest.Route{Name: "validate", Method: "POST", Path: "/validate", Action: "validate.read"})
	default:
		route(manifest.Route{Name: "get", Method: "GET", Path: "/", Action: "get.read"})
		route(manifest.Route{Name: "post", Method: "POST", Path: "/", Action: "post", Mutates: true})
	}
	for _, c := range r.Capabilities {
		m.Capabilities = append(m.Capabilities, manifest.Capability{Name: c, Optional: true, Reason: "the module can send HTTP requests; say which and why"})
	}
	return m
}

// Name makes the name of a plugin or route of a text, such as a file's name. It may be
// empty.
func Name(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9' && b.Len() > 0:
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String()[:min(b.Len(), 63)], "-")
}
