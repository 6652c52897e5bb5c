// Package sandbox runs WebAssembly modules that nobody has to trust. It owns
// everything about wazero: compiling, instances and their memory, the WASI
// functions a guest may link, stopping a guest, and turning what goes wrong
// inside one into a typed error. It knows memory and calls, not the plugin ABI:
// what the bytes mean is host/plugin's business.
//
// The door is Load, then Acquire, Call and Release on the Module. An Instance
// belongs to one caller between Acquire and Release, shows nothing of another
// caller, and is never used again after it trapped, was cut or grew.
//
// Stopping. Guests run rewritten (internal/rewrite): they count what they do
// and call back when a slice of it is used up. There, and before every host
// function, the context's end and deadline are looked at; a computing guest is
// stopped well within 250 ms of them. Nothing else stops a guest, and nothing
// closes an instance while its guest runs.
//
// Costs. What an instance takes of the host is counted before it is taken, by its
// module and by who holds it: memory, tables, native stack (internal/stack), and
// what a host function keeps for it (Account). Processor time is bounded by the
// deadline, or for calls without one by WithBurst; output by bytes and lines.
//
// Fresh state. The first instance of a module is the template: data segments,
// start function and Spec.Init are run in it and its memory and globals are
// kept. All other instances start as copies, without running anything, and
// Release puts them back (internal/image). So what Init left is shared by all
// callers, and what a caller left is seen by none. What a guest reads from the
// host is live: clocks and random_get. What it derived from them before the
// template was taken is the same in every call. A module that can change what
// the engine cannot put back, its tables or its dropped segments, gets a fresh
// instance for every caller instead; the log says so and why.
package sandbox
