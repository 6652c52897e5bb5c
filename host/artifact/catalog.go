package artifact

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Bounds of a catalogue.
const (
	maxCatalog     = 4 << 20 // bytes, the most that registries take
	maxPlugins     = 5000    // entries
	maxDescription = 1024    // bytes
)

// Annotations of a catalogue's entries beside OCI's own for title, version and
// description. They say what the plugin's manifest says.
const (
	annotationHostAPI      = "vnd.bulkhead.host-api"     // "1-2"
	annotationCapabilities = "vnd.bulkhead.capabilities" // "helm,kube"
)

// Catalog lists plugins: an OCI index (image-spec v1.1) with the artifact type
// TypeCatalog, whose entries are manifests in the same repository.
type Catalog struct {
	Source     string   `json:"source"`               // where it is from, for people; without secrets
	Digest     string   `json:"digest,omitempty"`     // of the index
	Identities []string `json:"identities,omitempty"` // who signed it, of those that the policy asked for
	Entries    []Entry  `json:"plugins,omitempty"`    // by name, the newest version first
	Problem    string   `json:"problem,omitempty"`    // why it cannot be used, in a list of catalogues
}

// Entry is one version of a plugin in a catalogue.
type Entry struct {
	Name         string   `json:"name"`
	Version      string   `json:"version"` // semantic version without "v"
	Description  string   `json:"description,omitempty"`
	HostAPI      HostAPI  `json:"hostAPI"`
	Capabilities []string `json:"capabilities,omitempty"` // that the plugin asks for
	// Reference is the plugin in the catalogue's repository, pinned to its manifest. Its
	// own signatures are verified when it is fetched.
	Reference string `json:"reference"`
}

// HostAPI is the range of ABI versions of hosts that run a plugin.
type HostAPI struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

func (h HostAPI) String() string { return fmt.Sprintf("%d-%d", h.Min, h.Max) }

// Includes reports whether a host of the ABI version runs the plugin.
func (h HostAPI) Includes(version int) bool { return h.Min <= version && version <= h.Max }

func parseHostAPI(text string) (h HostAPI, err error) {
	from, to, _ := strings.Cut(text, "-")
	low, err1 := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	if err := cmp.Or(err1, err2); err != nil || low < 1 || high < low || (HostAPI{low, high}).String() != text {
		return h, fmt.Errorf("%.50q is not MIN-MAX", text)
	}
	return HostAPI{low, high}, nil
}

// annotate writes e as annotations of a manifest.
func annotate(e Entry) map[string]string {
	a := map[string]string{
		ocispec.AnnotationTitle: e.Name, ocispec.AnnotationVersion: e.Version, annotationHostAPI: e.HostAPI.String(),
	}
	if e.Description != "" {
		a[ocispec.AnnotationDescription] = text.Cut(e.Description, maxDescription)
	}
	if len(e.Capabilities) > 0 {
		a[annotationCapabilities] = strings.Join(e.Capabilities, ",")
	}
	return a
}

// readEntry reads the annotations of a descriptor.
func readEntry(d ocispec.Descriptor, in Reference) (e Entry, err error) {
	e = Entry{
		Name: d.Annotations[ocispec.AnnotationTitle], Version: d.Annotations[ocispec.AnnotationVersion],
		Description: d.Annotations[ocispec.AnnotationDescription],
	}
	switch _, bad := semver.StrictNewVersion(e.Version); {
	case d.MediaType != ocispec.MediaTypeImageManifest || d.ArtifactType != TypePlugin:
		return e, fmt.Errorf("is of the types %.100q and %.100q, not a plugin", d.MediaType, d.ArtifactType)
	case !manifest.ValidName(e.Name):
		return e, fmt.Errorf("has the name %.100q, which is not lower-case letters, digits and dashes", e.Name)
	case bad != nil:
		return e, fmt.Errorf("%s has the version %.100q, which is not a semantic version", e.Name, e.Version)
	case len(e.Description) > maxDescription || !utf8.ValidString(e.Description):
		return e, fmt.Errorf("%s has a description that is not UTF-8 or has over %d bytes", e.Name, maxDescription)
	}
	if e.HostAPI, err = parseHostAPI(d.Annotations[annotationHostAPI]); err != nil {
		return e, fmt.Errorf("%s: %s: %w", e.Name, annotationHostAPI, err)
	}
	if list := d.Annotations[annotationCapabilities]; list != "" {
		e.Capabilities = strings.Split(list, ",")
	}
	if len(e.Capabilities) > manifest.MaxCapabilities || slices.ContainsFunc(e.Capabilities, func(c string) bool { return !manifest.ValidName(c) }) {
		return e, fmt.Errorf("%s: %s is not a list of capabilities", e.Name, annotationCapabilities)
	}
	digest, err := checkDigest(d.Digest.String())
	if err != nil {
		return e, fmt.Errorf("%s has the digest %w", e.Name, err)
	}
	in.tag = ""
	e.Reference = in.at(digest).String()
	return e, nil
}

