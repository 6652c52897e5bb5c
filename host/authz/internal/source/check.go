package source

import (
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/keys"
)

// Check returns all problems of c that can be found without opening anything. Each begins
// with at, the path of c in the configuration, and the field.
func (c *Config) Check(at string) error {
	if c.Dir != "" && c.Bundle != nil {
		return fmt.Errorf("%s: has both dir and bundle; remove one", at)
	}
	if c.Bundle == nil {
		return nil
	}
	b, p := c.Bundle, problems{at: at + ".bundle"}
	b.Problems(func(field, text string) { p.bad(true, field, "%s", text) })
	p.bad(b.Unsigned && len(b.Keys) > 0, ".unsigned", "cannot be combined with keys; remove one")
	p.bad(b.Remote() && !b.Unsigned && len(b.Keys) == 0, ".keys",
		"is missing: without keys, anyone who can write to the source decides; set unsigned: true to accept that")
	p.bad(b.Scope != "" && len(b.Keys) == 0, ".scope", "requires keys")
	p.bad(b.MinSerial > 0 && len(b.Keys) == 0, ".minSerial", "requires keys")
	p.bad(b.MinSerial > maxSerial, ".minSerial", "is over %d", uint64(maxSerial))
	seen := map[string]bool{}
	for i, k := range b.Keys {
		field := fmt.Sprintf(".keys[%d]", i)
		p.bad(k.ID == "" || seen[k.ID], field+".id", "%q is empty or used twice", k.ID)
		p.bad(k.File == "", field+".file", "is missing")
		p.bad(k.Algorithm != "" && !keys.IsSupportedAlgorithm(k.Algorithm), field+".algorithm", "%q is not supported", k.Algorithm)
		seen[k.ID] = true
	}
	return errors.Join(p.errs...)
}

type problems struct {
	at   string
	errs []error
}

func (p *problems) bad(is bool, field, format string, args ...any) {
	if is {
		p.errs = append(p.errs, fmt.Errorf("%s%s: %s", p.at, field, fmt.Sprintf(format, args...)))
	}
}

// Paths returns the fields of c that name files.
func (c *Config) Paths() []*string {
	list := []*string{&c.Dir}
	if b := c.Bundle; b != nil {
		list = append(list, b.Location.Paths()...)
		for i := range b.Keys {
			list = append(list, &b.Keys[i].File)
		}
	}
	return list
}
