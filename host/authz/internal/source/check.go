package source

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/keys"
	"oras.land/oras-go/v2/registry"
)

// Check reports every mistake in c that can be seen without opening anything.
// Each error begins with at, the path of c in the configuration, and the field.
func (c *Config) Check(at string) error {
	if c.Dir != "" && c.Bundle != nil {
		return fmt.Errorf("%s: has both dir and bundle", at)
	}
	if c.Bundle == nil {
		return nil
	}
	b, p := c.Bundle, problems{at: at + ".bundle"}
	places := 0
	for _, place := range []string{b.File, b.URL, b.OCI} {
		if place != "" {
			places++
		}
	}
	p.bad(places != 1, "", "needs exactly one of file, url and oci")
	if u, err := url.Parse(b.URL); b.URL != "" {
		p.bad(err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())),
			".url", "is not an https URL, or http on loopback")
		p.bad(err == nil && u.User != nil, ".url", "contains a password; use user and tokenFile")
	}
	if b.OCI != "" {
		ref, err := registry.ParseReference(b.OCI)
		p.bad(err != nil || ref.Reference == "", ".oci", "%q is not REGISTRY/REPOSITORY:TAG or @DIGEST", b.OCI)
	}
	remote := b.URL != "" || b.OCI != ""
	poll := time.Duration(b.Poll)
	p.bad(poll != 0 && poll < minPoll, ".poll", "is less than %v", minPoll)
	p.bad(!remote && (poll != 0 || b.TokenFile+b.User+b.CAFile != ""), "", "poll, tokenFile, user and caFile are for url and oci")
	p.bad(b.User != "" && b.TokenFile == "", ".user", "needs tokenFile")
	p.bad(b.Unsigned && len(b.Keys) > 0, ".unsigned", "contradicts keys")
	p.bad(remote && !b.Unsigned && len(b.Keys) == 0, ".keys",
		"is missing: whoever can write to the bundle's place would decide; unsigned: true accepts that")
	p.bad(b.Scope != "" && len(b.Keys) == 0, ".scope", "needs keys")
	p.bad(b.MinSerial > 0 && len(b.Keys) == 0, ".minSerial", "needs keys")
	p.bad(b.MinSerial > maxSerial, ".minSerial", "is over %d", uint64(maxSerial))
	seen := map[string]bool{}
	for i, k := range b.Keys {
		field := fmt.Sprintf(".keys[%d]", i)
		p.bad(k.ID == "" || seen[k.ID], field+".id", "%q is missing or used twice", k.ID)
		p.bad(k.File == "", field+".file", "is missing")
		p.bad(k.Algorithm != "" && !keys.IsSupportedAlgorithm(k.Algorithm), field+".algorithm", "%q is not known", k.Algorithm)
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

func loopback(name string) bool {
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && addr.IsLoopback()
}

// Paths returns the places in c that hold paths of files.
func (c *Config) Paths() []*string {
	list := []*string{&c.Dir}
	if b := c.Bundle; b != nil {
		list = append(list, &b.File, &b.TokenFile, &b.CAFile)
		for i := range b.Keys {
			list = append(list, &b.Keys[i].File)
		}
	}
	return list
}
