package sandbox

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/compile"

// CompileChild must be called first in main, and in TestMain, of every program that loads
// modules. Modules are compiled in a child process, which is the same program started
// again. In the child, CompileChild compiles and exits; otherwise it returns at once.
func CompileChild() { compile.Child() }
