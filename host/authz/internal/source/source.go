// Package source reads policies: the files of a directory, or an OPA bundle, which
// host/artifact brings from a file, a URL or an OCI registry. It owns the format of
// both, their bounds, and the verification of a bundle's signature; whether the Rego
// can be used is decided by the engine.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// Config names one source. At most one of Dir and Bundle is set; neither means
// that there is no policy but the shipped one.
type Config struct {
	// Dir holds *.rego, and *.json, *.yaml and *.yml as data, all merged at the
	// root of data. Directories below it are not read.
	Dir    string  `json:"dir,omitempty"`
	Bundle *Bundle `json:"bundle,omitempty"`
}

// Content is what a source held at one time. It is immutable.
type Content struct {
	Origin   string // where it is from, for people
	Revision string // as the bundle's manifest says; empty for a directory
	Modules  []Module
	Data     map[string]any
	Digest   string   // "sha256:…" of Modules and Data, the same for a directory and a bundle of it
	Unread   []string // what there seems to be Rego and is not read: "sub/", "a.REGO"
	Stamp    Stamp    // as a verified bundle says; zero otherwise
}

// Module is one Rego file, its text not parsed yet.
type Module struct {
	Name string
	Text []byte
}

// Source is one place of a policy.
type Source = artifact.Source[*Content]

// Open opens what cfg names, which has passed Check. A bundle from elsewhere is
// kept in the directory keep, if that is not empty.
func Open(cfg Config, keep string, log *slog.Logger) (Source, error) {
	switch b := cfg.Bundle; {
	case cfg.Dir != "":
		return openDir(cfg.Dir, log)
	case b == nil:
		return nothing{}, nil
	default:
		return b.open(keep, log)
	}
}

// OpenLate opens what may not be there yet: until it is, Load says why not.
func OpenLate(cfg Config, keep string, log *slog.Logger) Source {
	return &late{open: func() (Source, error) { return Open(cfg, keep, log) }}
}

// Empty reports whether cfg names no source.
func (c *Config) Empty() bool { return c.Dir == "" && c.Bundle == nil }

// nothing is the absence of a policy of the operator's own.
type nothing struct{}

func (nothing) Load(context.Context) (*Content, error) {
	return Shipped(), nil
}
func (nothing) Run(ctx context.Context, _ func()) { <-ctx.Done() }
func (nothing) Publish(*Content) error            { return nil }
func (nothing) Close() error                      { return nil }

// Shipped is the content of no source at all, the same each time. Its digest is
// that of the shipped rules, which are compiled with every content.
var Shipped = sync.OnceValue(func() *Content {
	var rules []Module
	for name, text := range policies.Rules() {
		rules = append(rules, Module{name, text})
	}
	c := newContent("shipped", "", rules, nil)
	c.Modules = nil
	return c
})

func newContent(origin, revision string, modules []Module, data map[string]any) *Content {
	slices.SortFunc(modules, func(a, b Module) int { return strings.Compare(a.Name, b.Name) })
	if data == nil {
		data = map[string]any{}
	}
	h := sha256.New()
	for _, m := range modules {
		part(h, strings.TrimPrefix(m.Name, "/")) // as OPA's reader has names in a bundle begin
		part(h, string(m.Text))
	}
	text, _ := json.Marshal(data) // it was JSON or YAML before
	part(h, string(text))
	return &Content{Origin: origin, Revision: revision, Modules: modules, Data: data, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil))}
}

// part writes s with its length in front, so that no two lists write the same.
func part(w io.Writer, s string) { fmt.Fprintf(w, "%d:%s", len(s), s) }

// merge adds the keys of b to a, and of objects in it to objects in a. It
// returns the path of the first value that both have.
func merge(a, b map[string]any, at string) (conflict string) {
	for _, k := range slices.Sorted(maps.Keys(b)) {
		old, there := a[k]
		if !there {
			a[k] = b[k]
			continue
		}
		x, ok := old.(map[string]any)
		y, also := b[k].(map[string]any)
		if !ok || !also {
			return at + "/" + k
		}
		if c := merge(x, y, at+"/"+k); c != "" {
			return c
		}
	}
	return ""
}
