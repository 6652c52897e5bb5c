package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A client of the socket may say for whom it speaks, so it must not be open to all
// for the moment between its making and a change of its mode.
func TestAUnixSocketIsClosedFromItsFirstMoment(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "door")
	l, err := bind(path, 0o007)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if now := syscall.Umask(0); now != 0 {
		t.Errorf("the umask stays %o", now)
	}
}

func TestAUnixSocketIsItsGroupsAndNotTakenFromAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "door")
	c := &Config{Listen: "unix:" + path}
	l, err := listen(c)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := listen(c); err == nil {
		t.Error("a socket in use is taken over")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = listen(c); err != nil {
		t.Fatalf("a socket that was left: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(c); err == nil {
		t.Error("a file that is no socket is replaced")
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key into dir.
func selfSigned(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Origin: the pair was read once, and the host served an expired certificate until
// its next restart. Here it is a Secret volume that is switched, while an event
// stream runs.
func TestTheListenersCertificateIsFollowed(t *testing.T) {
	w := prepare(t, "")
	vol := filepath.Join(w.dir, "vol")
	selfSigned(t, filepath.Join(vol, "..rev1"), "one")
	selfSigned(t, filepath.Join(vol, "..rev2"), "two")
	turn := func(rev string) {
		t.Helper()
		tmp := filepath.Join(vol, "..tmp")
		if err := os.Symlink(rev, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(vol, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	turn("..rev1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("..data/"+name, filepath.Join(vol, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"tls: {cert: vol/tls.crt, key: vol/tls.key}\n")
	w.open(t)
	presented := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", w.addr, &tls.Config{InsecureSkipVerify: true}) // the name is what is asked about
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := presented(); got != "one" {
		t.Fatalf("it presents %q", got)
	}
	eve := w.anonymous(t)
	transport := eve.http.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	transport.ForceAttemptHTTP2 = true
	if got := eve.post("/auth/login", map[string]string{"user": "eve@example.com"}); got.status != 200 {
		t.Fatal(got)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/echo/ticks", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := eve.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if stream.ProtoMajor != 2 || stream.StatusCode != 200 {
		t.Fatalf("%s %s", stream.Proto, stream.Status)
	}
	turn("..rev2")
	eventually(t, "the new certificate", func() bool { return presented() == "two" })
	// What was open goes on: more events arrive than can have been on the way.
	buffer, seen := make([]byte, 1024), 0
	for last := []byte("data: 15\n"); !bytes.Contains(buffer[:seen], last); {
		n, err := stream.Body.Read(buffer[seen:])
		if seen += n; err != nil && err != io.EOF || seen == len(buffer) || n == 0 {
			t.Fatalf("after %q: %v", buffer[:seen], err)
		}
	}
	// A pair that does not fit leaves the good one, and readiness says so.
	if err := os.WriteFile(filepath.Join(vol, "..rev1", "tls.crt"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	turn("..rev1")
	eventually(t, "readiness to say so", func() bool { return w.server.degraded()["tls"] != nil })
	if got := presented(); got != "two" {
		t.Errorf("it presents %q", got)
	}
}
