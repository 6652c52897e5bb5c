// Package sandbox runs untrusted WebAssembly modules. It owns everything about wazero:
// compiling, instances and their memory, the WASI functions that a guest may link,
// stopping a guest, and converting a guest's failures to typed errors. It knows memory and
// calls, not the plugin ABI: host/plugin knows what the bytes mean.
//
// The API is Load, then Acquire, Call and Release of the Module. An Instance belongs to
// one caller between Acquire and Release, contains nothing of another caller, and is not
// used again after it trapped, was stopped or grew.
//
// Stopping. Guests run rewritten (internal/rewrite): they count their work and call the
// host when a slice of it is used up. There, and before every host function, the host
// checks the context and its deadline; a computing guest is stopped well within 250 ms.
// Nothing else stops a guest, and an instance is never closed while its guest runs.
//
// Costs. The resources of an instance are counted before they are taken, for its module
// and for its holder: memory, tables, native stack (internal/stack), and memory that a
// host function keeps for it (Account). The deadline bounds processor time, or WithBurst
// for calls without a deadline; output is bounded in bytes and lines.
//
// Fresh state. The first instance of a module becomes the template: data segments, start
// function and Spec.Init run in it, and its memory and globals are kept. All other
// instances start as copies, without running any code, and Release restores them
// (internal/image). So all callers share the state that Init left, and no caller sees the
// state of another. What a guest reads from the host is live: clocks and random_get.
// Values that it derived from them before the template was taken are the same in every
// call. If a module can change state that the engine cannot restore, its tables or dropped
// segments, every caller gets a new instance; the log has the reason.
package sandbox
