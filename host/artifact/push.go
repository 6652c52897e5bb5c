package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// target is a registry's repository or a layout that is written to.
type target interface {
	content.Storage
	content.Tagger
}

// openTarget opens what ref is in, for writing, and for reading what is there. A
// layout's directory is made.
func openTarget(ref Reference, a Access, c *Client) (t target, p place, done func(), err error) {
	switch {
	case !ref.Registered():
		return nil, nil, nil, refuse(StepReference, "", "only a registry or a layout is written to; write oci://REGISTRY/REPOSITORY:TAG or oci-layout:DIR:TAG")
	case ref.digest != "":
		return nil, nil, nil, refuse(StepReference, "", "has a digest, which follows from what is pushed; leave out @ and what follows")
	case ref.tag == "":
		return nil, nil, nil, refuse(StepReference, "", "has no tag; add :TAG")
	}
	if ref.scheme == schemeOCI {
		r, done, err := openRepository(ref, a, c.log())
		return r, r, done, err
	}
	w, err := oci.New(ref.path)
	if err != nil {
		return nil, nil, nil, refuse(StepFetch, "", "%w; name a directory that can be written", err)
	}
	r, err := openLayout(ref.path)
	if err != nil {
		return nil, nil, nil, err
	}
	return w, r, r.close, nil
}

// putBlob pushes content unless it is there.
func putBlob(ctx context.Context, t target, desc ocispec.Descriptor, text []byte) error {
	there, err := t.Exists(ctx, desc)
	if err == nil && !there {
		err = t.Push(ctx, desc, bytes.NewReader(text))
	}
	if errors.Is(err, errdef.ErrAlreadyExists) {
		return nil
	}
	return err
}

// putManifest pushes a manifest or index and tags it, unless tag is empty.
func putManifest(ctx context.Context, t target, desc ocispec.Descriptor, text []byte, tag string) error {
	if err := putBlob(ctx, t, desc, text); err != nil || tag == "" {
		return err
	}
	return t.Tag(ctx, desc, tag)
}

// pushError is err of writing to a registry.
func pushError(ref Reference, err error) error {
	if err == nil {
		return nil
	}
	return about(ref, StepFetch, fetchError(err))
}

// describe reads a plugin's manifest and makes what is stored with its file: the config
// blob and the manifest, the same for the same file.
func describe(file []byte) (config []byte, text []byte, err error) {
	if err := checkModule(file); err != nil {
		return nil, nil, err
	}
	config, err = manifest.Extract(file)
	if err != nil {
		return nil, nil, refuse(StepFormat, "", "%w; build it with \"bulkhead plugin build\"", err)
	}
	m, err := manifest.Parse(config)
	if err != nil {
		return nil, nil, refuse(StepFormat, "", "its manifest: %w; correct it and build the plugin again", err)
	}
	layer := content.NewDescriptorFromBytes(TypePlugin, file)
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: m.Name + ".wasm"}
	text, err = json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: TypePlugin,
		Config: content.NewDescriptorFromBytes(TypePluginManifest, config), Layers: []ocispec.Descriptor{layer},
		Annotations: annotate(entryOf(m)),
	})
	return config, text, err
}

// entryOf describes a plugin for a catalogue.
func entryOf(m *manifest.Manifest) Entry {
	e := Entry{Name: m.Name, Version: m.Version, Description: m.Description, HostAPI: HostAPI{abi.Version, abi.Version + 1}}
	for _, c := range m.Capabilities {
		e.Capabilities = append(e.Capabilities, c.Name)
	}
	return e
}

