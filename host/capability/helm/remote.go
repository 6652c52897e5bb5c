package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart"
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
	index  *index
}

func newRemote(base *url.URL) *remote {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 4
	r := &remote{base: base, client: &http.Client{
		Transport: transport,
		Timeout:   downloadTimeout,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || !sameSafety(base, req.URL) {
				return errors.New("the redirect is refused")
			}
			return nil
		},
	}}
	r.index = newIndex(r)
	return r
}

func (r *remote) close() {
	r.index.close()
	r.client.CloseIdleConnections()
}

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
	index, err := r.index.get(ctx)
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
	archive, err := r.get(ctx, address, "", maxArchive)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(archive.body)
	if want := strings.TrimPrefix(entry.Digest, "sha256:"); want != "" && !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
		return nil, errors.New("the archive's digest is not the one in the index")
	}
	return loadArchive(bytes.NewReader(archive.body))
}

// download is an answer of a repository: 200, or 304 if a tag was given.
type download struct {
	status int
	etag   string
	body   []byte
}

// get downloads u, unless it is still what etag names.
func (r *remote) get(ctx context.Context, u *url.URL, etag string, limit int64) (*download, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d := &download{status: resp.StatusCode, etag: resp.Header.Get("ETag")}
	switch {
	case d.status == http.StatusNotModified && etag != "":
		return d, nil
	case d.status != http.StatusOK:
		return nil, &url.Error{Op: "Get", URL: u.String(), Err: errors.New(resp.Status)}
	}
	d.body, err = readAll(resp.Body, limit)
	return d, err
}
