package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The document is SPDX 2.3 (spdx.github.io/spdx-spec/v2.3), with the members that are
// needed.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []component    `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	component struct {
		ID        string     `json:"SPDXID"`
		Name      string     `json:"name"`
		Version   string     `json:"versionInfo,omitempty"`
		Location  string     `json:"downloadLocation"`
		Analyzed  bool       `json:"filesAnalyzed"`
		Checksums []checksum `json:"checksums,omitempty"`
		Refs      []ref      `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const none = "NOASSERTION"

// bom lists what the program was built from, as the Go toolchain recorded it in the
// program, and the plugins.
func (o *options) bom(p program, files []entry) ([]byte, error) {
	info, err := buildinfo.ReadFile(p.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "bulkhead-" + o.version,
		Creation: creation{o.created.Format(time.RFC3339), []string{"Tool: bulkhead-image"}},
	}
	add := func(c component, relation, of string) string {
		c.ID, c.Location = fmt.Sprintf("SPDXRef-%d", len(d.Packages)), none
		d.Packages = append(d.Packages, c)
		d.Relationships = append(d.Relationships, relationship{of, relation, c.ID})
		return c.ID
	}
	program := ""
	for _, f := range files {
		if f.name != programPath[1:] && !strings.HasSuffix(f.name, ".wasm") {
			continue
		}
		sum := sha256.Sum256(f.text)
		id := add(component{Name: "/" + f.name, Version: o.version, Checksums: []checksum{{"SHA256", hex.EncodeToString(sum[:])}}}, "DESCRIBES", d.ID)
		if f.name == programPath[1:] {
			program = id
			d.Namespace = "https://spdx.org/spdxdocs/bulkhead-" + hex.EncodeToString(sum[:])
		}
	}
	add(component{Name: "go", Version: strings.TrimPrefix(info.GoVersion, "go"), Refs: purl("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}, "DEPENDS_ON", program)
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(component{Name: m.Path, Version: m.Version, Refs: purl(m.Path, m.Version)}, "DEPENDS_ON", program)
	}
	return json.MarshalIndent(d, "", " ")
}

// purl is a package URL of a Go module, by which databases of vulnerabilities know it.
func purl(path, version string) []ref {
	return []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")}}
}
