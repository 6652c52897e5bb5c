package source

import (
	"fmt"
	"io"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
)

// Signing is what a bundle is signed with.
type Signing struct {
	KeyFile   string // PEM; the secret itself for HS256, HS384, HS512
	Algorithm string // as in RFC 7518; if empty, by the key's type
	KeyID     string
	Stamp     Stamp // against replaying; the zero value says nothing
}

// Check reports what keeps a bundle from being signed so, and fills in Algorithm.
func (s *Signing) Check() error {
	text, err := artifact.ReadFile(s.KeyFile, maxPacked) // OPA would take the name of one that is absent for the key
	if err != nil {
		return err
	}
	if s.Algorithm, err = algorithm(text, true, s.Algorithm); err != nil {
		return fmt.Errorf("%s: %w", s.KeyFile, err)
	}
	return nil
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
		if err := s.Check(); err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		b.Manifest.Metadata = s.Stamp.metadata()
		cfg := bundle.NewSigningConfig(s.KeyFile, s.Algorithm, "")
		if err := b.GenerateSignature(cfg, s.KeyID, false); err != nil {
			return fmt.Errorf("signing: %w", err)
		}
	}
	return bundle.NewWriter(w).DisableFormat(true).Write(b)
}
