package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Packages says which plugins administrators may install by reference. A reference that
// no source allows is refused.
type Packages struct {
	// Sources are where such plugins may come from, and who must have signed them. No two
	// may be for the same place and name.
	Sources []PackageSource `json:"sources,omitempty"`
	// Catalogs are lists of plugins that administrators can browse and install from by name. What they
	// list is fetched from their own repositories, for which there has to be a source.
	Catalogs []Package `json:"catalogs,omitempty"`
	// StopUnverified stops a plugin that was installed by reference and that sources no longer allow, or whose signatures
	// they no longer accept, when the configuration is read again. By default it runs on until it is replaced or the host
	// restarts, and readiness is degraded.
	StopUnverified bool `json:"stopUnverified,omitempty"`
}

// PackageSource allows plugins from one place.
type PackageSource struct {
	// Place is a registry, a repository, a web server, a path on it, or the directory of a layout, with everything below
	// it: oci://REGISTRY/PATH, https://HOST/PATH, oci-layout:DIR.
	Place string `json:"place"`
	// Plugins are the names under which plugins from there may be installed. "*" allows all names.
	Plugins []string `json:"plugins"`
	Access
	// Verification is who must have signed the plugins.
	Verification Verification `json:"verification,omitzero"`
}

// allows reports whether s is for plugins of this name.
func (s *PackageSource) allows(name string) bool {
	return slices.Contains(s.Plugins, anyName) || slices.Contains(s.Plugins, name)
}

// anyName stands for all names.
const anyName = "*"

// area is a place of references and what is below it.
type area struct {
	scheme, server string // server is empty for a layout
	path           string // without slashes at the ends
}

// contains reports whether o is a or below it.
func (a area) contains(o area) bool {
	return a.scheme == o.scheme && a.server == o.server &&
		(a.path == "" || a.path == o.path || strings.HasPrefix(o.path, a.path+"/"))
}

var errPlace = errors.New("is not oci://REGISTRY/PATH, https://HOST/PATH or oci-layout:DIR")

// parsePlace reads the place of a source.
func parsePlace(text string) (a area, remote bool, err error) {
	if len(text) > maxReference {
		return a, false, fmt.Errorf("is longer than %d bytes", maxReference)
	}
	scheme, rest, _ := strings.Cut(text, ":")
	switch scheme {
	case schemeOCI:
		name := strings.TrimSuffix(strings.TrimPrefix(rest, "//"), "/")
		host, repository, _ := strings.Cut(name, "/")
		ref := registry.Reference{Registry: host, Repository: cmp.Or(repository, "any")}
		if !strings.HasPrefix(rest, "//") || host == "" || ref.ValidateRegistry() != nil || ref.ValidateRepository() != nil {
			return a, true, errPlace
		}
		return area{schemeOCI, strings.ToLower(host), repository}, true, nil
	case schemeHTTPS, schemeHTTP:
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.User != nil || scheme == schemeHTTP && !netaddr.IsLoopback(u.Hostname()) {
			return a, true, errPlace
		}
		a, err := areaOfURL(u)
		return a, true, err
	case schemeLayout:
		if rest == "" {
			return a, false, errPlace
		}
		return area{scheme: schemeLayout, path: strings.Trim(filepath.ToSlash(filepath.Clean(rest)), "/")}, false, nil
	}
	return a, true, errPlace
}

// area is where r is. A reference that two readers could take for two places has none.
func (r Reference) area() (area, error) {
	switch r.scheme {
	case schemeOCI:
		return area{schemeOCI, strings.ToLower(r.registry), r.repository}, nil
	case schemeLayout:
		if !filepath.IsAbs(r.path) || filepath.Clean(r.path) != r.path {
			return area{}, errors.New("is a directory on the host; write its absolute path, without . and ..")
		}
		return area{scheme: schemeLayout, path: strings.Trim(filepath.ToSlash(r.path), "/")}, nil
	case schemeHTTPS, schemeHTTP:
		u, err := url.Parse(r.url)
		if err != nil {
			return area{}, err
		}
		return areaOfURL(u)
	}
	return area{}, errors.New(`is a file of the host; upload a file with "bulkhead plugin install NAME FILE"`)
}

