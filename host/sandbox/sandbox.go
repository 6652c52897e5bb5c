package sandbox

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/compile"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/tetratelabs/wazero"
)

// Config is what all modules of a Sandbox share.
type Config struct {
	// CacheDir keeps compiled code between starts; its mode is made 0700. Empty:
	// everything is compiled at each Load.
	CacheDir string
	Logger   *slog.Logger

	memory     image.Kind
	neverReuse bool // every caller gets a fresh instance
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

// Load admits, rewrites, compiles and links wasm, makes a first instance to
// prove that it can be made, and returns the module. Compiling takes seconds
// for a module of some megabytes that is not in the cache. On error nothing is
// left behind.
func (s *Sandbox) Load(ctx context.Context, module []byte, spec Spec) (_ *Module, err error) {
	spec.Limits = spec.Limits.withDefaults()
	m := &Module{
		spec: spec, kind: s.config.memory, log: s.config.Logger.With("module", spec.Name),
		budget: NewBudget(spec.Limits.TotalBytes),
	}
	defer func() {
		if err != nil {
			m.unload()
		}
	}()
	admitted, err := s.compiler.Admit(ctx, module, spec.Limits.Module)
	if err != nil {
		return nil, fmt.Errorf("module %s: is refused: %w", spec.Name, err)
	}
	defer admitted.Close() // a file without a name, only read
	m.rewritten = admitted.Result
	m.fixedBytes = fixedBytes(m.rewritten)
	err = s.compiler.Load(ctx, admitted, func(dir string) error { return m.loadCode(ctx, dir) })
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", spec.Name, err)
	}
	m.rewritten.Stub = nil // wazero has what it needs of it
	if err := m.checkExports(); err != nil {
		return nil, err
	}
	if err := m.link(ctx); err != nil {
		return nil, err
	}
	restorable := len(m.rewritten.Fresh) == 0 && !s.config.neverReuse
	if err := m.start(ctx, restorable); err != nil {
		return nil, err
	}
	return m, nil
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
