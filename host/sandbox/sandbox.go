package sandbox

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/compile"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/tetratelabs/wazero"
)

// Config is the configuration that all modules of a Sandbox share.
type Config struct {
	// CacheDir is the directory for compiled code; it gets the mode 0700. Empty: each
	// Load compiles the module.
	CacheDir string
	Logger   *slog.Logger

	memory     image.Kind
	neverReuse bool // every caller gets a new instance
}

// Sandbox loads modules. It is safe for concurrent use.
type Sandbox struct {
	config   Config
	compiler *compile.Compiler
}

// New returns a Sandbox. It fails if the cache directory cannot be made private
// or CompileChild was not called.
func New(c Config) (*Sandbox, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	compiler, err := compile.New(compile.Config{Dir: c.CacheDir, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	return &Sandbox{config: c, compiler: compiler}, nil
}

const pageSize = 64 << 10

// Load is Admit, Compile and Link. Compiling takes seconds for a module of some megabytes
// that is not in the cache. After an error nothing is left.
func (s *Sandbox) Load(ctx context.Context, module []byte, spec Spec) (*Module, error) {
	a, err := s.Admit(ctx, module, spec.Name, spec.Limits)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.Compile(ctx); err != nil {
		return nil, err
	}
	return a.Link(ctx, spec)
}

// Admitted is a module that is being loaded: admitted and rewritten, then compiled, then
// linked, in this order. It is for one goroutine, which must close it.
type Admitted struct {
	sandbox *Sandbox
	file    *compile.Admitted // nil: compiled
	module  *Module           // nil: linked, or closed
}

// Admit checks a module against the limits and rewrites it, in a child process. name is for
// errors and logs. The error for a refused module is a *Refused.
func (s *Sandbox) Admit(ctx context.Context, module []byte, name string, l Limits) (*Admitted, error) {
	l = l.withDefaults()
	admitted, err := s.compiler.Admit(ctx, module, l.Module)
	if err != nil {
		return nil, fmt.Errorf("module %s is refused: %w", name, err)
	}
	m := &Module{
		spec: Spec{Name: name, Limits: l}, kind: s.config.memory, log: s.config.Logger.With("module", name),
		budget: NewBudget(l.TotalBytes), rewritten: admitted.Result, fixedBytes: fixedBytes(admitted.Result),
		done: make(chan struct{}),
	}
	return &Admitted{s, admitted, m}, nil
}

// Compile compiles the module in a child process, unless the cache has its code, and loads
// the code. It does not run code of the module.
func (a *Admitted) Compile(ctx context.Context) error {
	m := a.module
	err := a.sandbox.compiler.Load(ctx, a.file, func(dir string) error { return m.loadCode(ctx, dir) })
	_ = a.file.Close() // a file without a name, only read
	a.file = nil
	if err != nil {
		return fmt.Errorf("module %s: %w", m.spec.Name, err)
	}
	m.rewritten.Stub = nil // wazero has what it needs of it
	return nil
}

// Link links a compiled module by spec, whose Name and Limits are those of Admit,
// runs its own start, and makes a first instance to prove that it can be made.
func (a *Admitted) Link(ctx context.Context, spec Spec) (_ *Module, err error) {
	m := a.module
	spec.Name, spec.Limits = m.spec.Name, m.spec.Limits
	m.spec = spec
	if err := m.checkExports(); err != nil {
		return nil, err
	}
	if err := m.link(ctx); err != nil {
		return nil, err
	}
	restorable := len(m.rewritten.Fresh) == 0 && !a.sandbox.config.neverReuse
	if err := m.start(ctx, restorable); err != nil {
		return nil, err
	}
	a.module = nil
	return m, nil
}

// Close frees what Admit and Compile made, unless the module was linked.
func (a *Admitted) Close() {
	if a.file != nil {
		_ = a.file.Close() // only read
		a.file = nil
	}
	if a.module != nil {
		if err := a.module.unload(); err != nil {
			a.module.log.Error("a module could not be freed", "error", err)
		}
		a.module = nil
	}
}

// loadCode makes a runtime of the module's own with the code in dir: wazero
// keeps what modules define and share per runtime, and code per cache value.
func (m *Module) loadCode(ctx context.Context, dir string) (err error) {
	if m.cache, err = wazero.NewCompilationCacheWithDir(dir); err != nil {
		return err
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(max(m.spec.Limits.Module.MemoryPages, 0))).
		WithCompilationCache(m.cache))
	m.code, err = m.runtime.CompileModule(ctx, m.rewritten.Stub)
	return err
}
