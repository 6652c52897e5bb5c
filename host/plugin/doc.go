// Package plugin is ABI v1 over the sandbox. It reads a plugin's file, checks
// its manifest against what the operator granted, links exactly that, starts
// it, and turns calls into frames and back. It owns which plugins are loaded,
// under which name, and which routes they have.
//
// What a capability does and whether it may is host/capability's business; how
// requests arrive and sockets work is the gateway's, which passes a Socket in.
package plugin
