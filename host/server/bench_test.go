package server

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/mux"
)

const benchClients = 16

// BenchmarkRequest measures an authenticated, authorized echo over HTTP: once
// through the host and its plugin, once compiled in as consoles do it (mux, the
// token verified each time, an if). Both take turns in one run with the same
// clients, so that the ratio holds on any machine.
func BenchmarkRequest(b *testing.B) {
	w := withoutCluster(b)
	eve := w.as(b, "eve")
	compiledIn := newCompiledIn(b)
	ours, theirs := &load{name: "bulkhead"}, &load{name: "compiled-in"}
	for b.Loop() {
		ours.round(b, eve.http, w.url+"/api/echo/echo?hello=world", nil)
		theirs.round(b, compiledIn.client, compiledIn.url+"/api/echo/echo?hello=world", compiledIn.header)
	}
	b.ReportMetric(0, "ns/op")
	ours.report(b)
	theirs.report(b)
	b.ReportMetric(ours.rate()/theirs.rate(), "ratio")
}

// load is what one server did under all rounds.
type load struct {
	name  string
	took  []time.Duration // of each request
	spent time.Duration   // wall clock of all rounds
}

const perClient = 25 // requests of one client in one round

func (l *load) round(b *testing.B, client *http.Client, url string, header http.Header) {
	took := make([][]time.Duration, benchClients)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range took {
		wg.Go(func() {
			for range perClient {
				start := time.Now()
				if err := echoOnce(client, url, header); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	l.spent += time.Since(began)
	l.took = append(l.took, slices.Concat(took...)...)
}

var benchBody = bytes.Repeat([]byte("x"), 64)

func echoOnce(client *http.Client, url string, header http.Header) error {
	req, err := http.NewRequest("POST", url, bytes.NewReader(benchBody))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !bytes.HasSuffix(text, benchBody) {
		return fmt.Errorf("%s: %s %s %v", url, resp.Status, text, err)
	}
	return nil
}

func (l *load) rate() float64 { return float64(len(l.took)) / l.spent.Seconds() }

func (l *load) report(b *testing.B) {
	slices.Sort(l.took)
	at := func(q float64) float64 {
		return float64(l.took[int(q*float64(len(l.took)-1))].Microseconds())
	}
	b.ReportMetric(l.rate(), l.name+"-req/s")
	b.ReportMetric(at(0.50), l.name+"-p50-µs")
	b.ReportMetric(at(0.99), l.name+"-p99-µs")
}

// compiledIn is the same echo as a handler of its own.
type compiledIn struct {
	url    string
	client *http.Client
	header http.Header
}

func newCompiledIn(b *testing.B) *compiledIn {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"sub": "eve@example.com", "role": "editor", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(private)
	if err != nil {
		b.Fatal(err)
	}
	router := mux.NewRouter()
	router.HandleFunc("/api/{plugin}/echo", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return public, nil },
			jwt.WithValidMethods([]string{"EdDSA"}))
		if err != nil {
			http.Error(w, "Invalid token", http.StatusUnauthorized)
			return
		}
		if role := claims["role"]; role != "editor" && role != "admin" {
			http.Error(w, "Editor or admin role required", http.StatusForbidden)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "bad body", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "method: %s\npath: %s\nquery: %s\nuser: %s\naction: %s\n\n%s",
			r.Method, r.URL.Path, r.URL.RawQuery, claims["sub"], "echo:echo.read", body)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: router}
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close() })
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{MaxIdleConnsPerHost: benchClients}}
	b.Cleanup(client.CloseIdleConnections)
	return &compiledIn{"http://" + l.Addr().String(), client, http.Header{"Authorization": {"Bearer " + token}}}
}
