package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	remotes "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Media types of what Bulkhead puts into registries and layouts.
const (
	// TypePlugin is the artifact type of a plugin and the media type of its one layer:
	// the module with its manifest inside.
	TypePlugin = "application/vnd.bulkhead.plugin.v1+wasm"
	// TypePluginManifest is the media type of the config blob: the plugin's manifest,
	// as JSON, for tools that list plugins. The host reads the one in the module.
	TypePluginManifest = "application/vnd.bulkhead.plugin.manifest.v1+json"
	// TypeCatalog is the artifact type of a catalogue, which is an OCI index.
	TypeCatalog = "application/vnd.bulkhead.catalog.v1+json"
)

// Media types and annotations of signatures, as cosign stores them.
const (
	typeSimpleSigning    = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeSignature        = "application/vnd.dev.cosign.artifact.sig.v1+json" // artifact type of a referrer
	typeBundlePrefix     = "application/vnd.dev.sigstore.bundle"
	annotationSignature  = "dev.cosignproject.cosign/signature"
	annotationCert       = "dev.sigstore.cosign/certificate"
	annotationLogEntry   = "dev.sigstore.cosign/bundle"
	annotationTimestamp  = "dev.sigstore.cosign/rfc3161timestamp"
	annotationBundleKind = "dev.sigstore.bundle.predicateType"
)

const (
	maxManifest = 1 << 20 // bytes of a manifest
	maxLayers   = 256
	// maxReferrers bounds how many entries are looked at to find signatures.
	maxReferrers = 1000
)

// place is a repository of a registry, or a layout.
type place interface {
	content.ReadOnlyStorage
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	// Referrers calls f for descriptors of manifests that have target as their subject.
	Referrers(ctx context.Context, target ocispec.Descriptor, artifactType string, f func([]ocispec.Descriptor) error) error
}

// openPlace opens what a registered reference is in, for reading. The caller calls
// done when it is finished.
func openPlace(ref Reference, a Access, log *slog.Logger) (p place, done func(), err error) {
	if ref.scheme == schemeLayout {
		l, err := openLayout(ref.path)
		if err != nil {
			return nil, nil, err
		}
		return l, l.close, nil
	}
	return openRepository(ref, a, log)
}

func openRepository(ref Reference, a Access, log *slog.Logger) (*remotes.Repository, func(), error) {
	client, err := a.client(ref.home(), log)
	if err != nil {
		return nil, nil, refuse(StepReference, "", "%w", err)
	}
	r, err := repository(client, ref, a)
	if err != nil {
		return nil, nil, refuse(StepReference, "", "%w", err)
	}
	return r, client.CloseIdleConnections, nil
}

// repository is that of ref, with the credentials as they are now.
func repository(client *http.Client, ref Reference, a Access) (*remotes.Repository, error) {
	credential, err := a.credential(ref.registry)
	if err != nil {
		return nil, err
	}
	return &remotes.Repository{
		Reference: registry.Reference{Registry: ref.registry, Repository: ref.repository},
		PlainHTTP: ref.home().Scheme == schemeHTTP, MaxMetadataBytes: maxCatalog,
		Client: &auth.Client{Client: client, Credential: credential},
	}, nil
}

// resolve finds the manifest that ref names, and compares it with the digest in ref.
func resolve(ctx context.Context, p place, ref Reference) (ocispec.Descriptor, error) {
	top, err := p.Resolve(ctx, ref.target())
	if err != nil {
		if errors.Is(err, errdef.ErrNotFound) {
			return top, refuse(StepFetch, "", "%w: there is no %s; check the reference, or push the artifact", ErrUnreachable, named(ref))
		}
		return top, fetchError(err)
	}
	if _, err := checkDigest(top.Digest.String()); err != nil {
		return top, refuse(StepDigest, "", "the registry answers with the digest %w", err)
	}
	if ref.digest != "" && top.Digest != ref.digest {
		return top, refuse(StepDigest, "", "the registry answers with the manifest %s, and the reference pins %s; do not use this registry", top.Digest, ref.digest)
	}
	return top, nil
}

func named(ref Reference) string {
	switch {
	case ref.digest != "":
		return "manifest " + ref.digest.String()
	case ref.tag != "":
		return fmt.Sprintf("tag %q", ref.tag)
	}
	return "artifact"
}

// fetch gets content of at most limit bytes, which is what desc names. Memory is taken
// for the size in desc, after it was compared with the limit.
func fetch(ctx context.Context, p content.Fetcher, desc ocispec.Descriptor, limit int64, what string, seen func(n int)) ([]byte, error) {
	if _, err := checkDigest(desc.Digest.String()); err != nil {
		return nil, refuse(StepDigest, "", "%s has the digest %w; push it again", what, err)
	}
	if desc.Size > limit || desc.Size < 0 {
		return nil, refuse(StepFetch, "", "%s has %d bytes, over the limit of %d; use a smaller one", what, desc.Size, limit)
	}
	in, err := p.Fetch(ctx, desc)
	if err != nil {
		if errors.Is(err, errdef.ErrNotFound) {
			return nil, refuse(StepFetch, "", "%w: %s %s is missing there; push the artifact again", ErrUnreachable, what, desc.Digest)
		}
		return nil, fetchError(err)
	}
	defer in.Close()
	text, err := content.ReadAll(&counted{in, seen}, desc)
	switch {
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil:
		return nil, refuse(StepDigest, "", "the content of %s is not that of its digest %s: it was damaged or changed; push it again, and find out where it changed", what, desc.Digest)
	case err != nil:
		return nil, fetchError(err)
	}
	return text, nil
}

