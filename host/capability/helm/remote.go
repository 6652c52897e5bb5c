package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/repo"
)

const (
	downloadTimeout = 20 * time.Second
	maxRedirects    = 3
)

// remote is a repository behind HTTP. Its index, which the operator trusts by
// configuring it, says where archives are and what their digests are.
type remote struct {
	base   *url.URL
	client *http.Client
}

func newRemote(base *url.URL) *remote {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 4
	return &remote{base: base, client: &http.Client{
		Transport: transport,
		Timeout:   downloadTimeout,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || !sameSafety(base, req.URL) {
				return errors.New("the redirect is refused")
			}
			return nil
		},
	}}
}

func (r *remote) close() { r.client.CloseIdleConnections() }

// sameSafety reports whether u is https, or is at the very address of a
// repository on this machine.
func sameSafety(base, u *url.URL) bool {
	return u.Scheme == "https" || base.Scheme == "http" && u.Scheme == "http" && u.Host == base.Host
}

func loopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *remote) load(ctx context.Context, chartName, version string) (*chart.Chart, error) {
	index, err := r.index(ctx)
	if err != nil {
		return nil, err
	}
	entry, err := index.Get(chartName, version)
	if err != nil || len(entry.URLs) == 0 {
		return nil, errNoChart
	}
	address, err := r.base.JoinPath("/").Parse(entry.URLs[0])
	if err != nil || !sameSafety(r.base, address) {
		return nil, errors.New("the index names an address that is not https")
	}
	archive, err := r.get(ctx, address, maxArchive)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(archive)
	if want := strings.TrimPrefix(entry.Digest, "sha256:"); want != "" && !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
		return nil, errors.New("the archive's digest is not the one in the index")
	}
	return loadArchive(bytes.NewReader(archive))
}

func (r *remote) index(ctx context.Context) (*repo.IndexFile, error) {
	text, err := r.get(ctx, r.base.JoinPath("index.yaml"), maxIndex)
	if err != nil {
		return nil, err
	}
	// helm reads an index from files only.
	f, err := os.CreateTemp("", "bulkhead-index-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return repo.LoadIndexFile(f.Name())
}

func (r *remote) get(ctx context.Context, u *url.URL, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s%s answers %s", u.Host, u.Path, resp.Status)
	}
	return readAll(resp.Body, limit)
}
