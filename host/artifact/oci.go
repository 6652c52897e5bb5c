package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	remotes "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// maxManifest bounds an artifact's manifest, in bytes.
const maxManifest = 1 << 20

// fetchOCI gets the layer of an artifact; its tag is the manifest's digest.
// Every byte is compared with the digest that leads to it.
func (r *remote[T]) fetchOCI(ctx context.Context, tag string) ([]byte, string, error) {
	repository, err := r.repository()
	if err != nil {
		return nil, "", err
	}
	top, err := repository.Resolve(ctx, repository.Reference.Reference)
	if err != nil {
		return nil, "", unreachable(r.origin, plainOCI(err))
	}
	if top.Digest.String() == tag {
		return nil, tag, nil
	}
	if top.Size > maxManifest {
		return nil, "", fmt.Errorf("%s: its manifest is larger than %d bytes", r.origin, maxManifest)
	}
	text, err := content.FetchAll(ctx, repository, top)
	if err != nil {
		return nil, "", unreachable(r.origin, plainOCI(err))
	}
	layer, err := fileLayer(text, r.format.Limit)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", r.origin, err)
	}
	packed, err := content.FetchAll(ctx, repository, layer)
	if err != nil {
		return nil, "", unreachable(r.origin, plainOCI(err))
	}
	return packed, top.Digest.String(), nil
}

func (r *remote[T]) repository() (*remotes.Repository, error) {
	repository, err := remotes.NewRepository(r.ref.OCI)
	if err != nil {
		return nil, fmt.Errorf("%s.oci: %w", r.format.Field, err)
	}
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	credential := auth.Credential{AccessToken: token}
	if r.ref.User != "" {
		credential = auth.Credential{Username: r.ref.User, Password: token}
	}
	host := repository.Reference.Registry
	repository.PlainHTTP = netaddr.IsLoopback(netaddr.Host(host))
	repository.Client = &auth.Client{Client: r.client, Credential: auth.StaticCredential(host, credential)}
	return repository, nil
}

// fileLayer finds the layer that holds the file, by the type that OPA uses.
func fileLayer(text []byte, limit int64) (ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("its manifest: %w", err)
	}
	var found []ocispec.Descriptor
	for _, l := range m.Layers {
		if l.MediaType == ocispec.MediaTypeImageLayerGzip {
			found = append(found, l)
		}
	}
	switch {
	case len(found) != 1:
		return ocispec.Descriptor{}, fmt.Errorf("%d of its layers are of the type %s, want 1", len(found), ocispec.MediaTypeImageLayerGzip)
	case found[0].Size > limit:
		return ocispec.Descriptor{}, tooLarge(limit)
	}
	return found[0], nil
}

// plainOCI is err without the library's layers, where it is a known one.
func plainOCI(err error) error {
	if r, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return answers(r.StatusCode)
	}
	if errors.Is(err, errdef.ErrNotFound) {
		return errors.New("there is no such tag")
	}
	return err
}
