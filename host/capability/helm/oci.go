package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"helm.sh/helm/v3/pkg/chart"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	remotes "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

const (
	ociScheme   = "oci://"
	maxManifest = 1 << 20 // bytes
	maxTags     = 10_000
	tagsPerPage = 1000
	chartLayer  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// ociRepository is a path in an OCI registry. Each chart is a repository below it, whose
// tags are versions. A tag has "_" instead of the "+" of a version.
type ociRepository struct {
	*access
	place string // REGISTRY/PATH
}

// ociBase returns the address of the registry in place. A registry on this machine is
// reached without TLS.
func ociBase(place string) *url.URL {
	host, _, _ := strings.Cut(place, "/")
	u := &url.URL{Scheme: "https", Host: host}
	if netaddr.IsLoopback(u.Hostname()) {
		u.Scheme = "http"
	}
	return u
}

func (o *ociRepository) load(ctx context.Context, chartName, version string) (*chart.Chart, error) {
	place := o.place + "/" + chartName
	if _, ok := parseVersion(version); ok {
		archive, _, err := o.pull(ctx, place+":"+strings.ReplaceAll(version, "+", "_"))
		if err == nil {
			return loadArchive(archive)
		}
		if !errors.Is(err, errNoChart) {
			return nil, err
		}
		// The version's tag may begin with "v", or not.
	}
	tag, err := o.newest(ctx, place, version)
	if err != nil {
		return nil, err
	}
	archive, _, err := o.pull(ctx, place+":"+tag)
	if err != nil {
		return nil, err
	}
	return loadArchive(archive)
}

// newest returns the tag of the newest version that satisfies a constraint.
func (o *ociRepository) newest(ctx context.Context, place, constraint string) (string, error) {
	repository, err := o.repositoryAt(place)
	if err != nil {
		return "", err
	}
	var found []candidate
	count := 0
	err = repository.Tags(ctx, "", func(tags []string) error {
		if count += len(tags); count > maxTags {
			return fmt.Errorf("the chart has over %d tags; name a version", maxTags)
		}
		for _, tag := range tags {
			text := strings.ReplaceAll(tag, "_", "+")
			if v, ok := parseVersion(text); ok && satisfies(text, constraint) {
				found = append(found, candidate{tag, v})
			}
		}
		return nil
	})
	if err != nil {
		return "", ociFailure(place, err)
	}
	if len(found) == 0 {
		return "", errNoChart
	}
	return slices.MaxFunc(found, candidate.compare).name, nil
}

// digests are the digests with which an index may name an archive in a registry.
type digests struct{ layer, manifest string }

// pull gets the archive of the chart at place, REGISTRY/REPOSITORY:TAG or @DIGEST. Every
// byte is verified against its digest.
func (a *access) pull(ctx context.Context, place string) ([]byte, digests, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	repository, err := a.repositoryAt(place)
	if err != nil {
		return nil, digests{}, err
	}
	top, err := repository.Resolve(ctx, repository.Reference.ReferenceOrDefault())
	if err != nil {
		return nil, digests{}, ociFailure(place, err)
	}
	if top.Size > maxManifest {
		return nil, digests{}, fmt.Errorf("its manifest is over %d bytes", maxManifest)
	}
	text, err := content.FetchAll(ctx, repository, top)
	if err != nil {
		return nil, digests{}, ociFailure(place, err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, digests{}, errors.New("its manifest is not JSON")
	}
	i := slices.IndexFunc(manifest.Layers, func(l ocispec.Descriptor) bool { return l.MediaType == chartLayer })
	switch {
	case i < 0:
		return nil, digests{}, errors.New("the artifact in the registry is not a Helm chart")
	case manifest.Layers[i].Size > maxArchive:
		return nil, digests{}, fmt.Errorf("it is over %d bytes", maxArchive)
	}
	layer := manifest.Layers[i]
	archive, err := content.FetchAll(ctx, repository, layer)
	if err != nil {
		return nil, digests{}, ociFailure(place, err)
	}
	return archive, digests{layer.Digest.String(), top.Digest.String()}, nil
}

// repositoryAt opens a repository of a registry. It uses the credentials only at the
// registry that they belong to.
func (a *access) repositoryAt(place string) (*remotes.Repository, error) {
	ref, err := registry.ParseReference(place)
	if err != nil {
		return nil, &private{"its address in the registry cannot be used", err}
	}
	base := &url.URL{Scheme: "https", Host: ref.Host()}
	if a.base.Scheme == "http" && ref.Registry == a.base.Host {
		base = a.base
	}
	if !a.safe(base) {
		return nil, errors.New("the index names an address that is not https")
	}
	repository := &remotes.Repository{Reference: ref, PlainHTTP: base.Scheme == "http", TagListPageSize: tagsPerPage, MaxMetadataBytes: maxManifest}
	authorized := &auth.Client{Client: a.client, Cache: auth.NewCache()}
	if ref.Registry == a.base.Host {
		credential := auth.Credential{AccessToken: a.token.Get()}
		if a.user != "" {
			credential = auth.Credential{Username: a.user, Password: a.token.Get()}
		}
		authorized.Credential = auth.StaticCredential(ref.Registry, credential)
	}
	repository.Client = authorized
	return repository, nil
}

// ociFailure returns an error of a registry so that the user does not see the address.
func ociFailure(place string, err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return errNoChart
	}
	if r, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		if r.StatusCode == http.StatusNotFound {
			return errNoChart
		}
		return refused(r.StatusCode, ociScheme+place)
	}
	return &private{"its registry does not answer as it should", fmt.Errorf("%s%s: %w", ociScheme, place, err)}
}
