package source

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/keys"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Check adds every mistake in c that can be seen without opening anything to problems.
func (c *Config) Check(problems *config.Problems) {
	b := c.Bundle
	if b == nil {
		return
	}
	if c.Dir != "" {
		problems.Add("", "has both dir and bundle; remove one")
		return
	}
	problems = problems.At("bundle")
	bad := func(is bool, field, format string, args ...any) {
		if is {
			problems.Add(field, format, args...)
		}
	}
	b.Problems(func(field, text string) { problems.Add(strings.TrimPrefix(field, "."), "%s", text) })
	bad(b.Unsigned && len(b.Keys) > 0, "unsigned", "cannot be combined with keys; remove one")
	bad(b.Remote() && !b.Unsigned && len(b.Keys) == 0, "keys",
		"is missing: without keys, anyone who can write to the source decides; set unsigned: true to accept that")
	bad(b.Scope != "" && len(b.Keys) == 0, "scope", "requires keys")
	bad(b.MinSerial > 0 && len(b.Keys) == 0, "minSerial", "requires keys")
	bad(b.MinSerial > maxSerial, "minSerial", "is over %d", uint64(maxSerial))
	seen := map[string]bool{}
	for i, k := range b.Keys {
		field := fmt.Sprintf("keys[%d]", i)
		bad(k.ID == "" || seen[k.ID], field+".id", "%q is empty or used twice", k.ID)
		bad(k.File == "", field+".file", "is missing")
		bad(k.Algorithm != "" && !keys.IsSupportedAlgorithm(k.Algorithm), field+".algorithm", "%q is not supported", k.Algorithm)
		seen[k.ID] = true
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