// readCatalog reads the index of a catalogue.
func readCatalog(text []byte) (*ocispec.Index, error) {
	var index struct {
		ocispec.Index
		Layers json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, refuse(StepFormat, "", "it is not JSON: %w; make the catalogue again", err)
	}
	switch {
	case index.MediaType != ocispec.MediaTypeImageIndex || index.ArtifactType != TypeCatalog || index.Layers != nil:
		return nil, refuse(StepFormat, "", "it is not a catalogue (%s); make one with \"bulkhead plugin catalog add\"", TypeCatalog)
	case len(index.Manifests) > maxPlugins:
		return nil, refuse(StepFormat, "", "it has %d entries, over the limit of %d; make several catalogues", len(index.Manifests), maxPlugins)
	}
	return &index.Index, nil
}

// entries reads all entries of an index that is in the repository in.
func entries(index *ocispec.Index, in Reference) ([]Entry, error) {
	list, seen := make([]Entry, 0, len(index.Manifests)), map[string]string{}
	for i, d := range index.Manifests {
		e, err := readEntry(d, in)
		if err != nil {
			return nil, refuse(StepFormat, fmt.Sprintf("manifests[%d]", i), "%w; make the catalogue again", err)
		}
		version := e.Name + " " + e.Version
		if other, twice := seen[version]; twice {
			return nil, refuse(StepFormat, fmt.Sprintf("manifests[%d]", i), "%s is listed twice, as %s and as %s; remove one", version, other, e.Reference)
		}
		seen[version] = e.Reference
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Or(strings.Compare(a.Name, b.Name), newer(a.Version, b.Version)) })
	return list, nil
}

// newer orders the newer of two valid versions first.
func newer(a, b string) int { return semver.MustParse(b).Compare(semver.MustParse(a)) }

// Catalog fetches the catalogue that p names, and verifies it like a plugin. Errors are
// Refusals.
func (c *Client) Catalog(ctx context.Context, p Package) (*Catalog, error) {
	t, err := p.open()
	if err != nil {
		return nil, err
	}
	got, err := c.catalog(ctx, t)
	if err == nil && t.Verification.Unsigned {
		c.log().Warn("a catalogue is used without a signature, because of verification.unsigned", "source", got.Source, "digest", got.Digest)
	}
	return got, about(t.ref, StepFetch, err)
}

