// Package bulkhead contains the sources of the SDKs. The bulkhead command writes them beside
// a new plugin, so that its author needs neither a clone of this repository nor a network.
package bulkhead

import "embed"

// SDK is the part of the directory sdk that plugins are built from, and the license. Tests
// and tools in Go are in it too, because a pattern cannot exclude them.
//
//go:embed LICENSE sdk/*.go sdk/*/*.go sdk/internal
//go:embed sdk/README.md sdk/abi/ABI.md sdk/manifest/schema.json sdk/ui
//go:embed sdk/rust/README.md sdk/rust/build.sh sdk/rust/Cargo.toml sdk/rust/src sdk/rust/hello
//go:embed sdk/c/README.md sdk/c/build.sh sdk/c/bulkhead.h sdk/c/hello
//go:embed sdk/assemblyscript/README.md sdk/assemblyscript/build.sh sdk/assemblyscript/package.json
//go:embed sdk/assemblyscript/package-lock.json sdk/assemblyscript/assembly sdk/assemblyscript/lib sdk/assemblyscript/hello
var SDK embed.FS
