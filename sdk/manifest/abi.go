package manifest

import (
	"regexp"
	"slices"
)

// ABI is the contract between a module and its host. The zero value is Bulkhead's own,
// version 1 (package abi). The others are those of modules that were written for other
// hosts and run unmodified.
type ABI string

const (
	WASICommand ABI = "wasi-command" // WASI preview 1, called as a CGI program (RFC 3875)
	Extism      ABI = "extism"       // extism:host/env
	HTTPWasm    ABI = "http-wasm"    // http_handler, a middleware
	Kubewarden  ABI = "kubewarden"   // waPC, a policy of Kubewarden
)

// ABIs are the ABIs of other hosts' modules.
var ABIs = []ABI{WASICommand, Extism, HTTPWasm, Kubewarden}

func abiNames() (names []string) {
	for _, a := range ABIs {
		names = append(names, string(a))
	}
	return names
}

func (a ABI) known() bool { return a == "" || slices.Contains(ABIs, a) }

// reaches reports whether a module can call the capability at all.
func (a ABI) reaches(capability string) bool {
	switch a {
	case "":
		return true
	case Extism, HTTPWasm:
		return capability == "http"
	}
	return false
}

// exportRE is the form of the functions that a route can name. A module may have others.
var exportRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$`)

// validate checks what the ABI demands of a route.
func (a ABI) validate(p *problems, at string, r *Route) {
	if a != "" {
		p.check(r.Kind == Unary, at+".kind", "%q must be unary in a module of abi %s", r.Kind, a)
	}
	switch {
	case a == Extism:
		p.check(r.Entry != "", at+".entry", "is missing: the exported function that the route calls")
		p.check(r.Entry == "" || exportRE.MatchString(r.Entry), at+".entry", "%q is not the name of a function", r.Entry)
	default:
		p.check(r.Entry == "", at+".entry", "is for modules of abi %s", Extism)
	}
}
