// Package compile admits WebAssembly modules and turns them into machine code
// where doing so harms no other work: in child processes that are the same
// program started again. It owns the child with its limits, and the cache of
// what children produced. What a module may contain is decided by package wasm,
// and what is added to it by package rewrite; loading the code and running it is
// left to the caller.
//
// A module of some megabytes can become gigabytes when it is read and rewritten,
// wazero's compiler cannot be interrupted, and a short module can keep it busy
// for minutes. A child can be killed; how it is confined is host/internal/child's.
// One admits and rewrites the module at each load, another compiles it if the
// cache has no code for it. This process never reads a function: it gets a stub
// from the first child, the module with bodies that trap at once, which is all
// that wazero needs beside the code. The second gives the code the name that
// wazero looks for when it is given the stub.
//
// The cache has one directory for each digest, which covers the rewritten module and
// everything else that the code depends on: wazero's version, its
// configuration, the processor and its features. The parent writes down the
// hash of what a child left and compares it before every use, because wazero
// compiles silently when a file is missing and fails for ever when one is
// damaged. That finds damage, not enmity: who can write here as this user
// owns the host anyway.
//
//	DIGEST/code/wazero-VERSION-ARCH-OS/KEY   as wazero wants it
//	DIGEST/manifest                          the hash; its time is the last use
//	DIGEST.lock                              held while compiled, loaded or removed
//	DIGEST.N.tmp                             being compiled
//
// Outside Linux the child is bounded in wall time alone, and a cache directory
// must not be shared by processes.
package compile
