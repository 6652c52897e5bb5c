package child

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
)

// Role is one thing that this program does in a child. Its Main must be called
// first in main, and in TestMain, of every program that calls Run. Make one with
// a package variable; it is safe for concurrent use.
type Role struct {
	// Name is the child's argument 0, which is how it knows its role. It begins
	// with "bulkhead: ", as no program's path does.
	Name   string
	called atomic.Bool
}

const prefix = "bulkhead: "

// Exit codes of a child that this package chooses. A role's own are from 10 on,
// so that nothing else passes for them; Go's runtime uses 2.
const exitUnconfined = 3

// order is the child's argument 1.
type order struct {
	CPUSeconds uint64
	Memory     uint64
	Argument   json.RawMessage
}

// Main runs obey and exits with its code if this process is a child of the role.
// The limits hold when obey is called. Otherwise Main returns at once.
func (r *Role) Main(obey func(argument json.RawMessage) (exit int)) {
	r.called.Store(true)
	if len(os.Args) != 2 || os.Args[0] != r.Name {
		return
	}
	var o order
	err := json.Unmarshal([]byte(os.Args[1]), &o)
	if err == nil {
		err = confine(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(exitUnconfined)
	}
	debug.SetMemoryLimit(int64(o.Memory / 8 * 7)) // the collector works harder before the parent kills
	os.Exit(obey(o.Argument))
}

// Ready reports whether Run can work: Main was called, in a process that is not
// itself a child of any role.
func (r *Role) Ready() bool { return r.called.Load() && !strings.HasPrefix(os.Args[0], prefix) }
