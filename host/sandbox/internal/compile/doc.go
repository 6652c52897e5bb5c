// Package compile turns WebAssembly into machine code where doing so can hurt
// nobody: in a child process that is the same program started again. It owns
// the child with its limits, and the cache of what children produced. What a
// module may contain was decided before; loading the code and running it is
// left to the caller.
//
// wazero's compiler cannot be interrupted, and a short module can keep it busy
// for minutes or make it take gigabytes. A child can be killed; how it is confined
// is host/internal/child's.
//
// The cache has one directory for each digest, which covers the module and
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
