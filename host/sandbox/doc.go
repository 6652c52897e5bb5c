// Package sandbox runs WebAssembly modules that nobody has to trust. It owns
// everything about wazero: compiling, instances and their memory, the WASI
// functions a guest may link, stopping a guest, and turning what goes wrong
// inside one into a typed error. It knows memory and calls, not the plugin ABI:
// what the bytes mean is host/plugin's business.
//
// The door is Load, then Acquire, Call and Release on the Module. An Instance
// belongs to one caller between Acquire and Release, has served nobody before,
// and is never used again after it trapped, was cut or grew.
//
// How it is done today: every call gets an instance of its own, made ahead of
// time and initialized by Spec.Init; a cancelled or expired context ends the
// guest through wazero's close-on-done.
package sandbox
