package state

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

// soak is how many times longer the long tests run.
var soak = map[bool]int{true: 10, false: 1}[os.Getenv("BULKHEAD_SOAK") != ""]

func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Fatalf("error is %v, want it to say %q", err, w)
		}
	}
}

func TestUnreachableClusterIsNamedWithTheCauseInBoundedTime(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	began := time.Now()
	_, err = Open(t.Context(), Config{Dir: t.TempDir(), Options: Options{
		Endpoints: []string{"http://" + silent.Addr().String(), "http://" + closed.Addr().String()}, KeyFile: statetest.Key(t),
	}})
	wantError(t, err, "state.endpoints", silent.Addr().String(), "does not answer", closed.Addr().String(), "connection refused")
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
}

// authority makes certificates for 127.0.0.1.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.path(name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

// TestClusterWithTLSAndUsers: mutual TLS, and an etcd user who may touch the
// deployment's prefix and nothing else.
func TestClusterWithTLSAndUsers(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", &x509.Certificate{})
	ca.issue("host", &x509.Certificate{})
	c := statetest.Start(t, 1, statetest.TLS{Cert: ca.path("server.pem"), Key: ca.path("server.key"), CA: ca.path("ca.pem")})
	password := ca.path("password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Options{
		Endpoints: c.Endpoints, Prefix: "team/bulkhead/", KeyFile: statetest.Key(t), User: "bulkhead", PasswordFile: password,
		TLS: TLS{CA: ca.path("ca.pem"), Cert: ca.path("host.pem"), Key: ca.path("host.key")},
	}
	enableUsers(t, good)

	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Options: good})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := signIn(t, s, "ann", "1")
	s.PublishSession(entry("ann", "1"))
	eventually(t, "the session is listed", func() bool { return len(published1(t, s, "ann")) == 1 })
	if err := s.EndLogin(t.Context(), "1"); err != nil || s.Revoked(p) == nil {
		t.Errorf("logout: %v", err)
	}

	refused := func(want string, spoil func(*Options)) {
		t.Run(want, func(t *testing.T) {
			bad := good
			spoil(&bad)
			s, err := Open(t.Context(), Config{Dir: t.TempDir(), Options: bad})
			if err == nil {
				s.Close()
			}
			wantError(t, err, want)
		})
	}
	refused("authentication failed", func(o *Options) { o.PasswordFile = ca.path("host.pem") })
	refused("permission denied", func(o *Options) { o.Prefix = "other/" })
	refused("certificate", func(o *Options) { o.TLS.Cert, o.TLS.Key = "", "" })
	refused("certificate signed by unknown authority", func(o *Options) { o.TLS.CA = newAuthority(t).path("ca.pem") })
	refused("state.tls.ca", func(o *Options) { o.TLS.CA = password })
	refused("state.passwordFile", func(o *Options) { o.PasswordFile = ca.path("nowhere") })
}

func enableUsers(t *testing.T, o Options) {
	t.Helper()
	cfg, err := o.tls()
	if err != nil {
		t.Fatal(err)
	}
	root, err := clientv3.New(clientv3.Config{Endpoints: o.Endpoints, TLS: cfg, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.UserAdd(ctx, "root", "root"))
	must(root.UserGrantRole(ctx, "root", "root"))
	must(root.RoleAdd(ctx, "bulkhead"))
	must(root.RoleGrantPermission(ctx, "bulkhead", o.Prefix, clientv3.GetPrefixRangeEnd(o.Prefix), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(root.UserAdd(ctx, o.User, "s3cret"))
	must(root.UserGrantRole(ctx, o.User, "bulkhead"))
	must(root.AuthEnable(ctx))
}

// A new authority is trusted once the file names it: the host comes back to a
// store whose certificate it issued.
func TestTheStoresAuthorityIsFollowed(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t), newAuthority(t)
	before.issue("server", &x509.Certificate{})
	before.issue("host", &x509.Certificate{})
	after.issue("server", &x509.Certificate{})
	copyFile := func(to, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	trusted := before.path("trusted.pem")
	copyFile(trusted, before.path("ca.pem"))
	c := statetest.Start(t, 1, statetest.TLS{Cert: before.path("server.pem"), Key: before.path("server.key"), CA: before.path("ca.pem")})
	link := c.Link(t)
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Options: Options{
		Endpoints: link.Endpoints, KeyFile: statetest.Key(t),
		TLS: TLS{CA: trusted, Cert: before.path("host.pem"), Key: before.path("host.key")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	copyFile(before.path("server.pem"), after.path("server.pem"))
	copyFile(before.path("server.key"), after.path("server.key"))
	copyFile(trusted, after.path("ca.pem"))
	link.Cut()
	eventually(t, "the store is gone", func() bool { return s.Ready() != nil })
	link.Heal()
	eventually(t, "the store is back", func() bool { return s.Ready() == nil })
	signIn(t, s, "ann", "1")
}
