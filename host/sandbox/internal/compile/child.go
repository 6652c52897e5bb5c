package compile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// compiling is what a child of this package does.
var compiling = &child.Role{Name: "bulkhead: compiling"}

// order is what a child is to do.
type order struct {
	Size               int // of the module on stdin
	CloseOnContextDone bool
}

// How a child ends.
const (
	exitDone    = 10
	exitFailed  = 11
	exitInvalid = 12
)

// Child must be called first in main, and in TestMain, of every program that
// makes a Compiler. In a child it compiles and exits; otherwise it returns at
// once.
func Child() {
	compiling.Main(func(argument json.RawMessage) int {
		code, err := obey(argument, os.Stdin)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	})
}

// obey compiles the module on in into the working directory.
func obey(argument json.RawMessage, in io.Reader) (exit int, err error) {
	var o order
	if err := json.Unmarshal(argument, &o); err != nil {
		return exitFailed, err
	}
	if o.Size < 0 || o.Size > maxModule {
		return exitFailed, fmt.Errorf("module of %d bytes", o.Size)
	}
	wasm := make([]byte, o.Size)
	if _, err := io.ReadFull(in, wasm); err != nil {
		return exitFailed, fmt.Errorf("reading the module: %w", err)
	}
	err = compileInto(context.Background(), codeName, wasm, o.CloseOnContextDone)
	if err == nil {
		return exitDone, nil
	}
	if _, disk := errors.AsType[*fs.PathError](err); disk {
		return exitFailed, err
	}
	return exitInvalid, err
}
