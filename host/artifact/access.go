package artifact

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// Access is what a server or registry is asked with.
type Access struct {
	// TokenFile holds what is sent as the bearer token; with User, it is that
	// user's password. It is read each time.
	TokenFile string `json:"tokenFile,omitempty"`
	User      string `json:"user,omitempty"`   // of HTTP basic authentication; empty: a bearer token
	CAFile    string `json:"caFile,omitempty"` // PEM; certificate authorities, instead of the system's
}

// Paths returns the fields of a that hold paths of files.
func (a *Access) Paths() []*string { return []*string{&a.TokenFile, &a.CAFile} }

// problems reports mistakes in a, for something that is fetched over a network or not.
func (a *Access) problems(remote bool, bad func(is bool, field, format string, args ...any)) {
	bad(!remote && (a.TokenFile+a.User+a.CAFile != ""), "", "tokenFile, user and caFile are for what is fetched over a network")
	bad(a.User != "" && a.TokenFile == "", ".user", "needs tokenFile")
}

// token is what TokenFile holds now.
func (a *Access) token() (string, error) {
	if a.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(a.TokenFile)
	if err != nil {
		return "", fmt.Errorf("tokenFile: %w; correct the path or the file", err)
	}
	return strings.TrimSpace(string(strictyaml.TrimBOM(text))), nil
}

// authorize adds the credentials to a request.
func (a *Access) authorize(req *http.Request) error {
	token, err := a.token()
	switch {
	case err != nil:
		return err
	case a.User != "":
		req.SetBasicAuth(a.User, token)
	case token != "":
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// credential is a for the registry at host and nothing else.
func (a *Access) credential(host string) (auth.CredentialFunc, error) {
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	credential := auth.Credential{AccessToken: token}
	if a.User != "" {
		credential = auth.Credential{Username: a.User, Password: token}
	}
	return auth.StaticCredential(host, credential), nil
}

const (
	maxRedirects  = 10
	headerTimeout = 30 * time.Second
	maxHeader     = 256 << 10 // bytes of a response's header
)

// client makes the HTTP client of a for the server home. The caller closes its idle
// connections.
func (a *Access) client(home *url.URL, log *slog.Logger) (*http.Client, error) {
	followed, err := follow.NewTransport(a.CAFile, log, func(t *http.Transport) {
		// An artifact is packed itself. What the transport unpacked in passing would not
		// be one, and in a registry not what the digest names.
		t.MaxIdleConns, t.DisableCompression = 2, true
		t.ResponseHeaderTimeout, t.MaxResponseHeaderBytes = headerTimeout, maxHeader
	})
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	return &http.Client{Transport: &careful{followed, home}, CheckRedirect: redirect}, nil
}

// careful refuses plain http to other machines, also when a redirect, the upload address
// of a registry, or its token server requires it. Credentials go home and
// to the registry's token server, which is asked with GET and a password
// (distribution.github.io/distribution/spec/auth/token), and not along with an upload.
type careful struct {
	http.RoundTripper
	home *url.URL
}

var errPlain = errors.New("it leads to plain http on another machine")

func (c *careful) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != schemeHTTPS && !netaddr.IsLoopback(req.URL.Hostname()) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errPlain
	}
	if !sameOrigin(c.home, req.URL) && req.Header.Get("Authorization") != "" {
		if _, _, password := req.BasicAuth(); !password || req.Method != http.MethodGet {
			req = req.Clone(req.Context())
			req.Header.Del("Authorization")
		}
	}
	return c.RoundTripper.RoundTrip(req)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (c *careful) CloseIdleConnections() {
	if t, ok := c.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// redirect refuses redirects that lead from https to anything else: an unsigned
// artifact would travel in plain text. To another host or port, which Go does not tell
// apart, no credentials are sent.
func redirect(to *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) >= maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case first.Scheme == "https" && to.URL.Scheme != "https":
		return errors.New("the redirect leaves https; name the last address, if it is https")
	case !sameOrigin(first, to.URL):
		to.Header.Del("Authorization")
		to.Header.Del("Cookie")
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == schemeHTTPS:
		return "443"
	}
	return "80"
}
