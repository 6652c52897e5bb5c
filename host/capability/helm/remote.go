package helm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// remote is a repository behind HTTP. The operator trusts its index by configuring it;
// the index has the addresses and digests of archives, which may be in an OCI registry.
type remote struct {
	*access
	index *index
}

func newRemote(a *access) *remote {
	r := &remote{access: a}
	r.index = newIndex(r)
	return r
}

func (r *remote) close() {
	r.index.close()
	r.access.close()
}

func (r *remote) load(ctx context.Context, chartName, version string) (*chart.Chart, error) {
	index, err := r.index.get(ctx)
	if err != nil {
		return nil, err
	}
	entry, err := index.Get(chartName, version)
	if err != nil || len(entry.URLs) == 0 {
		return nil, errNoChart
	}
	want := strings.ToLower(entry.Digest)
	if want != "" && !strings.HasPrefix(want, "sha256:") {
		want = "sha256:" + want
	}
	if place, ok := strings.CutPrefix(entry.URLs[0], ociScheme); ok {
		archive, digests, err := r.access.pull(ctx, place)
		if err != nil {
			return nil, err
		}
		if want != "" && want != digests.layer && want != digests.manifest {
			return nil, errors.New("the archive's digest is not the one in the index")
		}
		return loadArchive(archive)
	}
	address, err := r.base.JoinPath("/").Parse(entry.URLs[0])
	if err != nil || !r.safe(address) {
		return nil, errors.New("the index names an address that is not https")
	}
	d, err := r.get(ctx, address, "", maxArchive)
	if err != nil {
		return nil, err
	}
	archive, err := d.archive(want)
	if err != nil {
		return nil, err
	}
	return loadArchive(archive)
}

// archive returns the downloaded archive of a chart, which must have the digest unless
// that is empty. Some servers declare an archive's own compression as its
// Content-Encoding; others compress the archive once more.
func (d *download) archive(digest string) ([]byte, error) {
	found := d.body
	switch d.encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		if inner, err := gunzip(d.body, maxArchive); err == nil && bytes.HasPrefix(inner, gzipMagic) {
			found = inner
		}
	default:
		return nil, fmt.Errorf("its repository answers with the Content-Encoding %q, which is not supported", text.Short(d.encoding))
	}
	for _, candidate := range [][]byte{found, d.body} {
		if sum := sha256.Sum256(candidate); digest == "" || digest == "sha256:"+hex.EncodeToString(sum[:]) {
			return candidate, nil
		}
	}
	return nil, errors.New("the archive's digest is not the one in the index")
}

// text returns the text of an answer, decompressed.
func (d *download) text(limit int64) ([]byte, error) {
	switch d.encoding {
	case "", "identity":
		return d.body, nil
	case "gzip", "x-gzip":
		if !bytes.HasPrefix(d.body, gzipMagic) {
			return d.body, nil
		}
		return gunzip(d.body, limit)
	}
	return nil, fmt.Errorf("its repository answers with the Content-Encoding %q, which is not supported", text.Short(d.encoding))
}

func gunzip(data []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readAll(z, limit)
}
