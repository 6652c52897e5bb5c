package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
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
	Module   *sandbox.Inspection `json:"module,omitempty"`
}

// Inspect reads the plugin in path. An error means that the file cannot be
// read; what is wrong with its content is in Refused.
func Inspect(path string) (*Inspection, error) {
	wasm, err := read(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(wasm)
	i := &Inspection{File: path, Digest: "sha256:" + hex.EncodeToString(sum[:]), Bytes: len(wasm)}
	raw, err := manifest.Extract(wasm)
	if err == nil {
		i.Manifest, err = manifest.Parse(raw)
	}
	i.refuse(err)
	i.Module, err = sandbox.Inspect(wasm)
	i.refuse(err)
	if i.Module != nil {
		i.compare()
	}
	return i, nil
}

func (i *Inspection) refuse(err error) {
	if err != nil {
		i.Refused = append(i.Refused, strings.Split(err.Error(), "\n")...)
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
