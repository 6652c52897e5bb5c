package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

// Inspection is what can be said of a plugin's file without running it.
type Inspection struct {
	File   string `json:"file"`
	Digest string `json:"digest"`
	Bytes  int    `json:"bytes"`
	// Refused is why the host would not load it whatever it is granted. Empty:
	// nothing here keeps it out.
	Refused  []string            `json:"refused,omitempty"`
	Manifest *manifest.Manifest  `json:"manifest,omitempty"`
	Imported []string            `json:"imported,omitempty"` // capabilities, by its imports
	Denied   []string            `json:"denied,omitempty"`   // optional capabilities that are not granted
	Limits   Limits              `json:"limits"`             // that it would run under, as far as they are known
	Module   *sandbox.Inspection `json:"module,omitempty"`
}

// Inspect reads the plugin in c.Source, under c's limits and for a host with b's
// capabilities. Where c has a name, it is one of a configuration, and what its
// grants lack is a reason too. An error means that the file cannot be read; what
// is wrong with its content is in Refused.
func Inspect(catalog *capability.Catalog, c Config) (*Inspection, error) {
	wasm, err := read(c.Source, max(0, c.Limits.Module.WithDefaults().ModuleBytes))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(wasm)
	i := &Inspection{File: c.Source, Digest: "sha256:" + hex.EncodeToString(sum[:]), Bytes: len(wasm)}
	raw, err := manifest.Extract(wasm)
	if err == nil {
		i.Manifest, err = manifest.Parse(raw)
	}
	i.refuse(err)
	var asks manifest.Limits
	if i.Manifest != nil {
		asks = i.Manifest.Limits
		if c.Name != "" {
			i.Denied, err = consent(catalog, i.Manifest, c.Grants)
		} else {
			err = errors.Join(unknown(catalog, i.Manifest)...)
		}
		i.refuse(err)
	}
	i.Limits = c.Limits.resolve(asks)
	i.Module, err = sandbox.Inspect(wasm, i.Limits.sandbox())
	if refused, ok := errors.AsType[*sandbox.Refused](err); ok {
		err = named(err, refused)
	}
	i.refuse(err)
	i.foreign(wasm)
	if i.Module != nil {
		i.compare()
	}
	return i, nil
}

func (i *Inspection) refuse(err error) {
	if err != nil {
		i.Refused = append(i.Refused, reasons(err)...)
	}
}

// reasons takes joined errors apart.
func reasons(err error) (list []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, reasons(e)...)
		}
		return list
	}
	return []string{err.Error()}
}

// foreign looks for the ABI of another host: a manifest's must be the module's, and a module
// without a manifest can be adopted.
func (i *Inspection) foreign(wasm []byte) {
	found, err := pack.Recognize(wasm)
	switch {
	case i.Manifest == nil && err == nil && found.ABI != "":
		i.Refused = append(i.Refused, fmt.Sprintf("the module is one of abi %q; \"bulkhead plugin adopt\" makes a plugin of it", found.ABI))
	case i.Manifest == nil || i.Manifest.ABI == "":
	case err != nil:
		i.refuse(err)
	case found.ABI != i.Manifest.ABI:
		i.Refused = append(i.Refused, fmt.Sprintf("the manifest says abi %q, and the module is of abi %q", i.Manifest.ABI, found.ABI))
	default:
		i.Imported = found.Capabilities
	}
}

// compare finds the capabilities that are imported, and those among them that
// the manifest does not ask for.
func (i *Inspection) compare() {
	for _, x := range i.Module.Imports {
		module, _, _ := strings.Cut(x, ".")
		name, ok := capabilityOf(module)
		if !ok || slices.Contains(own, module) || slices.Contains(i.Imported, name) {
			continue
		}
		i.Imported = append(i.Imported, name)
		if m := i.Manifest; m != nil && !slices.ContainsFunc(m.Capabilities, func(c manifest.Capability) bool { return c.Name == name }) {
			i.Refused = append(i.Refused, "imports "+module+", but its manifest does not ask for capability \""+name+"\"")
		}
	}
}
