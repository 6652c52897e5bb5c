// Package compile turns WebAssembly into machine code where doing so can hurt
// nobody: in a child process that is the same program started again. It owns
// the child with its limits, and the cache of what children produced. What a
// module may contain was decided before; loading the code and running it is
// left to the caller.
//
// wazero's compiler cannot be interrupted, and a short module can keep it busy
// for minutes or make it take gigabytes. A child can be killed. It runs nice'd
// in a process group of its own, with an empty environment, no descriptors but
// its own, limits on CPU time, resident memory, size of files and wall time,
// and it dies with its parent. Address space is not limited: Go and wazero
// reserve far more than they touch.
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
// Outside Linux the child runs with its limit of wall time alone: CPU time and
// memory are not bounded, it does not die with its parent, and a cache
// directory must not be shared by processes.
package compile
