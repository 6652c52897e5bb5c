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

// Limits bound one child. A zero field means its default.
type Limits struct {
	CPU    time.Duration // of all threads, rounded up to seconds; default 60 s
	Memory uint64        // private resident bytes of the child; default 1 GiB
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

// Config is the configuration of a Compiler.
type Config struct {
	// Dir is the directory of the cache. It contains machine code that is loaded
	// unchecked, so it must belong to this user and gets the mode 0700. Empty: no cache.
	Dir string
	// Bytes bounds the cache; the least recently used entries are removed first. New
	// enforces it, and so does each compilation. Default 2 GiB.
	Bytes  int64
	Limits Limits
	// CloseOnContextDone must be equal to that of the host's own RuntimeConfig. All other
	// settings that change code have wazero's defaults.
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

	patience time.Duration // see there
}

// maxModule bounds a module that a child reads, in bytes.
const maxModule = 256 << 20

// New returns a Compiler. It fails if the cache cannot be made private, and if main did not
// call Child, because the children would run the whole program again.
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
	k := &Compiler{config: c, print: print, turn: make(chan struct{}, max(1, runtime.NumCPU()/2)), patience: patience}
	k.trim()
	return k, nil
}

// private creates dir if absent, and makes it private to this user.
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

// Load compiles a if the cache has no intact code for it. It then calls load with a directory
// for wazero.NewCompilationCacheWithDir that contains only this code, under the name of
// a.Stub, which load must give to wazero. The directory exists until load returns; loaded code
// does not need it any longer.
//
// The error is an *Error if the module is refused, a *wasm.Error if its code is too large, or
// load's error. If wazero compiled the module in this process nevertheless, Load returns an
// error and drops the entry. Loads of the same module wait for one another.
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
			c.config.Logger.Warn("compiled code was changed or is damaged; compiling again", "digest", e.digest, "error", err)
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

// takeTurn waits until another child may run.
func (c *Compiler) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, &Error{Canceled, context.Cause(ctx)}
	}
}

// compile compiles the module and replaces the entry. The entry's lock is held.
func (c *Compiler) compile(ctx context.Context, e entry, a *Admitted) error {
	release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	tmp, err := c.room(e)
	if err != nil {
		return err
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

// room removes what there is of an entry, whose lock is held, and returns a directory in which
// to make it.
func (c *Compiler) room(e entry) (tmp string, err error) {
	if err = e.remove(); err == nil {
		tmp, err = os.MkdirTemp(e.root, e.digest+".*"+tmpSuffix)
	}
	if err != nil {
		return "", fmt.Errorf("compilation cache: %w", err)
	}
	return tmp, nil
}