func areaOfURL(u *url.URL) (area, error) {
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return area{}, errors.New("has a query or fragment; leave it out (what a server wants to see is the source's tokenFile and user)")
	}
	p := strings.TrimSuffix(u.Path, "/")
	if u.RawPath != "" || strings.Contains(p, `\`) || p != "" && path.Clean(p) != p || strings.HasPrefix(p, "//") {
		return area{}, errors.New(`has an escaped slash, a backslash, an empty part, . or .. in its path; leave these out`)
	}
	return area{u.Scheme, strings.ToLower(u.Hostname()) + ":" + port(u), strings.Trim(u.Path, "/")}, nil
}

// Problems calls report for every mistake in p that can be seen without opening
// anything, with its field, such as ".sources[0].place".
func (p *Packages) Problems(report func(field, text string)) {
	areas := make([]area, len(p.Sources))
	for i := range p.Sources {
		s, at := &p.Sources[i], fmt.Sprintf(".sources[%d]", i)
		bad := reporter(func(field, text string) { report(at+field, text) })
		var remote bool
		var err error
		if areas[i], remote, err = parsePlace(s.Place); err != nil {
			bad(true, ".place", "%q %v", s.Place, err)
			continue
		}
		bad(len(s.Plugins) == 0, ".plugins", `lists no name; list the names of plugins, or "*" for all`)
		for k, name := range s.Plugins {
			bad(name != anyName && !manifest.ValidName(name), fmt.Sprintf(".plugins[%d]", k), "%q is neither lower-case letters, digits and dashes, nor *", name)
		}
		s.Access.problems(remote, bad)
		s.Verification.problems(Reference{}, ".verification", bad)
		for k := range i {
			o := &p.Sources[k]
			if areas[k].scheme == "" || !areas[k].contains(areas[i]) && !areas[i].contains(areas[k]) {
				continue
			}
			both := slices.ContainsFunc(s.Plugins, func(name string) bool { return name == anyName || o.allows(name) }) || slices.Contains(o.Plugins, anyName)
			bad(both, "", "is for a place and a name that sources[%d] is for, too; list the name in one of them", k)
		}
	}
	seen := map[string]int{}
	for i := range p.Catalogs {
		c, at := &p.Catalogs[i], fmt.Sprintf(".catalogs[%d]", i)
		bad := reporter(func(field, text string) { report(at+field, text) })
		c.Problems(func(field, text string) { report(at+field, text) })
		ref, err := ParseReference(c.Source)
		bad(err == nil && !ref.Registered(), ".source", "is not a catalogue in a registry or layout; write oci://REGISTRY/REPOSITORY:TAG or oci-layout:DIR:TAG")
		bad(c.Verification.Plugin != "", ".verification.plugin", "is for a plugin, and this is a catalogue; set it in the source of its plugins")
		other, twice := seen[c.Source]
		bad(twice, ".source", "is that of catalogs[%d], too; remove one", other)
		seen[c.Source] = i
	}
}

// In makes the paths in p that are relative ones below dir.
func (p *Packages) In(dir string) {
	for i := range p.Sources {
		s := &p.Sources[i]
		if directory, ok := strings.CutPrefix(s.Place, schemeLayout+":"); ok {
			s.Place = schemeLayout + ":" + below(dir, directory)
		}
		for _, path := range append(s.Access.Paths(), s.Verification.Paths()...) {
			*path = below(dir, *path)
		}
	}
	for i := range p.Catalogs {
		p.Catalogs[i].In(dir)
	}
}

// Package returns how a reference is fetched and verified for a plugin of this name: as
// its source says. It opens nothing. Errors are Refusals.
func (p *Packages) Package(name, reference string) (Package, error) {
	ref, err := ParseReference(reference)
	if err != nil {
		return Package{}, &Refusal{Origin: name, Step: StepReference, Text: err.Error(), Err: err}
	}
	at, err := ref.area()
	if err != nil {
		return Package{}, about(ref, StepReference, refuse(StepReference, "", "%w", err))
	}
	elsewhere := ""
	for i := range p.Sources {
		s := &p.Sources[i]
		if a, _, err := parsePlace(s.Place); err != nil || !a.contains(at) {
			continue
		}
		if s.allows(name) {
			return Package{Source: ref.String(), Access: s.Access, Verification: s.Verification}, nil
		}
		elsewhere = fmt.Sprintf("packages.sources[%d] is for other names than %s; add it to plugins there, or install the plugin under a name of the list", i, name)
	}
	if elsewhere != "" {
		return Package{}, about(ref, StepReference, refuse(StepReference, "", "%s", elsewhere))
	}
	return Package{}, about(ref, StepReference, refuse(StepReference, "",
		"no source of the host's configuration is for this place; add one to packages.sources, with place, plugins and verification"))
}

// schemeCatalog begins the reference of a plugin that is looked up in the catalogues.
const schemeCatalog = "catalog:"

// Resolve fetches and verifies the plugin that a reference names, as p says for a plugin
// of this name. The reference may also be catalog:PLUGIN or catalog:PLUGIN@VERSION, which
// is looked up in the catalogues of p; without a version it is the newest. digest pins
// the file unless it is empty. The artifact's own Reference is pinned to the manifest.
// Errors are Refusals.
func (s *Store) Resolve(ctx context.Context, p *Packages, name, reference, digest string) (*Artifact, error) {
	if text, ok := strings.CutPrefix(reference, schemeCatalog); ok {
		e, err := s.look(ctx, p, text)
		if err != nil {
			return nil, err
		}
		reference = e.Reference
	}
	from, err := p.Package(name, reference)
	if err != nil {
		return nil, err
	}
	ref, err := ParseReference(from.Source)
	if err != nil {
		return nil, about(ref, StepReference, err)
	}
	// By the file's digest alone, a copy of another place would do.
	tagged := ref.Registered() && ref.digest == ""
	if !tagged {
		from.Digest = digest
	}
	a, err := s.Fetch(ctx, from)
	switch {
	case err != nil:
		return nil, err
	case tagged && digest != "" && digest != a.Digest:
		return nil, about(ref, StepDigest, refuse(StepDigest, "digest", "the file is %s, and %s was asked for; look at what it is now", a.Digest, digest))
	case !ref.Registered():
		a.Reference = ref
	}
	return a, nil
}

// look finds PLUGIN or PLUGIN@VERSION in the catalogues of p.
func (s *Store) look(ctx context.Context, p *Packages, text string) (Entry, error) {
	name, version, _ := strings.Cut(text, "@")
	refused := func(step Step, field, format string, args ...any) (Entry, error) {
		r := refuse(step, field, format, args...)
		r.Origin = schemeCatalog + text
		return Entry{}, r
	}
	switch {
	case len(text) > maxReference || !manifest.ValidName(name):
		text = text[:min(len(text), 50)]
		return refused(StepReference, "", "is not catalog:PLUGIN or catalog:PLUGIN@VERSION; write one of these")
	case len(p.Catalogs) == 0:
		return refused(StepReference, "", "the host's configuration has no catalogue; add one to packages.catalogs, or give the plugin's own reference")
	}
	list := s.Catalogs(ctx, p)
	for _, c := range list {
		if c.Problem != "" { // it may be where the name is, or a second one with it
			return refused(StepFetch, "", "the catalogue %s cannot be used, and the plugin may be in it: %s", c.Source, c.Problem)
		}
	}
	e, err := Find(list, name, version)
	if err != nil {
		return e, err
	}
	if !e.HostAPI.Includes(abi.Version) {
		return refused(StepFormat, "hostAPI", "version %s runs on hosts of the ABI versions %s, and this one has %d; name a version that does, as catalog:%s@VERSION",
			e.Version, e.HostAPI, abi.Version, name)
	}
	return e, nil
}

// Catalogs fetches and verifies the catalogues of p, in their order. One that cannot be
// used has a Problem and no entries.
func (s *Store) Catalogs(ctx context.Context, p *Packages) []*Catalog {
	list := make([]*Catalog, 0, len(p.Catalogs))
	for _, c := range p.Catalogs {
		got, err := s.client.Catalog(ctx, c)
		if err != nil {
			got = &Catalog{Source: "a catalogue", Problem: err.Error()}
			if ref, err := ParseReference(c.Source); err == nil {
				got.Source = ref.Origin()
			}
		}
		list = append(list, got)
	}
	return list
}
