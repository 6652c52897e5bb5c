package source

import (
	"fmt"
	"io"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
)

// Signing is the key and algorithm with which a bundle is signed.
type Signing struct {
	KeyFile   string // PEM; the secret itself for HS256, HS384, HS512
	Algorithm string // as in RFC 7518; if empty, by the key's type
	KeyID     string
	Stamp     Stamp // against replaying; the zero value says nothing
}

// Check returns why a bundle cannot be signed with s, and fills in Algorithm.
func (s *Signing) Check() error {
	text, err := artifact.ReadFile(s.KeyFile, maxPacked) // OPA would use the name of a missing file as the key
	if err != nil {
		return err
	}
	if s.Algorithm, err = algorithm(text, true, s.Algorithm); err != nil {
		return fmt.Errorf("%s: %w", s.KeyFile, err)
	}
	return nil
}

// Pack writes c as an OPA bundle with the given revision. The bundle includes the tests, which
// run before it is published.
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
