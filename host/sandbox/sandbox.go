package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Config is what all modules of a Sandbox share.
type Config struct {
	// CacheDir keeps compiled code between starts. It holds machine code that
	// is loaded as it is, so it is created with mode 0700. Empty: no cache.
	CacheDir string
	Logger   *slog.Logger
}

// Sandbox loads modules. It is safe for concurrent use.
type Sandbox struct {
	config Config
}

// New returns a Sandbox. It fails if the cache directory cannot be made private.
func New(c Config) (*Sandbox, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CacheDir != "" {
		if err := os.MkdirAll(c.CacheDir, 0o700); err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
		if err := os.Chmod(c.CacheDir, 0o700); err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
	}
	return &Sandbox{config: c}, nil
}

// Type is a WebAssembly number type of a parameter or result.
type Type byte

const (
	I32 Type = Type(api.ValueTypeI32)
	I64 Type = Type(api.ValueTypeI64)
)

// Signature is a function's type.
type Signature struct{ Params, Results []Type }

// Import is a host function that a module may link.
type Import struct {
	Module, Name string
	Signature
	// Call is entered with the context of the guest's call and the arguments in
	// stack, and leaves its result in stack[0]. It may block, and must return
	// soon after ctx is done. Stop ends the guest from inside.
	Call func(ctx context.Context, m Memory, stack []uint64)
}

// Limits bound one module. A zero field takes its default.
type Limits struct {
	MemoryBytes uint64        // of one instance; default 64 MiB
	Instances   int           // in use at a time, more wait; default 64
	Warm        int           // made ahead of time; default 2
	Init        time.Duration // for making an instance; default 10 s
	LogBytes    int           // of stdout and stderr per call; default 64 KiB
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Instances, 64)
	set(&l.Warm, 2)
	set(&l.LogBytes, 64<<10)
	if l.MemoryBytes == 0 {
		l.MemoryBytes = 64 << 20
	}
	if l.Init == 0 {
		l.Init = 10 * time.Second
	}
	return l
}

// Spec says how a module is linked and prepared.
type Spec struct {
	Name    string // for errors and logs
	Limits  Limits
	Imports []Import
	// Exports that the module must have; Call takes no others.
	Exports map[string]Signature
	// Optional exports, callable if the module has them with this type.
	Optional map[string]Signature
	// Init prepares a fresh instance before its first Acquire. It may Call.
	Init func(ctx context.Context, i *Instance) error
	// Log takes one line that the guest wrote to stdout or stderr.
	Log func(ctx context.Context, line string)
}

const pageSize = 64 << 10

// Load compiles and links wasm, makes a first instance to prove that it can be
// made, and returns the module. Compiling takes seconds for a module of some
// megabytes that is not in the cache. On error nothing is left behind.
func (s *Sandbox) Load(ctx context.Context, wasm []byte, spec Spec) (_ *Module, err error) {
	spec.Limits = spec.Limits.withDefaults()
	m := &Module{spec: spec, log: s.config.Logger.With("module", spec.Name)}
	defer func() {
		if err != nil {
			m.unload()
		}
	}()
	config := wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(true).
		WithMemoryLimitPages(uint32(spec.Limits.MemoryBytes / pageSize))
	if s.config.CacheDir != "" {
		// One cache value per module: wazero shares code between the runtimes of
		// one value, and a generation must not depend on another's.
		if m.cache, err = wazero.NewCompilationCacheWithDir(s.config.CacheDir); err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
		config = config.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if m.code, err = m.runtime.CompileModule(ctx, wasm); err != nil {
		return nil, fmt.Errorf("module %s: does not compile: %w", spec.Name, err)
	}
	if err := m.checkExports(); err != nil {
		return nil, err
	}
	if err := m.link(ctx); err != nil {
		return nil, err
	}
	m.start()
	first, err := m.make(ctx)
	if err != nil {
		m.stop()
		return nil, err
	}
	m.warm <- first
	return m, nil
}

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
	for name, want := range m.spec.Optional {
		if def, ok := have[name]; ok && want.equal(def) {
			m.exports[name] = want
		}
	}
	if len(m.code.ExportedMemories()) == 0 {
		return fmt.Errorf("module %s: does not export its memory", m.spec.Name)
	}
	return nil
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

// link makes the host modules that wasm imports, and no others. What is
// missing is named all at once.
func (m *Module) link(ctx context.Context) error {
	offered := append(wasiImports(m.spec.Log, m.spec.Limits.LogBytes), m.spec.Imports...)
	builders := map[string]wazero.HostModuleBuilder{}
	var missing []error
	for _, def := range m.code.ImportedFunctions() {
		module, name, _ := def.Import()
		i := slices.IndexFunc(offered, func(o Import) bool { return o.Module == module && o.Name == name })
		if i < 0 {
			missing = append(missing, &MissingImport{m.spec.Name, module, name})
			continue
		}
		if !offered[i].equal(def) {
			missing = append(missing, fmt.Errorf("module %s: imports %s.%s with another type", m.spec.Name, module, name))
			continue
		}
		b := builders[module]
		if b == nil {
			b = m.runtime.NewHostModuleBuilder(module)
			builders[module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(offered[i].function(), valueTypes(offered[i].Params), valueTypes(offered[i].Results)).Export(name)
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

// function adapts i to wazero, which leaves the upper half of an i32 undefined.
func (i Import) function() api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		for k, t := range i.Params {
			if t == I32 {
				stack[k] = uint64(uint32(stack[k]))
			}
		}
		i.Call(ctx, Memory{mod.Memory()}, stack)
	}
}

// MissingImport is a function that a module wants and is not given.
type MissingImport struct{ Plugin, Module, Name string }

func (e *MissingImport) Error() string {
	return fmt.Sprintf("module %s: imports %s.%s, which is not available to it", e.Plugin, e.Module, e.Name)
}
