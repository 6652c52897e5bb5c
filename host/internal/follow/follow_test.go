package follow

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
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
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func asText(contents [][]byte) (string, error) {
	text := string(bytes.Join(contents, []byte("+")))
	if strings.Contains(text, "bad") {
		return "", errors.New("it is bad")
	}
	return text, nil
}

// New content is in use within a second, for every way to replace a file.
func TestAReplacedFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	link := func(target string) {
		t.Helper()
		tmp := filepath.Join(dir, "..tmp")
		if err := errors.Join(os.Symlink(target, tmp), os.Rename(tmp, filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	for _, rev := range []string{"..rev1", "..rev2"} {
		if err := os.Mkdir(filepath.Join(dir, rev), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, rev, "key"), rev)
	}
	link("..rev1")
	volume, plain := filepath.Join(dir, "key"), filepath.Join(dir, "plain")
	if err := os.Symlink("..data/key", volume); err != nil {
		t.Fatal(err)
	}
	put(t, plain, "a")
	synctest.Test(t, func(t *testing.T) {
		v, err := Open(nil, asText, volume, plain)
		if err != nil {
			t.Fatal(err)
		}
		want := func(text string) {
			t.Helper()
			time.Sleep(every)
			if got := v.Get(); got != text || v.Problem() != nil {
				t.Errorf("%q, %v; want %q", got, v.Problem(), text)
			}
		}
		want("..rev1+a")
		link("..rev2") // as a Secret volume
		want("..rev2+a")
		put(t, plain, "b") // in place, of the same size
		want("..rev2+b")
		put(t, plain+"~", "c") // as an editor
		if err := os.Rename(plain+"~", plain); err != nil {
			t.Fatal(err)
		}
		want("..rev2+c")
	})
}

// While a file is invalid the last valid content stays in use, with one log line.
func TestAnInvalidFileChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	put(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		v, err := Open(slog.New(slog.NewTextHandler(&log, nil)), asText, path)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func(){
			"bad":       func() { put(t, path, "bad") },
			"absent":    func() { _ = os.Remove(path) },
			"a pipe":    func() { _ = os.Remove(path); mkfifo(t, path) },
			"too large": func() { _ = os.Remove(path); put(t, path, strings.Repeat("x", maxFile+1)) },
		} {
			log.Reset()
			spoil()
			for range 3 {
				time.Sleep(every)
				if got := v.Get(); got != "one" || v.Problem() == nil {
					t.Errorf("%s: %q, %v", name, got, v.Problem())
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("%s: logged %d times: %s", name, n, log.String())
			}
			_ = os.Remove(path)
			put(t, path, "one")
			time.Sleep(every)
			if v.Problem() != nil {
				t.Errorf("%s: mended, and still %v", name, v.Problem())
			}
		}
		if _, err := Open(nil, asText, path+"-absent"); err == nil || !strings.Contains(err.Error(), path+"-absent") {
			t.Errorf("a file that is absent at the start: %v", err)
		}
	})
}

func TestFilesAreCheckedOnceASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	put(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		v, err := Open(nil, asText, path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		v.Get()
		put(t, path, "two")
		if got := v.Get(); got != "one" {
			t.Errorf("it looked again at once: %q", got)
		}
		time.Sleep(every)
		if got := v.Get(); got != "two" {
			t.Errorf("it did not look again: %q", got)
		}
	})
}

// authority issues certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

var serial int64

func issue(t *testing.T, name string, by *authority) (*authority, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: by == nil, BasicConstraintsValid: true,
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return &authority{c, key, block("CERTIFICATE", der)}, block("PRIVATE KEY", keyDER)
}

// A certificate is not used with the key of another one, whichever of the two files
// arrives first.
func TestAKeyPairIsUsedOnceBothFilesAreNew(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	one, oneKey := issue(t, "one", nil)
	two, twoKey := issue(t, "two", nil)
	put(t, cert, one.pem)
	put(t, key, oneKey)
	pair, err := KeyPair(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := func() string {
		pair.looked.Store(-int64(every)) // a second has passed
		return pair.Get().Leaf.Subject.CommonName
	}
	put(t, cert, two.pem)
	if now() != "one" || pair.Problem() == nil {
		t.Errorf("%s, %v", now(), pair.Problem())
	}
	put(t, key, twoKey)
	if now() != "two" || pair.Problem() != nil {
		t.Errorf("%s, %v", now(), pair.Problem())
	}
}

// A server with a new authority is trusted as soon as the file contains it, and not
// before; requests in progress continue.
func TestATransportTrustsTheAuthoritiesOfItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	serve := func(name string, ca *authority, h http.HandlerFunc) *httptest.Server {
		leaf, key := issue(t, name, ca)
		pair, err := tls.X509KeyPair([]byte(leaf.pem), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	oldCA, _ := issue(t, "old", nil)
	newCA, _ := issue(t, "new", nil)
	more := make(chan struct{})
	old := serve("old", oldCA, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun ")
		w.(http.Flusher).Flush()
		<-more
		_, _ = io.WriteString(w, "done")
	})
	renewed := serve("new", newCA, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	put(t, file, oldCA.pem)
	transport, err := NewTransport(file, nil, func(*http.Transport) {})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	resp, err := client.Get(old.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := client.Get(renewed.URL); err == nil {
		t.Error("an authority counts that the file does not name")
	}
	put(t, file, newCA.pem)
	transport.current.looked.Store(-int64(every)) // a second has passed
	after, err := client.Get(renewed.URL)
	if err != nil {
		t.Fatal(err)
	}
	after.Body.Close()
	if _, err := client.Get(old.URL); err == nil {
		t.Error("an authority counts that the file names no longer")
	}
	close(more)
	if text, err := io.ReadAll(resp.Body); string(text) != "begun done" || err != nil {
		t.Errorf("what was in progress: %q, %v", text, err)
	}
	put(t, file, "no certificate")
	if _, err := NewTransport(file, nil, func(*http.Transport) {}); err == nil || !strings.HasPrefix(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
