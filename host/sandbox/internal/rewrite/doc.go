// Package rewrite makes a module stoppable, measurable and restorable before
// an engine sees it. It owns what is added to guest code and why that cannot
// be circumvented; it leaves to host/sandbox what a guest is allowed to spend
// and what happens at a yield.
//
// Fuel. A mutable i64 global counts down by the instructions ahead, at the
// entry of functions and at the head of loops. When it falls below zero the
// guest calls the imported pause function with what is left, a negative number,
// and goes on with the number that the function returns. Operations whose work
// depends on an operand pay for it before they run; those on memory run in
// pieces, and pay before each. A function without loops whose work has a small
// static bound, calls included, counts nothing: each of its callers pays for it.
//
// Stack. A mutable i32 global holds how many bytes of native stack the guest may
// use before it asks again, by estimate. Every cycle of the call graph passes a
// place where it is charged: call_indirect, or the entry of a function chosen to
// break a cycle of direct calls. When it falls below zero the guest calls the
// imported deepen function, and goes on with the number that it returns. What a
// frame really takes only the engine knows, so this bounds nothing: it is when the
// host looks.
//
// References. ref.func is replaced by a look into a table that nothing else can
// reach, since the engine makes an object for each time that it runs.
//
// Restoring. The module's own mutable globals are exported; the start function
// and the active data segments become steps for the host, so that they happen
// once, under the host's control.
//
// A loop's head waits for the store of the time before. Keeping the fuel in a
// local as well, loaded again after calls, was tried to avoid that; it made no
// difference beyond noise.
//
// What is added appends to index spaces of which package wasm has checked every
// guest reference, under names that guests are refused; guest code cannot reach
// it. Otherwise nothing changes: exports, names, results and traps.
package rewrite