func (c *Client) catalog(ctx context.Context, t *task) (*Catalog, error) {
	if !t.ref.Registered() {
		return nil, refuse(StepReference, "source", "a catalogue is in a registry or layout; write oci://REGISTRY/REPOSITORY:TAG or oci-layout:DIR:TAG")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	p, done, err := openPlace(t.ref, t.Access, c.log())
	if err != nil {
		return nil, err
	}
	defer done()
	top, err := resolve(ctx, p, t.ref)
	if err != nil {
		return nil, err
	}
	e := &evidence{}
	if e.manifest, err = fetch(ctx, p, top, maxCatalog, "its index", c.progress("fetching "+t.ref.Origin(), top.Size)); err != nil {
		return nil, err
	}
	if t.Digest != "" && t.Digest != top.Digest.String() {
		return nil, refuse(StepDigest, "digest", "the index is %s, and the configuration pins %s; find out who changed it, or correct digest", top.Digest, t.Digest)
	}
	if t.policy != nil {
		if e.proofs, err = signatures(ctx, p, top); err != nil {
			return nil, err
		}
	}
	who, err := t.signed(e)
	if err != nil {
		return nil, err
	}
	index, err := readCatalog(e.manifest)
	if err != nil {
		return nil, err
	}
	list, err := entries(index, t.ref)
	if err != nil {
		return nil, err
	}
	return &Catalog{Source: t.ref.Origin(), Digest: top.Digest.String(), Identities: who, Entries: list}, nil
}

// Find finds a version of a plugin in catalogues, or the newest if version is empty. A
// name that is in two catalogues is refused: either could be meant.
func Find(catalogs []*Catalog, name, version string) (Entry, error) {
	var from *Catalog
	var found []Entry
	for _, c := range catalogs {
		for _, e := range c.Entries {
			if e.Name != name {
				continue
			}
			if from != nil && from != c {
				return Entry{}, &Refusal{Origin: name, Step: StepReference, Field: "source", Text: fmt.Sprintf(
					"is in two catalogues, %s and %s; use the reference that one of them gives", from.Source, c.Source)}
			}
			from = c
			if version == "" || e.Version == version {
				found = append(found, e)
			}
		}
	}
	if len(found) == 0 {
		what := name
		if version != "" {
			what += " " + version
		}
		return Entry{}, &Refusal{Origin: what, Step: StepReference, Field: "source", Text: "is in no catalogue; list their plugins with \"bulkhead plugin catalog\""}
	}
	slices.SortFunc(found, func(a, b Entry) int { return newer(a.Version, b.Version) })
	return found[0], nil
}

// AddToCatalog copies a plugin with its signatures into the repository of a catalogue
// and adds it to the catalogue's index, which it creates if it is missing. An entry of the
// same name and version is replaced. The plugin is verified as p says; the catalogue has
// to be signed again. It returns the catalogue's reference, pinned. Errors are Refusals.
func (c *Client) AddToCatalog(ctx context.Context, p Package, catalog Reference, a Access) (Reference, Entry, error) {
	plugin, err := c.Pull(ctx, p)
	if err != nil {
		return Reference{}, Entry{}, err
	}
	if !plugin.Reference.Registered() {
		return Reference{}, Entry{}, about(plugin.Reference, StepReference, refuse(StepReference, "", "is not in a registry or layout; push it with \"bulkhead plugin push\" first"))
	}
	config, _, err := describe(plugin.Bytes)
	if err != nil {
		return Reference{}, Entry{}, about(plugin.Reference, StepFormat, err)
	}
	m, err := manifest.Parse(config)
	if err != nil {
		return Reference{}, Entry{}, about(plugin.Reference, StepFormat, err)
	}
	pinned, e, err := c.add(ctx, plugin.Reference, p.Access, catalog, a, entryOf(m))
	return pinned, e, about(catalog, StepFetch, err)
}

func (c *Client) add(ctx context.Context, plugin Reference, pluginAccess Access, catalog Reference, a Access, e Entry) (Reference, Entry, error) {
	from, closeFrom, err := openPlace(plugin, pluginAccess, c.log())
	if err != nil {
		return Reference{}, e, err
	}
	defer closeFrom()
	top, err := resolve(ctx, from, plugin)
	if err != nil {
		return Reference{}, e, err
	}
	t, p, closeTo, err := openTarget(catalog, a, c)
	if err != nil {
		return Reference{}, e, err
	}
	defer closeTo()
	index := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: TypeCatalog}
	switch old, err := p.Resolve(ctx, catalog.tag); {
	case errors.Is(err, errdef.ErrNotFound):
	case err != nil:
		return Reference{}, e, fetchError(err)
	default:
		text, err := fetch(ctx, p, old, maxCatalog, "its index", nil)
		if err != nil {
			return Reference{}, e, err
		}
		if index, err = readCatalog(text); err != nil {
			return Reference{}, e, err
		}
	}
	if err := c.copySigned(ctx, from, t, top); err != nil {
		return Reference{}, e, fetchError(err)
	}
	top.ArtifactType, top.Annotations = TypePlugin, annotate(e)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Annotations[ocispec.AnnotationTitle] == e.Name && d.Annotations[ocispec.AnnotationVersion] == e.Version
	})
	index.Manifests = append(index.Manifests, top)
	if _, err := entries(index, catalog); err != nil {
		return Reference{}, e, err
	}
	if len(index.Manifests) > maxPlugins {
		return Reference{}, e, refuse(StepFormat, "", "it has %d entries, the most that are read; make several catalogues", maxPlugins)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return Reference{}, e, err
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, text)
	desc.ArtifactType = TypeCatalog
	if err := putManifest(ctx, t, desc, text, catalog.tag); err != nil {
		return Reference{}, e, fetchError(err)
	}
	e, err = readEntry(top, catalog)
	return catalog.at(desc.Digest), e, err
}
