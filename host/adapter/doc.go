// Package adapter runs modules that were written for other hosts, unmodified, in the
// sandbox. An Adapter turns the request of a plugin call into what the module's ABI
// expects, its answer into a Response, and its imports into capability calls. It has no
// authority of its own: what a module reaches, it reaches through Env, which is the same
// broker that a plugin of Bulkhead's own ABI uses.
//
// Everything that a guest can make the host keep (standard output, Extism's memory, bodies)
// is bounded and counted with Env.Hold before it is allocated.
//
// The file of an ABI has its imports, its exports and its rules: wasi.go (WASI preview 1
// commands, RFC 3875), extism.go, httpwasm.go (http-wasm.io/http-handler-abi), kubewarden.go
// (waPC). An import that an ABI has and that is not here does not link, and the error names it.
package adapter
