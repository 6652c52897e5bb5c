package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Modules that every plugin may import.
var always = []string{"wasi_snapshot_preview1", abi.ModuleABI, abi.ModuleLog, abi.ModuleSession}

// check returns all differences between a module and its manifest: missing exports and
// exports of the wrong type, imports of capabilities that the manifest does not request,
// and imports of modules that no host has.
func check(module []byte, m *manifest.Manifest) error {
	if m.ABI != "" {
		return checkForeign(module, m)
	}
	w, err := readModule(module)
	if err != nil {
		return err
	}
	errs := checkExports(w, m)
	for _, name := range w.importModules() {
		if err := checkImport(name, m); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const (
	alloc = "(i32) -> i32"
	entry = "(i32 i32) -> i64"
)

func checkExports(w *module, m *manifest.Manifest) (errs []error) {
	need := func(name, signature, hint string) {
		switch got, ok := w.exports[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("the module does not export %s; %s", name, hint))
		case got != signature:
			errs = append(errs, fmt.Errorf("export %s is %s, want %s", name, got, signature))
		}
	}
	const sdk = "does the plugin use an SDK?"
	need(abi.ExportMemory, "memory", sdk)
	need(abi.ExportAlloc, alloc, sdk)
	need(abi.ExportStart, entry, sdk)
	need(abi.ExportHandle, entry, sdk)
	i := slices.IndexFunc(m.Routes, func(r manifest.Route) bool { return r.Kind != manifest.Unary })
	if i >= 0 {
		r := m.Routes[i]
		need(abi.ExportSession, entry, fmt.Sprintf("route %q is of kind %s and needs a session handler, in Go one of package sdk/session", r.Name, r.Kind))
	}
	return errs
}

func checkImport(name string, m *manifest.Manifest) error {
	if slices.Contains(always, name) {
		return nil
	}
	capability, ours := strings.CutPrefix(name, abi.ModulePrefix)
	capability, versioned := strings.CutSuffix(capability, abi.ModuleSuffix)
	if !ours || !versioned {
		return fmt.Errorf("the module imports %q, which no host provides", name)
	}
	if !slices.ContainsFunc(m.Capabilities, func(c manifest.Capability) bool { return c.Name == capability }) {
		return fmt.Errorf(`the module uses capability %q, which the manifest does not request; add to %s:`+"\n"+
			`  "capabilities": [{"name": %q, "reason": "…"}]`, capability, ManifestFile, capability)
	}
	return nil
}
