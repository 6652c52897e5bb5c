package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// pair is a self-signed certificate and its key, in PEM form.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// Files that a kubeconfig names are followed like the kubeconfig itself: the API
// server's authority and the host's certificate. Requests in progress continue.
func TestCertificatesThatAKubeconfigNamesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serverCert, serverKey := pair(t, "server")
	served, err := tls.X509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	more := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
		if r.URL.Path == "/watch" {
			w.(http.Flusher).Flush()
			<-more
			_, _ = io.WriteString(w, " goes on")
		}
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{served}, ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	defer srv.Close()
	other, _ := pair(t, "other")
	oneCert, oneKey := pair(t, "one")
	put("ca.crt", other)
	put("host.crt", oneCert)
	put("host.key", oneKey)
	put("config", []byte(strings.NewReplacer("https://127.0.0.1:1\"", srv.URL+"\", certificate-authority: ca.crt",
		"{token: very-secret}", "{client-certificate: host.crt, client-key: host.key}").Replace(validConfig)))
	m, err := newMember(Config{Name: "dev", Kubeconfig: filepath.Join(dir, "config")}, "clusters[0]", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.current.Load().close() }()
	if err := m.current.Load().probe(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the wrong authority: %v", err)
	}
	renew := func() *Client {
		t.Helper()
		if field, err := m.load(); err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		return newClient(t.Context(), m.current.Load(), &host.Impersonation{User: "ann"}, &authority{})
	}
	get := func(c *Client) string {
		t.Helper()
		resp, err := c.Do(t.Context(), &Request{Method: http.MethodGet, Path: "/", Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return string(resp.Body)
	}
	put("ca.crt", serverCert)
	client := renew()
	if got := get(client); got != "one" {
		t.Errorf("the API server sees %q", got)
	}
	before := m.current.Load()
	if renew(); m.current.Load() != before {
		t.Error("nothing changed, and there is another endpoint")
	}
	watching := make(chan string)
	under := make(chan struct{})
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/watch", nil)
		resp, err := before.transport.RoundTrip(req)
		close(under)
		if err != nil {
			watching <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			text = append(text, err.Error()...)
		}
		watching <- string(text)
	}()
	<-under
	twoCert, twoKey := pair(t, "two")
	put("host.crt", twoCert)
	if _, err := m.load(); err == nil {
		t.Error("a certificate without its key is used")
	}
	put("host.key", twoKey)
	if got := get(renew()); got != "two" {
		t.Errorf("the API server sees %q", got)
	}
	close(more)
	if got := <-watching; got != "one goes on" {
		t.Errorf("what was in progress: %q", got)
	}
	before.close()
}
