package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

const (
	downloadTimeout = 20 * time.Second
	maxRedirects    = 3
)

// private is an error whose cause is for the operator only, because it may contain a
// file name, an address or a secret.
type private struct {
	public string // for the user
	cause  error
}

func (p *private) Error() string { return p.public + ": " + p.cause.Error() }
func (p *private) Unwrap() error { return p.cause }

// access is the connection to one remote repository: TLS with its authorities, and
// credentials that are sent to its own address only. Changes of the files of both are
// followed. Safe for concurrent use.
type access struct {
	user   string
	token  *follow.Value[string] // the password of user, or a bearer token; empty: none
	base   *url.URL              // of the repository; its scheme is https, or http on this machine
	client *http.Client
}

// newAccess opens the files that r names. Its error names the field.
func newAccess(r *Repository, base *url.URL, log *slog.Logger) (*access, error) {
	a := &access{user: r.User, base: base}
	var files []string
	field := "tokenEnv"
	if r.TokenFile != "" {
		files, field = []string{r.TokenFile}, "tokenFile"
	}
	var err error
	if a.token, err = follow.Open(log, func(contents [][]byte) (string, error) {
		switch {
		case len(contents) > 0:
			return parseToken(string(contents[0]))
		case r.TokenEnv != "":
			return parseToken(os.Getenv(r.TokenEnv))
		}
		return "", nil
	}, files...); err != nil {
		return nil, config.At(field, err)
	}
	followed, err := follow.NewTransport(r.CAFile, log, func(t *http.Transport) {
		t.MaxIdleConns = 4
		// Some servers declare the compression of an archive as its Content-Encoding.
		t.DisableCompression = true
	})
	if err != nil {
		return nil, config.At("caFile", err)
	}
	a.client = &http.Client{Transport: &guarded{a, followed}, Timeout: downloadTimeout, CheckRedirect: a.redirect}
	return a, nil
}

func parseToken(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", errors.New("the token is empty or has a control character")
	}
	return text, nil
}

func (a *access) close() { a.client.CloseIdleConnections() }

func (a *access) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || !a.safe(req.URL) {
		return errors.New("the redirect is refused")
	}
	if req.URL.Host != via[0].URL.Host { // the client itself compares only the name, without the port
		req.Header.Del("Authorization")
	}
	return nil
}

// safe reports whether u is https, or has exactly the address of a repository on this
// machine.
func (a *access) safe(u *url.URL) bool {
	return u.Scheme == "https" || a.base.Scheme == "http" && u.Scheme == "http" && u.Host == a.base.Host
}

// guarded sends no request to an address that is not safe, wherever the address came
// from.
type guarded struct {
	access *access
	*follow.Transport
}

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if !g.access.safe(req.URL) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errors.New("the address is not https")
	}
	return g.Transport.RoundTrip(req)
}

// authorize adds the credentials to a request to the repository's own address.
func (a *access) authorize(req *http.Request) {
	token := a.token.Get()
	switch {
	case token == "" || req.URL.Scheme != a.base.Scheme || req.URL.Host != a.base.Host:
	case a.user != "":
		req.SetBasicAuth(a.user, token)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
}

// download is an answer of a repository: 200, or 304 if an ETag was given.
type download struct {
	status   int
	etag     string
	encoding string // Content-Encoding
	body     []byte // as it was sent
}

// get downloads u, unless it still has this ETag.
func (a *access) get(ctx context.Context, u *url.URL, etag string, limit int64) (*download, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	a.authorize(req)
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	place := u.Scheme + "://" + u.Host + u.Path // a query may contain a secret
	resp, err := a.client.Do(req)
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

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is over %d bytes", limit)
	}
	return data, err
}
