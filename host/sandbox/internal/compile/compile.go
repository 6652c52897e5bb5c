package compile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Limits bound one child. A zero field takes its default.
type Limits struct {
	CPU    time.Duration // of all threads, rounded up to seconds; default 60 s
	Memory uint64        // resident bytes that are the child's own; default 1 GiB
	Wall   time.Duration // from the child's start to its end; default 3 min
}

func (l Limits) withDefaults() Limits {
	if l.CPU <= 0 {
		l.CPU = time.Minute
	}
	if l.Memory == 0 {
		l.Memory = 1 << 30
	}
	if l.Wall <= 0 {
		l.Wall = 3 * time.Minute
	}
	return l
}

// Config is what a Compiler is made from.
type Config struct {
	// Dir is the cache. It holds machine code that is loaded as it is, so it
	// must belong to this user and is given mode 0700. Empty: nothing is kept.
	Dir string
	// Bytes bound the cache; what was not used for longest goes first. It is
	// enforced by New and after each compilation. Default 2 GiB.
	Bytes  int64
	Limits Limits
	// CloseOnContextDone must be what the host gives its own RuntimeConfig. The
	// rest of that which changes code is wazero's default.
	CloseOnContextDone bool
	Logger             *slog.Logger // default: none
}

// Compiler admits and compiles modules, few at a time. It is safe for concurrent use.
type Compiler struct {
	config Config
	print  fingerprint
	keys   keyed
	turn   chan struct{}      // one token for each running child
	start  func(childPID int) // for tests; may be nil
}

// maxModule bounds what a child reads.
const maxModule = 256 << 20

// New returns a Compiler. It fails if the cache cannot be made private, and if
// main did not call Child: the children would run the program once more.
func New(c Config) (*Compiler, error) {
	if !compiling.Ready() {
		return nil, errors.New("compile: main must call Child first")
	}
	c.Limits = c.Limits.withDefaults()
	if c.Bytes <= 0 {
		c.Bytes = 2 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dir != "" {
		var err error
		if c.Dir, err = private(c.Dir); err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
	}
	print, err := takeFingerprint(c.CloseOnContextDone)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	k := &Compiler{config: c, print: print, turn: make(chan struct{}, max(1, runtime.NumCPU()/2))}
	k.trim()
	return k, nil
}

// private makes dir exist, ours and closed to others.
func private(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !ours(info) {
		return "", fmt.Errorf("%s belongs to another user", dir)
	}
	return dir, os.Chmod(dir, 0o700)
}

// Load has a compiled if the cache has no intact code for it, and calls load
// with a directory for wazero.NewCompilationCacheWithDir that holds this code and
// nothing else, under the name of a.Stub, which is what wazero is to be given.
// The directory is there until load returns; code that was loaded does not need
// it any longer.
//
// Load fails with an *Error if the module is refused, with a *wasm.Error if its
// code is larger than it may be, and with load's error. If load made wazero
// compile after all, the code is in this process already; Load reports that as
// an error and drops the entry. Loads of one module take turns.
func (c *Compiler) Load(ctx context.Context, a *Admitted, load func(dir string) error) error {
	if n := max(a.stub, a.size); n > maxModule {
		return &Error{Invalid, fmt.Errorf("it has %d bytes, the limit is %d", n, maxModule)}
	}
	if c.config.Dir == "" {
		dir, err := os.MkdirTemp("", "bulkhead-compile-")
		if err != nil {
			return fmt.Errorf("compile: %w", err)
		}
		defer os.RemoveAll(dir)
		return c.load(ctx, entry{dir, c.print.digest(a.Stub)}, a, load)
	}
	e := entry{c.config.Dir, c.print.digest(a.Stub)}
	unlock, err := c.lock(ctx, e)
	if err != nil {
		return err
	}
	defer unlock()
	return c.load(ctx, e, a, load)
}

func (c *Compiler) load(ctx context.Context, e entry, a *Admitted, load func(dir string) error) error {
	if err := e.verify(); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.config.Logger.Warn("compiled code is not as it was left; compiling again", "digest", e.digest, "error", err)
		}
		if err := c.compile(ctx, e, a); err != nil {
			return err
		}
	}
	e.touch()
	if err := e.within(a.codeBytes); err != nil {
		return err
	}
	if err := load(e.code()); err != nil {
		return err
	}
	if err := e.unchanged(); err != nil {
		e.remove()
		return fmt.Errorf("compile: code was compiled in this process: %w", err)
	}
	return nil
}

// takeTurn waits until one child more may run.
func (c *Compiler) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, &Error{Canceled, context.Cause(ctx)}
	}
}

// compile makes the entry anew. Its lock is held.
func (c *Compiler) compile(ctx context.Context, e entry, a *Admitted) error {
	release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := e.remove(); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	tmp, err := os.MkdirTemp(e.root, e.digest+".*"+tmpSuffix)
	if err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	o := order{Stub: len(a.Stub), Size: int(a.size)}
	if err := c.spawn(ctx, job{order: o, in: a.source(), dir: tmp}); err != nil {
		return err
	}
	if err := e.seal(tmp, c.print.subdir); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	c.trim()
	return nil
}
