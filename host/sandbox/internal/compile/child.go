package compile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
)

// childName is the child's argument 0, which is how it knows itself.
const childName = "bulkhead: compiling"

// order is the child's argument 1.
type order struct {
	CPUSeconds         uint64
	Memory             uint64
	Size               int // of the module on stdin
	CloseOnContextDone bool
}

// How a child ends. Done is not 0, so that nothing else passes for it; Go's
// runtime uses 2.
const (
	exitDone    = 10
	exitFailed  = 11
	exitInvalid = 12
)

var childCalled atomic.Bool

// Child must be called first in main, and in TestMain, of every program that
// makes a Compiler. In a child it compiles and exits; otherwise it returns at
// once.
func Child() {
	childCalled.Store(true)
	if len(os.Args) != 2 || os.Args[0] != childName {
		return
	}
	code, err := obey(os.Args[1], os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// obey compiles the module on in into the working directory.
func obey(argument string, in io.Reader) (exit int, err error) {
	var o order
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		return exitFailed, err
	}
	if o.Size < 0 || o.Size > maxModule {
		return exitFailed, fmt.Errorf("module of %d bytes", o.Size)
	}
	if err := confine(o); err != nil {
		return exitFailed, fmt.Errorf("limits: %w", err)
	}
	debug.SetMemoryLimit(int64(o.Memory / 8 * 7)) // the collector works harder before the parent kills
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
