// Package policies is the Rego that ships with Bulkhead, its tests, the schema of
// what it reads, and the roles that ship as data. It owns what the rules say; host/authz runs them,
// host/directory reads the roles.
package policies

import (
	"embed"
	"io/fs"
)

//go:embed *.rego roles.yaml schemas/input.json
var files embed.FS

// FS holds the Rego files at its root. Files named *_test.rego are the tests of
// the others and no part of the policy. An operator's file of the same name and
// package replaces one of them, and their own package bulkhead.authz shim.rego.
func FS() fs.FS { return files }

// Shim is the name of the file that hands the decision to the shipped rules.
const Shim = "shim.rego"

// Roles returns the shipped roles as YAML documents.
func Roles() []byte { return file("roles.yaml") }

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
