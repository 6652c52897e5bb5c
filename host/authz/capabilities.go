package authz

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// effectful are the built-in functions that a policy is compiled without: they
// reach out of the process, tell about it, or answer by chance. A policy that
// calls one is refused with the line of the call. The functions on network
// addresses stay, they only compute.
var effectful = []string{
	"http.send", "net.lookup_ip_addr", "json.match_schema", "json.verify_schema", "providers.aws.sign_req",
	"opa.runtime", "trace", "rand.intn", "uuid.rfc4122",
}

// capabilities are what policies may use.
var capabilities = func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return slices.Contains(effectful, b.Name)
	})
	c.AllowNet = []string{}
	return c
}()

// Capabilities returns what policies may use, as OPA's own tools and editors read it
// ("opa check --capabilities FILE").
func Capabilities() *ast.Capabilities { return capabilities }

// Nondeterministic returns the functions whose result may differ for equal
// arguments, such as the clock. OPA does not say so of certificates, which it
// verifies at the time of the call.
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

// deterministic reports whether nothing that c decides by calls one of these.
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
