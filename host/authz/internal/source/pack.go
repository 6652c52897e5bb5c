package source

import (
	"fmt"
	"io"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Signing is what a bundle is signed with.
type Signing struct {
	KeyFile   string // PEM; the secret itself for HS256, HS384, HS512
	Algorithm string // RS256 if empty
	KeyID     string
}

// Pack writes c as an OPA bundle, which says that it is of the given revision.
// Tests are part of it: they run wherever it is published.
func Pack(w io.Writer, c *Content, revision string, s *Signing) error {
	b := bundle.Bundle{Data: c.Data}
	b.Manifest.Init()
	b.Manifest.Revision = revision
	for _, m := range c.Modules {
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: m.Name, Path: m.Name, Raw: m.Text})
	}
	if s != nil {
		if _, err := readFile(s.KeyFile); err != nil { // OPA would take the name for the key
			return err
		}
		cfg := bundle.NewSigningConfig(s.KeyFile, s.Algorithm, "")
		if err := b.GenerateSignature(cfg, s.KeyID, false); err != nil {
			return fmt.Errorf("signing: %w", err)
		}
	}
	return bundle.NewWriter(w).DisableFormat(true).Write(b)
}