// counted reports the bytes that are read.
type counted struct {
	io.Reader
	seen func(n int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.seen != nil {
		c.seen(n)
	}
	return n, err
}

// fetchError is err of a server, in plain words, and without the addresses in it,
// which may contain secrets.
func fetchError(err error) error {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal
	}
	if r, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return refuse(StepFetch, "", "%w: %w", ErrUnreachable, answers(r.StatusCode))
	}
	if errors.Is(err, errPlain) {
		return refuse(StepFetch, "", "%w: %w; it has to use https", ErrUnreachable, errPlain)
	}
	return refuse(StepFetch, "", "%w", unreachable(err))
}

func answers(status int) error { return &statusError{status} }

// statusError is a server's answer that has no content.
type statusError struct{ status int }

func (e *statusError) Error() string {
	hint := ""
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		hint = "; check user and tokenFile"
	}
	return fmt.Sprintf("it answers %d %s%s", e.status, http.StatusText(e.status), hint)
}

// readManifest reads an image manifest (image-spec v1.1). One that can be read as an
// index, too, is refused: its digest would name two things.
func readManifest(text []byte) (*ocispec.Manifest, error) {
	var m struct {
		ocispec.Manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, refuse(StepFormat, "", "its manifest is not JSON: %w; push it again", err)
	}
	switch {
	case m.Manifests != nil || m.MediaType == ocispec.MediaTypeImageIndex:
		return nil, refuse(StepFormat, "", "it is an index, such as a catalogue, not an artifact; name one artifact of it by @digest")
	case m.MediaType != "" && m.MediaType != ocispec.MediaTypeImageManifest:
		return nil, refuse(StepFormat, "", "its manifest is of the type %.100q, not %s; push it with \"bulkhead plugin push\" or oras", m.MediaType, ocispec.MediaTypeImageManifest)
	case len(m.Layers) > maxLayers:
		return nil, refuse(StepFormat, "", "its manifest has %d layers, over the limit of %d", len(m.Layers), maxLayers)
	}
	return &m.Manifest, nil
}

// fileLayer finds the one layer of a type.
func fileLayer(m *ocispec.Manifest, mediaType string) (ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, l := range m.Layers {
		if l.MediaType == mediaType {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, refuse(StepFormat, "", "%d of its layers are of the type %s, want 1; push it with that type", len(found), mediaType)
	}
	return found[0], nil
}

// signatureTag is where cosign stores the signatures of a manifest.
func signatureTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() + ".sig" }

// signatures collects what is stored as signatures of a manifest: below cosign's tag,
// and in manifests that refer to it. Nothing of it is verified yet.
func signatures(ctx context.Context, p place, of ocispec.Descriptor) ([]proof, error) {
	g := gatherer{ctx: ctx, place: p}
	switch tagged, err := p.Resolve(ctx, signatureTag(of.Digest)); {
	case err == nil:
		if err := g.add(tagged); err != nil {
			return nil, err
		}
	case !errors.Is(err, errdef.ErrNotFound):
		return nil, fetchError(err)
	}
	seen := 0
	err := p.Referrers(ctx, of, "", func(referrers []ocispec.Descriptor) error {
		for _, r := range referrers {
			if seen++; seen > maxReferrers {
				return refuse(StepFetch, "", "over %d manifests refer to %s; remove some from the registry", maxReferrers, of.Digest)
			}
			// Some registries list the type of the empty config in place of the manifest's own.
			if r.ArtifactType != typeSignature && !strings.HasPrefix(r.ArtifactType, typeBundlePrefix) && r.ArtifactType != ocispec.MediaTypeEmptyJSON {
				continue
			}
			if kind := r.Annotations[annotationBundleKind]; kind != "" && kind != signPredicate {
				continue // provenance and the like
			}
			if err := g.add(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, fetchError(err)
	}
	return g.proofs, nil
}

// gatherer collects the proofs of a manifest, each once.
type gatherer struct {
	ctx    context.Context
	place  place
	proofs []proof
	seen   map[string]bool
}

// add reads a manifest with signatures in its layers.
func (g *gatherer) add(desc ocispec.Descriptor) error {
	text, err := fetch(g.ctx, g.place, desc, maxManifest, "a manifest of signatures", nil)
	if err != nil {
		return err
	}
	m, err := readManifest(text)
	if err != nil {
		return err
	}
	if kind := m.Annotations[annotationBundleKind]; kind != "" && kind != signPredicate {
		return nil // which the list of referrers did not say
	}
	for _, l := range m.Layers {
		var p proof
		switch {
		case l.MediaType == typeSimpleSigning:
			p.Signature, p.Certificate = l.Annotations[annotationSignature], l.Annotations[annotationCert]
			p.LogEntry, p.Timestamp = l.Annotations[annotationLogEntry], l.Annotations[annotationTimestamp]
			p.Payload, err = fetch(g.ctx, g.place, l, maxPayload, "the payload of a signature", nil)
		case strings.HasPrefix(l.MediaType, typeBundlePrefix):
			p.Bundle, err = fetch(g.ctx, g.place, l, maxBundle, "a bundle with a signature", nil)
		default:
			continue
		}
		if err != nil {
			return err
		}
		key := l.Digest.String() + p.Signature
		if g.seen[key] {
			continue
		}
		if g.seen == nil {
			g.seen = map[string]bool{}
		}
		g.seen[key] = true
		if g.proofs = append(g.proofs, p); len(g.proofs) > maxSignatures {
			return refuse(StepFetch, "", "it has over %d signatures; remove some from the registry", maxSignatures)
		}
	}
	return nil
}
