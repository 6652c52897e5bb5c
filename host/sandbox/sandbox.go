package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero"
)

// Config is what all modules of a Sandbox share.
type Config struct {
	// CacheDir keeps compiled code between starts. It holds machine code that
	// is loaded as it is, so it is created with mode 0700. Empty: no cache.
	CacheDir string
	Logger   *slog.Logger

	memory     image.Kind
	neverReuse bool // every caller gets a fresh instance
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

const pageSize = 64 << 10

// Load admits, rewrites, compiles and links wasm, makes a first instance to
// prove that it can be made, and returns the module. Compiling takes seconds
// for a module of some megabytes that is not in the cache. On error nothing is
// left behind.
func (s *Sandbox) Load(ctx context.Context, module []byte, spec Spec) (_ *Module, err error) {
	spec.Limits = spec.Limits.withDefaults()
	m := &Module{spec: spec, kind: s.config.memory, log: s.config.Logger.With("module", spec.Name)}
	defer func() {
		if err != nil {
			m.unload()
		}
	}()
	limits := wasm.Limits{MemoryPages: int(spec.Limits.MemoryBytes / pageSize)}
	if m.rewritten, err = rewrite.Rewrite(module, limits, rewrite.Options{}); err != nil {
		return nil, fmt.Errorf("module %s: is refused: %w", spec.Name, err)
	}
	if err := m.compile(ctx, s.config.CacheDir); err != nil {
		return nil, err
	}
	if err := m.checkExports(); err != nil {
		return nil, err
	}
	if err := m.link(ctx); err != nil {
		return nil, err
	}
	restorable := len(m.rewritten.Fresh) == 0 && !s.config.neverReuse
	return m, m.start(ctx, restorable)
}

// compile makes machine code in a runtime of the module's own: wazero keeps
// what modules define and share per runtime.
func (m *Module) compile(ctx context.Context, cacheDir string) (err error) {
	config := wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(m.spec.Limits.MemoryBytes / pageSize))
	if cacheDir != "" {
		// One cache value per module: wazero shares code between the runtimes of
		// one value, and a generation must not depend on another's.
		if m.cache, err = wazero.NewCompilationCacheWithDir(cacheDir); err != nil {
			return fmt.Errorf("compilation cache: %w", err)
		}
		config = config.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if m.code, err = m.runtime.CompileModule(ctx, m.rewritten.Wasm); err != nil {
		return fmt.Errorf("module %s: does not compile: %w", m.spec.Name, err)
	}
	m.rewritten.Wasm = nil // some megabytes that nobody needs any more
	return nil
}
