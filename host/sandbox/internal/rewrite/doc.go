// Package rewrite makes a module stoppable, measurable and restorable before an engine compiles
// it. It owns the additions to guest code, which a guest cannot circumvent. host/sandbox decides
// what a guest may spend and what happens at a pause.
//
// Fuel. At the entry of functions and at the head of loops, a mutable i64 global is reduced by
// the instructions that follow. When it falls below zero, the guest calls the imported pause
// function with the negative rest and continues with the number that the function returns. Of long
// straight code a head pays for the beginning only, and further counts follow inside. An
// operation whose work depends on an operand pays for it before it runs; operations on memory
// run in pieces and pay before each. A function without loops whose work, including its calls,
// has a small static bound counts nothing: its callers pay for it. Heads call the host from code
// outside of the loop or function, and check again afterwards (heads.go).
//
// Stack. A mutable i32 global is the estimated number of bytes of native stack that the guest may
// use before it calls the host. Every cycle of the call graph contains a point where it is
// charged: call_indirect, or the entry of a function chosen to break a cycle of direct calls.
// When it falls below zero, the guest calls the imported deepen function and continues with the
// number that it returns. Only the engine knows the real size of a frame, so the global does not
// bound the stack; it only determines when the host checks it. A recursion that returns raises it
// again, and calls pause each time it has given back as much as deepen grants, because its
// functions have paid for what follows their calls.
//
// References. ref.func is replaced by a read from a table that guest code cannot reach, because
// the engine makes a new object for each execution of ref.func.
//
// Restoring. The module's own mutable globals are exported. The start function and the active
// data segments become steps of the host, so that they happen once, under the host's control.
//
// The additions are appended to index spaces in which package wasm has checked every reference of
// the guest, with names that guests cannot use, so guest code cannot reach them. Exports, names,
// results and traps do not change.
package rewrite
