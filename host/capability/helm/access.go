package helm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	downloadTimeout = 20 * time.Second
	maxRedirects    = 3
	maxCredential   = 64 << 10 // bytes of a token
	maxCA           = 1 << 20  // bytes of a file of certificates
)

// private is an error whose cause, which may name a file, an address or a
// secret, stays with the operator.
type private struct {
	public string // for the user
	cause  error
}

func (p *private) Error() string { return p.public + ": " + p.cause.Error() }
func (p *private) Unwrap() error { return p.cause }

// access is how one remote repository is reached: over TLS with its authorities,
// with its credentials sent to its own address alone. What its configuration
// names is read again for each use. Safe for concurrent use.
type access struct {
	repository *Repository
	base       *url.URL // of the repository; its scheme is https, or http on this machine

	mu     sync.Mutex
	ca     []byte       // the file that client was made with
	client *http.Client // nil: none yet
}

func newAccess(r *Repository, base *url.URL) *access { return &access{repository: r, base: base} }

// check reports the first file or variable that cannot be used, with its field.
func (a *access) check() error {
	if _, err := a.http(); err != nil {
		return err
	}
	_, err := a.token()
	return err
}

// http returns the client for the authorities that caFile holds now.
func (a *access) http() (*http.Client, error) {
	var ca []byte
	var pool *x509.CertPool
	if file := a.repository.CAFile; file != "" {
		var err error
		if ca, err = readFile(file, maxCA); err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("caFile: %s holds no certificate", file)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil && bytes.Equal(a.ca, ca) {
		return a.client, nil
	}
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 4
	// Servers mark archives as encoded that are meant as they are.
	transport.DisableCompression = true
	if pool != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	a.ca, a.client = ca, &http.Client{
		Transport: &guarded{a, transport},
		Timeout:   downloadTimeout,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || !a.safe(req.URL) {
				return errors.New("the redirect is refused")
			}
			if req.URL.Host != via[0].URL.Host { // the client itself looks at the name without the port
				req.Header.Del("Authorization")
			}
			return nil
		},
	}
	return a.client, nil
}

func (a *access) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
}

// safe reports whether u is https, or is at the very address of a repository on
// this machine.
func (a *access) safe(u *url.URL) bool {
	return u.Scheme == "https" || a.base.Scheme == "http" && u.Scheme == "http" && u.Host == a.base.Host
}

// guarded sends nothing to an address that is not safe, wherever it came from.
type guarded struct {
	access *access
	http.RoundTripper
}

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if !g.access.safe(req.URL) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errors.New("the address is not https")
	}
	return g.RoundTripper.RoundTrip(req)
}

func (g *guarded) CloseIdleConnections() { g.RoundTripper.(*http.Transport).CloseIdleConnections() }

// token is the password or token as it is now, empty if there is none.
func (a *access) token() (string, error) {
	r, text, field := a.repository, "", "tokenFile"
	switch {
	case r.TokenFile != "":
		data, err := readFile(r.TokenFile, maxCredential)
		if err != nil {
			return "", fmt.Errorf("tokenFile: %w", err)
		}
		text = string(data)
	case r.TokenEnv != "":
		text, field = os.Getenv(r.TokenEnv), "tokenEnv"
	default:
		return "", nil
	}
	if text = strings.TrimSpace(text); text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", fmt.Errorf("%s: the token is empty or has a control character", field)
	}
	return text, nil
}

// authorize adds the credentials to a request to the repository's own address.
func (a *access) authorize(req *http.Request) error {
	if req.URL.Scheme != a.base.Scheme || req.URL.Host != a.base.Host {
		return nil
	}
	token, err := a.token()
	switch {
	case err != nil:
		return err
	case a.repository.User != "":
		req.SetBasicAuth(a.repository.User, token)
	case token != "":
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// download is an answer of a repository: 200, or 304 if a tag was given.
type download struct {
	status   int
	etag     string
	encoding string // Content-Encoding
	body     []byte // as it was sent
}

// get downloads u, unless it is still what etag names.
func (a *access) get(ctx context.Context, u *url.URL, etag string, limit int64) (*download, error) {
	client, err := a.http()
	if err != nil {
		return nil, misconfigured(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if err := a.authorize(req); err != nil {
		return nil, misconfigured(err)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	place := u.Scheme + "://" + u.Host + u.Path // a query may hold a secret
	resp, err := client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, &private{"its repository does not answer as it should", fmt.Errorf("%s: %w", place, err)}
	}
	defer resp.Body.Close()
	d := &download{status: resp.StatusCode, etag: resp.Header.Get("ETag"), encoding: strings.ToLower(resp.Header.Get("Content-Encoding"))}
	switch {
	case d.status == http.StatusNotModified && etag != "":
		return d, nil
	case d.status != http.StatusOK:
		return nil, refused(d.status, place)
	}
	d.body, err = readAll(resp.Body, limit)
	return d, err
}

// refused is the error for a status of a repository or registry at place.
func refused(status int, place string) error {
	public := "its repository does not answer as it should"
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		public = "its repository refuses the host's credentials"
	}
	return &private{public, fmt.Errorf("%s answers %d %s", place, status, http.StatusText(status))}
}

func misconfigured(err error) error {
	return &private{"what the host's configuration names for its repository cannot be used", err}
}

func loopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func readFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is over %d bytes", limit)
	}
	return data, err
}
