// Package conformance is the suite that the conformance plugin of every SDK passes in
// the real sandbox, on every build of the host. PROMISES.md lists what it checks; it is
// a test of this package:
//
//	go test ./sdk/conformance -run TestConformance/rust
//
// An SDK of your own: write a plugin that does what plugin/main.go does, with the
// manifest beside it, and run
//
//	go test ./sdk/conformance -run TestConformance/yours -module FILE.wasm
package conformance
