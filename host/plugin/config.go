package plugin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Config is one plugin of the operator's configuration.
type Config struct {
	// Name is the plugin's name in paths, actions and permissions.
	Name string `json:"name"`
	// Source is where the plugin's .wasm is: a path, https://…,
	// oci://REGISTRY/REPOSITORY:TAG@DIGEST or oci-layout:DIR:TAG. What is not a local file
	// needs verification.
	Source string `json:"source"`
	// Digest is the SHA-256 of the module, as sha256:HEX; any other content is refused. A
	// module that is already cached is not fetched again.
	Digest string `json:"digest,omitempty"`
	artifact.Access
	// Verification is who must have signed the plugin.
	Verification artifact.Verification `json:"verification,omitzero"`
	// Grants are the plugin's grants, by capability. An empty list grants nothing.
	Grants map[string][]capability.Grant `json:"grants,omitempty"`
	// Config is passed to the plugin unchanged.
	Config json.RawMessage `json:"config,omitempty"`
	Limits Limits          `json:"limits,omitzero"`
	// Rollout is how a new version of the plugin replaces the present one.
	Rollout Rollout `json:"rollout,omitzero"`
}

// Check adds what is wrong with c to bad, as far as that shows without the plugin's
// file. What its limits leave open is taken from base.
func (c *Config) Check(bad *config.Problems, catalog *capability.Catalog, base Limits) {
	if err := checkName(c.Name); err != nil {
		bad.Add("name", "%w", err)
	}
	if c.Source == "" {
		bad.Add("source", "is missing")
	}
	if err := checkDigest(c.Digest); err != nil {
		bad.Add("digest", "%w", err)
	}
	catalog.Check(bad.At("grants"), c.Grants)
	c.Rollout.check(bad.At("rollout"))
	c.Limits.Over(base).Check(bad.At("limits"))
}

// Package is what c says of where the module is and who must have signed it.
func (c *Config) Package() artifact.Package {
	return artifact.Package{Source: c.Source, Digest: c.Digest, Access: c.Access, Verification: c.Verification}
}

// In makes the relative paths in c paths below dir.
func (c *Config) In(dir string) {
	p := c.Package()
	p.In(dir)
	c.Source, c.Access, c.Verification = p.Source, p.Access, p.Verification
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is missing")
	case slices.Contains(reserved, name):
		return fmt.Errorf("%q is reserved for the host's own routes", name)
	case !manifest.ValidName(name):
		return fmt.Errorf("%q must be lower-case letters, digits and dashes", name)
	}
	return nil
}

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func checkDigest(digest string) error {
	if digest != "" && !digestRE.MatchString(digest) {
		return fmt.Errorf("%q must be sha256: and 64 lower-case hexadecimal digits", digest)
	}
	return nil
}

// Limits bound one plugin. The operator sets them for all plugins and for each; a plugin's
// manifest may request less, but not more. A zero field means the default.
type Limits struct {
	MemoryMiB int           `json:"memoryMiB,omitempty"` // of one instance, without its tables; 64. 4096 leaves out the last 64 KiB
	TotalMiB  int           `json:"totalMiB,omitempty"`  // of all instances together: memory, tables, native stack, what the host keeps for them, and the state in which they start; 1024
	Instances int           `json:"instances,omitempty"` // running at a time; 64. One user may have a quarter of them
	Timeout   host.Duration `json:"timeout,omitempty"`   // of a unary call; default 30s
	Fuel      int64         `json:"fuel,omitempty"`      // instructions of a call, or of a session between two messages; default no limit
	BodyBytes int           `json:"bodyBytes,omitempty"` // of a request; default 1 MiB
	// Module bounds the declarations of the plugin's file: functions, locals, nesting and
	// so on. A negative number forbids such declarations.
	Module sandbox.ModuleLimits `json:"module,omitzero"`
}

// UserLimits bound what one user may have running in all plugins together.
// A zero field takes the default.
type UserLimits struct {
	Instances int `json:"instances,omitempty"` // 64
	MemoryMiB int `json:"memoryMiB,omitempty"` // of those instances, and of answers that are being written; 512
}

// The default limits of a plugin.
const (
	DefaultMemoryMiB = 64
	DefaultTotalMiB  = 1024
	DefaultInstances = 64
	DefaultTimeout   = 30 * time.Second
	DefaultBodyBytes = 1 << 20

	defaultUserInstances = 64
	defaultUserMiB       = 512
)

// Over returns l with its zero fields filled in from base.
func (l Limits) Over(base Limits) Limits {
	fill(reflect.ValueOf(&l).Elem(), reflect.ValueOf(base))
	return l
}

func fill(v, from reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct:
			fill(f, from.Field(i))
		case f.IsZero():
			f.Set(from.Field(i))
		}
	}
}

// resolve returns l with the defaults, and with the manifest's limits where these are lower.
func (l Limits) resolve(asked manifest.Limits) Limits {
	l.MemoryMiB = least(l.MemoryMiB, asked.MemoryMiB, DefaultMemoryMiB)
	l.TotalMiB = cmp.Or(l.TotalMiB, DefaultTotalMiB)
	l.Instances = cmp.Or(l.Instances, DefaultInstances)
	l.Timeout = least(l.Timeout, host.Duration(asked.Timeout), host.Duration(DefaultTimeout))
	l.BodyBytes = min(least(l.BodyBytes, asked.BodyBytes, DefaultBodyBytes), abi.MaxBody)
	if asked.Fuel > 0 && (l.Fuel == 0 || asked.Fuel < l.Fuel) {
		l.Fuel = asked.Fuel
	}
	l.Module = l.Module.WithDefaults()
	return l
}

// sandbox returns the limits that the sandbox enforces; l is resolved.
func (l Limits) sandbox() sandbox.Limits {
	return sandbox.Limits{
		MemoryBytes: uint64(l.MemoryMiB) << 20, TotalBytes: uint64(l.TotalMiB) << 20,
		Instances: l.Instances, Fuel: uint64(l.Fuel), Module: l.Module,
	}
}

// Check adds what is wrong with l to bad.
func (l Limits) Check(bad *config.Problems) {
	for field, v := range map[string]int64{
		"instances": int64(l.Instances), "timeout": int64(l.Timeout), "bodyBytes": int64(l.BodyBytes),
		"fuel": l.Fuel, "totalMiB": int64(l.TotalMiB),
	} {
		if v < 0 {
			bad.Add(field, "must not be negative")
		}
	}
	if l.MemoryMiB < 0 || l.MemoryMiB > 4096 {
		bad.Add("memoryMiB", "%d must be from 0 to 4096", l.MemoryMiB)
	}
	if most := cmp.Or(l.TotalMiB, DefaultTotalMiB); l.MemoryMiB > most {
		bad.Add("totalMiB", "%d leaves no room for one instance of memoryMiB %d", most, l.MemoryMiB)
	}
	if l.Module.Memories > 1 {
		bad.Add("module.memories", "%d: a module has at most one memory", l.Module.Memories)
	}
}

// Check adds what is wrong with l to bad.
func (l UserLimits) Check(bad *config.Problems) {
	if l.Instances < 0 {
		bad.Add("instances", "must not be negative")
	}
	if l.MemoryMiB < 0 {
		bad.Add("memoryMiB", "must not be negative")
	}
}

// least returns the smallest of the positive ones among own, asked and def.
func least[T int | host.Duration](own, asked, def T) T {
	if own <= 0 {
		own = def
	}
	if asked > 0 && asked < own {
		return asked
	}
	return own
}
