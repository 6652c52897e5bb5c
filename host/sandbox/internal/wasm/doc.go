// Package wasm reads and writes WebAssembly modules: all of core Wasm 2.0, and nothing beyond it.
// It owns the binary format, the limits on declarations, and the checks of indices, so that guest
// code cannot refer to anything that is appended to an index space later. The engine that compiles
// the result checks the types of operands.
//
// Decode is strict: a number in a longer encoding than its type allows, an unknown instruction, a
// feature that is not part of Wasm 2.0 or a count above its limit is an Error with the byte's
// offset. It allocates memory for a count only if the rest of the input is long enough for it.
//
// Encode writes everything again, in the shortest form. It copies no byte of a function body
// without having parsed it, because engines have interpreted valid padded encodings as other
// instructions.
package wasm
