// Package wasm reads and writes WebAssembly modules: all of core Wasm 2.0, and
// nothing beyond it. It owns the binary format, the bounds on what a module may
// declare, and index checks, so that whoever appends to an index space knows
// that no guest code refers to what was appended. It leaves the typing of
// operands to the engine that compiles the result.
//
// Decode is strict: a number in a longer encoding than its type allows, an
// unknown instruction, a feature that is not part of Wasm 2.0 or a count above
// its limit is an Error with the byte's offset. Nothing is allocated for a
// count before the input has shown that it can hold that many.
//
// Encode writes everything afresh, in the shortest form. No byte of a function
// body reaches the output without having been understood: engines have read
// legally padded encodings as other instructions.
package wasm
