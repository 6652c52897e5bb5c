package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// MissingImport is a function that a module imports but may not link.
type MissingImport struct{ Plugin, Module, Name string }

func (e *MissingImport) Error() string {
	return fmt.Sprintf("module %s: imports %s.%s, which is not available to it", e.Plugin, text.Short(e.Module), text.Short(e.Name))
}

// maxMissing is the most imports that an error of link names. The guest chooses how many it has.
const maxMissing = 20

func (m *Module) checkExports() error {
	have := m.code.ExportedFunctions()
	m.exports = make(map[string]Signature)
	for name, want := range m.spec.Exports {
		def, ok := have[name]
		if !ok {
			return fmt.Errorf("module %s: does not export %s", m.spec.Name, name)
		}
		if !want.equal(def) {
			return fmt.Errorf("module %s: exports %s with another type", m.spec.Name, name)
		}
		m.exports[name] = want
	}
	for name, types := range m.spec.Either {
		def, ok := have[name]
		if !ok {
			return fmt.Errorf("module %s: does not export %s", m.spec.Name, name)
		}
		k := slices.IndexFunc(types, func(s Signature) bool { return s.equal(def) })
		if k < 0 {
			return fmt.Errorf("module %s: exports %s with another type", m.spec.Name, name)
		}
		m.exports[name] = types[k]
	}
	for name, want := range m.spec.Optional {
		if def, ok := have[name]; ok && want.equal(def) {
			m.exports[name] = want
		}
	}
	for name := range m.exports {
		// An import that is called from outside would have no calling module.
		if of, as, imported := have[name].Import(); imported {
			return fmt.Errorf("module %s: exports %s, which is its import %s.%s; the module must define it", m.spec.Name, name, of, as)
		}
	}
	for _, def := range m.code.ExportedMemories() {
		m.minBytes = uint64(def.Min()) * pageSize
		return nil
	}
	return fmt.Errorf("module %s: does not export its memory", m.spec.Name)
}

func (s Signature) equal(def api.FunctionDefinition) bool {
	return slices.Equal(valueTypes(s.Params), def.ParamTypes()) &&
		slices.Equal(valueTypes(s.Results), def.ResultTypes())
}

func valueTypes(types []Type) []api.ValueType {
	out := make([]api.ValueType, len(types))
	for i, t := range types {
		out[i] = api.ValueType(t)
	}
	return out
}

// link makes the host modules that the module imports, and no others. Its error names the
// first missing imports.
func (m *Module) link(ctx context.Context) error {
	offered := append(wasiImports(&m.spec), m.spec.Imports...)
	builders := map[string]wazero.HostModuleBuilder{}
	var missing []error
	more := 0
	for _, def := range m.code.ImportedFunctions() {
		module, name, _ := def.Import()
		function, err := m.offer(offered, def)
		if err != nil {
			if len(missing) < maxMissing {
				missing = append(missing, err)
			} else {
				more++
			}
			continue
		}
		b := builders[module]
		if b == nil {
			b = m.runtime.NewHostModuleBuilder(module)
			builders[module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(function, def.ParamTypes(), def.ResultTypes()).Export(name)
	}
	if more > 0 {
		missing = append(missing, fmt.Errorf("module %s: and %d more imports", m.spec.Name, more))
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("module %s: %w", m.spec.Name, err)
		}
	}
	return nil
}

// offer returns the host function for an import.
func (m *Module) offer(offered []Import, def api.FunctionDefinition) (api.GoModuleFunc, error) {
	module, name, _ := def.Import()
	switch (rewrite.Import{Module: module, Name: name}) {
	case m.rewritten.Pause:
		return pause, nil
	case m.rewritten.Deepen:
		return deepen, nil
	}
	i := slices.IndexFunc(offered, func(o Import) bool { return o.Module == module && o.Name == name })
	if i < 0 {
		return nil, &MissingImport{m.spec.Name, module, name}
	}
	if !offered[i].equal(def) {
		return nil, fmt.Errorf("module %s: imports %s.%s with another type", m.spec.Name, text.Short(module), text.Short(name))
	}
	return offered[i].function(), nil
}

// function adapts i to wazero, which leaves the upper half of an i32 undefined.
func (i Import) function() api.GoModuleFunc {
	cost := max(i.Cost, leastCost)
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		inst := caller(ctx)
		inst.meter.leave(cost)
		checkContext(ctx)
		for k, t := range i.Params {
			if t == I32 {
				stack[k] = uint64(uint32(stack[k]))
			}
		}
		i.Call(ctx, inst.Memory(), stack)
		inst.meter.enter()
	}
}
