package manifest

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of manifest.json, for editors and
// generators. Parse checks more, such as the consistency of routes, actions and resources.
func Schema() []byte { return slices.Clone(schema) }
