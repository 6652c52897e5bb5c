package child

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
)

// Role is one task that this program runs in a child. Every program that calls Run
// must call Main first in main, and in TestMain. Declare a Role as a package
// variable; it is safe for concurrent use.
type Role struct {
	// Name is the child's argument 0, which selects its role. It must begin with
	// "bulkhead: ", which a program's path does not.
	Name   string
	called atomic.Bool
}

const prefix = "bulkhead: "

// Exit codes of this package. Those of a role are 10 and above, to distinguish them
// from others; Go's runtime uses 2.
const exitUnconfined = 3

// order is the child's argument 1.
type order struct {
	CPUSeconds uint64
	Memory     uint64
	Yield      bool
	Argument   json.RawMessage
}

// Main runs work and exits with its code if this process is a child of the role.
// The limits are set before work is called. In other processes Main returns at once.
func (r *Role) Main(work func(argument json.RawMessage) (exit int)) {
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
	debug.SetMemoryLimit(int64(o.Memory / 8 * 7)) // the collector works harder before the parent kills the child
	os.Exit(work(o.Argument))
}

// Ready reports whether Run can start children: Main was called, and this process is
// not a child itself.
func (r *Role) Ready() bool { return r.called.Load() && !strings.HasPrefix(os.Args[0], prefix) }
