package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// maxEntries bounds the index of a layout.
const maxEntries = 10_000

// layout reads an OCI image layout (image-spec v1.1, image-layout.md). It may come from
// elsewhere on a disk: names in it cannot lead out of its directory, and only regular
// files are opened, since a named pipe would wait for a writer.
type layout struct {
	root    *os.Root
	entries []ocispec.Descriptor
}

func openLayout(dir string) (*layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refuse(StepFetch, "", "%w: %w; name a directory with an OCI image layout", ErrUnreachable, err)
	}
	l := &layout{root: root}
	if err := l.readIndex(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *layout) close() { _ = l.root.Close() }

func (l *layout) readIndex() error {
	text, err := l.read(ocispec.ImageLayoutFile, maxKeyFile)
	if err != nil {
		return err
	}
	var version ocispec.ImageLayout
	if json.Unmarshal(text, &version) != nil || version.Version != ocispec.ImageLayoutVersion {
		return refuse(StepFormat, "", "%s is not of an OCI image layout of version %s; make the layout again", ocispec.ImageLayoutFile, ocispec.ImageLayoutVersion)
	}
	if text, err = l.read(ocispec.ImageIndexFile, maxCatalog); err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return refuse(StepFormat, "", "%s is not JSON: %w; make the layout again", ocispec.ImageIndexFile, err)
	}
	if len(index.Manifests) > maxEntries {
		return refuse(StepFetch, "", "%s has %d entries, over the limit of %d; use a layout for each artifact", ocispec.ImageIndexFile, len(index.Manifests), maxEntries)
	}
	l.entries = index.Manifests
	return nil
}

// open opens a regular file in the layout, of at most limit bytes.
func (l *layout) open(name string, limit int64) (*os.File, error) {
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", errdef.ErrNotFound, err)
		}
		return nil, refuse(StepFetch, "", "%w; a layout has regular files only", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = refuse(StepFetch, "", "%s in the layout is not a regular file; make the layout again", name)
	case info.Size() > limit:
		err = refuse(StepFetch, "", "%s in the layout has %d bytes, over the limit of %d", name, info.Size(), limit)
	default:
		return f, nil
	}
	_ = f.Close()
	return nil, err
}

func (l *layout) read(name string, limit int64) ([]byte, error) {
	f, err := l.open(name, limit)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, refuse(StepFetch, "", "%w: it has no %s; name a directory with an OCI image layout", ErrUnreachable, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit)
}

// Fetch opens a blob. Its digest has been checked, so it is no path out of blobs.
func (l *layout) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	d, err := checkDigest(desc.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("the digest is %w", err)
	}
	return l.open(blobPath(d), desc.Size+1) // one byte more shows as a wrong digest
}

// Exists implements content.ReadOnlyStorage.
func (l *layout) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	f, err := l.Fetch(ctx, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

func blobPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// Resolve finds the entry of a digest or tag. If reference is empty, it is the only
// one with a tag, other than of signatures, or else the only one.
func (l *layout) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	var tagged, untagged []ocispec.Descriptor
	for _, e := range l.entries {
		tag := e.Annotations[ocispec.AnnotationRefName]
		switch {
		case reference != "" && tag != reference && e.Digest.String() != reference:
		case reference == "" && isSignatureTag(tag):
		case tag == "" && reference == "":
			untagged = append(untagged, e)
		case len(tagged) == 0 || tagged[0].Digest != e.Digest:
			tagged = append(tagged, e)
		}
	}
	found := tagged
	if len(found) == 0 {
		found = untagged
	}
	switch {
	case len(found) == 0:
		return ocispec.Descriptor{}, errdef.ErrNotFound
	case len(found) > 1 && reference == "":
		return ocispec.Descriptor{}, refuse(StepFetch, "", "the layout holds %d artifacts; name one as oci-layout:DIR:TAG or oci-layout:DIR@DIGEST", len(found))
	case len(found) > 1:
		return ocispec.Descriptor{}, refuse(StepFetch, "", "the layout has the tag %q twice; remove one, or name the digest", reference)
	}
	return found[0], nil
}

func isSignatureTag(tag string) bool {
	return len(tag) == len("sha256-.sig")+64 && tag[:7] == "sha256-" && tag[len(tag)-4:] == ".sig"
}

// Referrers reads the manifests in the index to find those with target as subject.
func (l *layout) Referrers(ctx context.Context, target ocispec.Descriptor, _ string, f func([]ocispec.Descriptor) error) error {
	looked := 0
	for _, e := range l.entries {
		if e.MediaType != ocispec.MediaTypeImageManifest || e.Digest == target.Digest || e.Size > maxManifest {
			continue
		}
		if looked++; looked > maxReferrers {
			return refuse(StepFetch, "", "the layout has over %d manifests; use a layout for each artifact", maxReferrers)
		}
		text, err := fetch(ctx, l, e, maxManifest, "a manifest in the layout", nil)
		if errors.Is(err, ErrUnreachable) {
			continue // a partial copy
		}
		if err != nil {
			return err
		}
		var m ocispec.Manifest
		if json.Unmarshal(text, &m) != nil || m.Subject == nil || m.Subject.Digest != target.Digest {
			continue
		}
		e.ArtifactType, e.Annotations = m.ArtifactType, m.Annotations
		if err := f([]ocispec.Descriptor{e}); err != nil {
			return err
		}
	}
	return nil
}
