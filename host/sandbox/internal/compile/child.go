package compile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// compiling is the role of this package's child processes.
var compiling = &child.Role{Name: "bulkhead: compiling"}

// order is the work of a child.
type order struct {
	Stub, Size         int // sizes of the stub and the module, which follow on stdin in this order
	CloseOnContextDone bool

	Admit       *wasm.Limits // admit the module into descriptor 3; nil: compile it
	MemoryPages int          // of Admit, whose JSON does not contain it
}

// Exit codes of a child.
const (
	exitDone    = 10
	exitFailed  = 11
	exitInvalid = 12
)

// Child must be called first in main, and in TestMain, of every program that makes a
// Compiler. In a child process it admits or compiles a module and exits; otherwise it returns
// at once.
func Child() {
	compiling.Main(func(argument json.RawMessage) int {
		code, err := obey(argument, os.Stdin, func() io.Writer { return os.NewFile(3, "admitted") })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	})
}

// obey admits the module on in and writes the result to the writer that out returns, or
// compiles it into the working directory.
func obey(argument json.RawMessage, in io.Reader, out func() io.Writer) (exit int, err error) {
	var o order
	if err := json.Unmarshal(argument, &o); err != nil {
		return exitFailed, err
	}
	if o.Size < 0 || o.Size > maxModule || o.Stub < 0 || o.Stub > maxModule {
		return exitFailed, fmt.Errorf("module of %d bytes, stub of %d", o.Size, o.Stub)
	}
	stub, module := make([]byte, o.Stub), make([]byte, o.Size)
	for _, b := range [][]byte{stub, module} {
		if _, err := io.ReadFull(in, b); err != nil {
			return exitFailed, fmt.Errorf("reading the module: %w", err)
		}
	}
	if o.Admit != nil {
		o.Admit.MemoryPages = o.MemoryPages
		if err := admitTo(out(), module, *o.Admit); err != nil {
			return exitFailed, err
		}
		return exitDone, nil
	}
	err = compileAs(stub, module, o.CloseOnContextDone)
	if err == nil {
		return exitDone, nil
	}
	if isDisk(err) {
		return exitFailed, err
	}
	return exitInvalid, err
}

func isDisk(err error) bool {
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	return path || link
}

// compileAs stores the module's code under the name that wazero gives the stub's code. The
// name is a hash of everything on which code depends, which only wazero can compute, so
// compileAs compiles the stub to learn it.
func compileAs(stub, module []byte, closeOnContextDone bool) error {
	const moduleName = "module"
	if err := compileInto(context.Background(), moduleName, module, closeOnContextDone); err != nil {
		return err
	}
	if err := compileInto(context.Background(), codeName, stub, closeOnContextDone); err != nil {
		return err
	}
	from, err := onlyFile(moduleName)
	if err != nil {
		return err
	}
	to, err := onlyFile(codeName)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(moduleName, from.path), filepath.Join(codeName, to.path)); err != nil {
		return err
	}
	return os.RemoveAll(moduleName)
}
