// Package compile admits WebAssembly modules and compiles them to machine code, in child
// processes, which are the same program started again. It owns the children with their limits,
// and the cache of compiled code. Package wasm decides what a module may contain, and package
// rewrite what is added to it; the caller loads and runs the code.
//
// A module of some megabytes can take gigabytes when it is read and rewritten, wazero's
// compiler cannot be interrupted, and a short module can keep it busy for minutes. A child can
// be killed; host/internal/child confines it. One child admits and rewrites the module, another
// compiles it, unless the cache has their results. This process never reads a function: it gets a stub from the first child, the module with bodies that trap at once,
// which is all that wazero needs beside the code. The second child stores the code under the
// name that wazero looks for when it gets the stub.
//
// The cache has one directory for each digest. That of code covers the rewritten module and
// everything else on which the code depends: wazero's version, its configuration, the processor
// and its features. That of an admitted module covers the module, its limits, and this program,
// which contains the rewriter. The parent stores the hash of a child's result and compares it before every use,
// because wazero compiles silently if a file is missing, and always fails if a file is damaged.
// This detects damage, not attacks: an attacker who can write here as this user controls the
// host anyway.
//
//	DIGEST/code/wazero-VERSION-ARCH-OS/KEY   in the layout of wazero
//	DIGEST/code/admitted                     an admitted module, its stub and what the host needs
//	DIGEST/manifest                          the hash; its time is the last use
//	DIGEST.lock                              held while made, loaded or removed
//	DIGEST.N.tmp                             being made
//
// On systems other than Linux only the child's wall time is bounded, and processes must not
// share a cache directory.
package compile
