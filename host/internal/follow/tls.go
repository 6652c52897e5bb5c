package follow

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
)

// KeyPair follows a certificate chain and its private key, PEM files.
func KeyPair(cert, key string, log *slog.Logger) (*Value[*tls.Certificate], error) {
	return Open(log, func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", cert, key, err)
		}
		return &pair, nil
	}, cert, key)
}

// authorities parses a bundle of certificates in PEM form.
func authorities(file string, text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: contains no certificate in PEM form", file)
	}
	return pool, nil
}

// Transport is an HTTP transport that trusts the authorities that a file holds at the
// time of each request. It is safe for concurrent use.
type Transport struct{ current *Value[*http.Transport] }

// NewTransport returns a transport with the settings of http.DefaultTransport, after
// change, and with the authorities in caFile, or the system's if that is empty. It
// uses TLS 1.2 or later. When the file changes, requests in progress finish on their
// connections and later ones use new connections. An error names
// the file.
func NewTransport(caFile string, log *slog.Logger, change func(*http.Transport)) (*Transport, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	change(base)
	if caFile == "" {
		v, err := Open(log, func([][]byte) (*http.Transport, error) { return base, nil })
		return &Transport{v}, err
	}
	var last *http.Transport
	v, err := Open(log, func(contents [][]byte) (*http.Transport, error) {
		pool, err := authorities(caFile, contents[0])
		if err != nil {
			return nil, err
		}
		t := base.Clone()
		t.TLSClientConfig.RootCAs = pool
		if last != nil {
			last.CloseIdleConnections()
		}
		last = t
		return t, nil
	}, caFile)
	if err != nil {
		return nil, err
	}
	return &Transport{v}, nil
}

// NoRedirects is the CheckRedirect of a client that follows none: a credential is for
// the server that the request names.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Get().RoundTrip(r)
}

// CloseIdleConnections is called by http.Client.
func (t *Transport) CloseIdleConnections() { t.current.Get().CloseIdleConnections() }
