package authz

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// effectful are the built-in functions that policies cannot call: they reach out of the
// process, reveal facts about it, or return random values. A policy that calls one is
// refused with the line of the call. Functions on network addresses are available, since
// they only compute.
var effectful = []string{
	"http.send", "net.lookup_ip_addr", "json.match_schema", "json.verify_schema", "providers.aws.sign_req",
	"opa.runtime", "trace", "rand.intn", "uuid.rfc4122",
}

// capabilities are the functions that policies may use.
var capabilities = func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return slices.Contains(effectful, b.Name)
	})
	c.AllowNet = []string{}
	return c
}()

// Capabilities returns the functions that policies may use, in the form of OPA's own tools
// ("opa check --capabilities FILE").
func Capabilities() *ast.Capabilities { return capabilities }

// Nondeterministic returns the functions whose result may differ for equal arguments, such
// as the clock. It includes the verification of certificates, which depends on the time of
// the call although OPA does not mark it so.
func Nondeterministic() map[string]bool {
	varying := map[string]bool{
		"crypto.x509.parse_and_verify_certificates":              true,
		"crypto.x509.parse_and_verify_certificates_with_options": true,
	}
	for _, b := range capabilities.Builtins {
		if b.IsNondeterministic() {
			varying[b.Name] = true
		}
	}
	return varying
}

// deterministic reports whether the rules that decide call none of these functions.
func deterministic(c *ast.Compiler) bool {
	varying, ok := Nondeterministic(), true
	for rule := range deciding(c) {
		ast.WalkRefs(rule, func(r ast.Ref) bool {
			ok = ok && !varying[r.String()]
			return false
		})
	}
	return ok
}
