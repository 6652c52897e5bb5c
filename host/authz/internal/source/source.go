// Package source reads policies: the files of a directory, or an OPA bundle, which
// host/artifact gets from a file, a URL or an OCI registry. It owns the formats, their bounds,
// and the verification of a bundle's signature; the engine decides whether the Rego can be
// used.
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

// Config names one source. At most one of Dir and Bundle is set; with neither, only the shipped
// policy decides.
type Config struct {
	// Dir is a directory with *.rego, and with *.json, *.yaml and *.yml as data, which
	// are merged at the root of data. Subdirectories are not read.
	Dir    string  `json:"dir,omitempty"`
	Bundle *Bundle `json:"bundle,omitempty"`
}

// Content is the content of a source at one time. It is immutable.
type Content struct {
	Origin   string // where it comes from, for messages
	Revision string // from the bundle's manifest; empty for a directory
	Modules  []Module
	Data     map[string]any
	Digest   string   // "sha256:…" of Modules and Data, the same for a directory and a bundle of it
	Unread   []string // files and directories that look like Rego but are not read: "sub/", "a.REGO"
	Stamp    Stamp    // of a verified bundle; zero otherwise
}

// Module is one Rego file, not parsed yet.
type Module struct {
	Name string
	Text []byte
}

// Source is a source of policies.
type Source = artifact.Source[*Content]

// Open opens the source that cfg names, which has passed Check. A copy of a remote bundle is
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

// OpenLate opens a source that may not exist yet; until it does, Load returns the reason.
func OpenLate(cfg Config, keep string, log *slog.Logger) Source {
	return &late{open: func() (Source, error) { return Open(cfg, keep, log) }}
}

// Empty reports whether cfg names no source.
func (c *Config) Empty() bool { return c.Dir == "" && c.Bundle == nil }

// nothing is the source if the operator has no policy.
type nothing struct{}

func (nothing) Load(context.Context) (*Content, error) {
	return Shipped(), nil
}
func (nothing) Run(ctx context.Context, _ func()) { <-ctx.Done() }
func (nothing) Publish(*Content) error            { return nil }
func (nothing) Close() error                      { return nil }

// Shipped returns the content without an operator's policy; it is always the same. Its digest
// is that of the shipped rules, which are compiled with every content.
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
		part(h, strings.TrimPrefix(m.Name, "/")) // OPA's reader returns names in a bundle with a slash
		part(h, string(m.Text))
	}
	text, _ := json.Marshal(data) // cannot fail: it was decoded from JSON or YAML
	part(h, string(text))
	return &Content{Origin: origin, Revision: revision, Modules: modules, Data: data, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil))}
}

// part writes s with its length in front, so that different lists never write the same bytes.
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
