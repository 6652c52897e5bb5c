// Package policies is the Rego that ships with Bulkhead, its tests, the schema of
// what it reads, and the roles that ship as data. It owns what the rules say;
// host/authz runs them, host/directory reads the roles.
package policies

import (
	"embed"
	"io/fs"
)

//go:embed azure.rego break_glass.rego default.rego prohibitions.rego shim.rego
//go:embed roles/roles.yaml schemas/input.json
var files embed.FS

// Rules returns the Rego files by name, without their tests. An operator's file
// of the same name and package replaces one of them, and their own package
// bulkhead.authz shim.rego.
func Rules() map[string][]byte {
	names, err := fs.Glob(files, "*.rego")
	if err != nil {
		panic(err) // the pattern is well-formed
	}
	rules := map[string][]byte{}
	for _, name := range names {
		rules[name] = file(name)
	}
	return rules
}

// Shim is the name of the file that hands the decision to the shipped rules.
const Shim = "shim.rego"

// Roles returns the shipped roles as YAML documents.
func Roles() []byte { return file("roles/roles.yaml") }

// InputSchema returns the JSON Schema (draft 7) of a policy's input. Policies
// name it schema.input in their annotations.
func InputSchema() []byte { return file("schemas/input.json") }

func file(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded above
	}
	return data
}