// Push puts a plugin's file into a registry or layout under to's tag, and returns to
// pinned to the manifest. The same file makes the same manifest. Errors are Refusals.
func (c *Client) Push(ctx context.Context, file []byte, to Reference, a Access) (Reference, error) {
	if len(file) > MaxPlugin {
		return Reference{}, about(to, StepFormat, refuse(StepFormat, "", "the file has %d bytes, over the limit of %d; make it smaller", len(file), MaxPlugin))
	}
	config, text, err := describe(file)
	if err != nil {
		return Reference{}, about(to, StepFormat, err)
	}
	t, _, done, err := openTarget(to, a, c)
	if err != nil {
		return Reference{}, about(to, StepReference, err)
	}
	defer done()
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, text)
	desc.ArtifactType = TypePlugin
	layer := content.NewDescriptorFromBytes(TypePlugin, file)
	there, err := t.Exists(ctx, layer)
	if err == nil && !there {
		err = t.Push(ctx, layer, &counted{bytes.NewReader(file), c.progress("pushing to "+to.Origin(), layer.Size)})
	}
	if err == nil {
		err = putBlob(ctx, t, content.NewDescriptorFromBytes(TypePluginManifest, config), config)
	}
	if err == nil {
		err = putManifest(ctx, t, desc, text, to.tag)
	}
	return to.at(desc.Digest), pushError(to, err)
}

// Copy copies an artifact or catalogue with its signatures from one registry or layout
// to another, byte by byte, and returns to pinned to the manifest. It verifies digests,
// not signatures. Errors are Refusals.
func (c *Client) Copy(ctx context.Context, from Reference, fromAccess Access, to Reference, toAccess Access) (Reference, error) {
	if !from.Registered() {
		return Reference{}, about(from, StepReference, refuse(StepReference, "", "is not in a registry or layout; push the file with \"bulkhead plugin push\""))
	}
	p, closePlace, err := openPlace(from, fromAccess, c.log())
	if err != nil {
		return Reference{}, about(from, StepFetch, err)
	}
	defer closePlace()
	top, err := resolve(ctx, p, from)
	if err != nil {
		return Reference{}, about(from, StepFetch, err)
	}
	t, _, closeTarget, err := openTarget(to, toAccess, c)
	if err != nil {
		return Reference{}, about(to, StepReference, err)
	}
	defer closeTarget()
	if err := c.copySigned(ctx, p, t, top); err != nil {
		return Reference{}, pushError(from, err)
	}
	if top.MediaType == ocispec.MediaTypeImageIndex { // the artifacts of a catalogue are signed themselves
		text, err := fetch(ctx, p, top, maxCatalog, "its index", nil)
		if err != nil {
			return Reference{}, about(from, StepFetch, err)
		}
		index, err := readCatalog(text)
		if err != nil {
			return Reference{}, about(from, StepFormat, err)
		}
		for _, e := range index.Manifests {
			if err := c.copySigned(ctx, p, t, e); err != nil {
				return Reference{}, pushError(from, err)
			}
		}
	}
	return to.at(top.Digest), pushError(to, t.Tag(ctx, top, to.tag))
}

// copySigned copies what desc names, and what is stored as its signatures.
func (c *Client) copySigned(ctx context.Context, p place, t target, desc ocispec.Descriptor) error {
	options := oras.CopyGraphOptions{Concurrency: 2, MaxMetadataBytes: maxCatalog}
	if err := oras.CopyGraph(ctx, p, t, desc, options); err != nil {
		return err
	}
	switch tagged, err := p.Resolve(ctx, signatureTag(desc.Digest)); {
	case errors.Is(err, errdef.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := oras.CopyGraph(ctx, p, t, tagged, options); err != nil {
			return err
		}
		if err := t.Tag(ctx, tagged, signatureTag(desc.Digest)); err != nil {
			return err
		}
	}
	seen := 0
	err := p.Referrers(ctx, desc, "", func(referrers []ocispec.Descriptor) error {
		for _, r := range referrers {
			if seen++; seen > maxReferrers {
				return refuse(StepFetch, "", "over %d manifests refer to %s; remove some", maxReferrers, desc.Digest)
			}
			if err := oras.CopyGraph(ctx, p, t, r, options); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	return err
}
