package directory

import (
	"bytes"
	_ "embed"
)

var (
	//go:embed crds/users.yaml
	usersCRD []byte
	//go:embed crds/teams.yaml
	teamsCRD []byte
	//go:embed crds/roles.yaml
	rolesCRD []byte
)

// CRDs returns the CustomResourceDefinitions of User, Team and Role, as YAML
// documents for kubectl apply.
func CRDs() []byte { return bytes.Join([][]byte{usersCRD, teamsCRD, rolesCRD}, []byte("---\n")) }

// Resources returns the plural names that the CRDs define.
func Resources() []string { return []string{"users", "teams", "roles"} }
