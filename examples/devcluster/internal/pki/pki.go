// Package pki owns the keys and certificates of one development cluster: a certificate authority, the serving
// certificates of the API server and the kubelets, and one client certificate per component. Everything lives in one
// directory that only its owner can read. The authority and the signing key of service account tokens outlive a
// restart, so that clients that trusted the cluster still do; leaf certificates are made afresh at every start.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
)

// Authority signs the certificates of one cluster.
type Authority struct {
	// CertFile is the authority's certificate, CertPEM the same in memory.
	CertFile string
	CertPEM  []byte

	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate with its key, as files and in memory.
type Pair struct {
	CertFile, KeyFile string
	CertPEM, KeyPEM   []byte
}

// Open reads the authority in dir, or creates it there.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, CertFile: filepath.Join(dir, "ca.crt")}
	key, err := loadOrCreateKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	a.key = key
	if a.CertPEM, err = os.ReadFile(a.CertFile); errors.Is(err, fs.ErrNotExist) {
		a.CertPEM, err = a.createRoot()
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(a.CertPEM)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", a.CertFile)
	}
	a.cert, err = x509.ParseCertificate(block.Bytes)
	return a, err
}

// SigningKey returns the file of the key that signs service account tokens, created on first use.
func (a *Authority) SigningKey() (string, error) {
	file := filepath.Join(a.dir, "service-accounts.key")
	_, err := loadOrCreateKey(file)
	return file, err
}

// Serving issues a certificate for a server that clients reach under the given names and addresses.
func (a *Authority) Serving(name string, hosts ...string) (Pair, error) {
	t := leaf(pkix.Name{CommonName: name}, x509.ExtKeyUsageServerAuth)
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.issue(name, t)
}

// Client issues a certificate that the API server reads as this user in these groups.
func (a *Authority) Client(file, user string, groups ...string) (Pair, error) {
	return a.issue(file, leaf(pkix.Name{CommonName: user, Organization: groups}, x509.ExtKeyUsageClientAuth))
}

// Pool holds the authority alone, for verifying peers.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *Authority) createRoot() ([]byte, error) {
	t := leaf(pkix.Name{CommonName: "devcluster"})
	t.NotAfter = time.Now().Add(authorityLife)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, t, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return text, os.WriteFile(a.CertFile, text, 0o600)
}

func (a *Authority) issue(name string, t *x509.Certificate) (Pair, error) {
	p := Pair{CertFile: filepath.Join(a.dir, name+".crt"), KeyFile: filepath.Join(a.dir, name+".key")}
	key, keyPEM, err := newKey()
	if err != nil {
		return p, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return p, err
	}
	p.KeyPEM = keyPEM
	p.CertPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(p.KeyFile, p.KeyPEM, 0o600); err != nil {
		return p, err
	}
	return p, os.WriteFile(p.CertFile, p.CertPEM, 0o600)
}

func leaf(subject pkix.Name, usage ...x509.ExtKeyUsage) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails on systems that Go supports
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usage,
	}
}

func loadOrCreateKey(file string) (crypto.Signer, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, text, err := newKey()
		if err != nil {
			return nil, err
		}
		return key, os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
