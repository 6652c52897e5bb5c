package authn

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A client or user that exceeds its rate does not affect the others.
func TestAClientCannotUseUpTheRateOfOthers(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Rates = Rates{Client: 1, Account: 2, ForwardedFrom: []string{"10.0.0.0/8"}} })
	valid, ann := f.signIn(t, "ann")
	_, ben := f.signIn(t, "ben")
	known := bearing(valid)
	if _, err := f.Resolve(known); err != nil {
		t.Fatal(err)
	}
	limited := 0
	for range 50 {
		if _, err := f.Resolve(bearing("x.y.z")); host.KindOf(err) == host.Limited {
			limited++
		}
	}
	if limited < 35 {
		t.Errorf("%d of 50 forgeries from one address were refused before verification", limited)
	}
	if _, err := f.Resolve(known); err != nil {
		t.Errorf("a signed-in user at the same address: %v", err)
	}
	from := func(addr, forwarded string) error {
		r := bearing("x.y.z")
		r.RemoteAddr = addr
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		_, err := f.Resolve(r)
		return err
	}
	for i, c := range []struct {
		addr, forwarded string
		limited         bool
	}{
		{"198.51.100.1:1", "", false},
		{"192.0.2.1:1", "198.51.100.2", true},           // httptest's own address, whatever it says
		{"10.0.0.1:1", "198.51.100.2", false},           // our proxy says so
		{"10.0.0.1:1", "198.51.100.2, 192.0.2.1", true}, // the last is what it saw
		{"10.0.0.1:1", "192.0.2.1, 10.9.9.9", true},     // two proxies of ours
		{"[2001:db8::1]:1", "", false},
	} {
		if err := from(c.addr, c.forwarded); (host.KindOf(err) == host.Limited) != c.limited {
			t.Errorf("%d: %v", i, err)
		}
	}
	for range 30 {
		from("[2001:db8::1]:1", "")
	}
	if err := from("[2001:db8::2]:1", ""); host.KindOf(err) != host.Limited {
		t.Errorf("the next address of the same /64: %v", err)
	}
	for range 30 {
		_ = f.AdmitAccount(ann)
	}
	if err := f.AdmitAccount(ann); host.KindOf(err) != host.Limited {
		t.Errorf("ann asks too much: %v", err)
	}
	if err := f.AdmitAccount(ben); err != nil {
		t.Errorf("ben does not: %v", err)
	}
}

func TestRateTablesAreBounded(t *testing.T) {
	b := newBuckets(1, 1)
	now := time.Now()
	for i := range 3 * maxBuckets {
		b.take(strings.Repeat("x", 1+i%7)+string(rune('0'+i%10))+time.Duration(i).String(), now)
	}
	if n := len(b.young) + len(b.old); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
	for range 20 {
		b.take("busy", now)
	}
	if b.take("busy", now) {
		t.Error("a bucket holds more than its burst")
	}
	if !b.take("busy", now.Add(3*time.Second)) {
		t.Error("a bucket does not fill again")
	}
}

// Proxies write addresses with ports, in brackets, or "unknown"; clients behind
// them still have separate buckets.
func TestForwardedAddressesHaveABucketEachHoweverTheyAreWritten(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Rates = Rates{Client: 1, ForwardedFrom: []string{"10.0.0.0/8", "fd00::/8", "unix"}} })
	via := func(peer string, forwarded ...string) *http.Request {
		r := bearing("x.y.z")
		r.RemoteAddr, r.Header["X-Forwarded-For"] = peer, forwarded
		return r
	}
	for _, c := range []struct {
		r            *http.Request
		bucket, addr string
	}{
		{via("10.0.0.1:1", "203.0.113.7"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "203.0.113.7:51000"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "::ffff:203.0.113.7"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "[::ffff:203.0.113.7]:1"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "2001:db8::1"), "2001:db8::/64", "2001:db8::1"},
		{via("10.0.0.1:1", "[2001:db8::1]"), "2001:db8::/64", "2001:db8::1"},
		{via("10.0.0.1:1", "[2001:db8::1]:443"), "2001:db8::/64", "2001:db8::1"},
		{via("10.0.0.1:1", "fe80::1%eth0"), "fe80::/64", "fe80::1"},
		{via("[::ffff:10.0.0.1]:1", "203.0.113.7"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "198.51.100.9", "203.0.113.7:1"), "203.0.113.7", "203.0.113.7"}, // two headers are one list
		{via("10.0.0.1:1", "198.51.100.9, 203.0.113.7:1, 10.0.0.2:1, [fd00::1]:2"), "203.0.113.7", "203.0.113.7"},
		{via("10.0.0.1:1", "10.0.0.3, 10.0.0.2"), "10.0.0.3", "10.0.0.3"},
		// Requests whose client the proxy does not know share a bucket. The items
		// before are the client's own and do not choose it.
		{via("10.0.0.1:1", "unknown"), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1", "198.51.100.9, unknown"), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1", "198.51.100.9, garbage, 10.0.0.2"), "unknown, by 10.0.0.2", "10.0.0.2"},
		{via("10.0.0.1:1", ""), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1", "[203.0.113.7]"), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1", "[2001:db8::1"), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1", "203.0.113.7:x"), "unknown, by 10.0.0.1", "10.0.0.1"},
		{via("10.0.0.1:1"), "10.0.0.1", "10.0.0.1"},
		// On other connections the whole header is the client's own.
		{via("192.0.2.1:1", "203.0.113.7:51000"), "192.0.2.1", "192.0.2.1"},
		{via("[2001:db8:1::5%eth0]:1"), "2001:db8:1::/64", "2001:db8:1::5"},
	} {
		if got := f.client(c.r); got != c.bucket {
			t.Errorf("%s, %q: bucket %q, want %q", c.r.RemoteAddr, c.r.Header["X-Forwarded-For"], got, c.bucket)
		}
		if got := f.RemoteAddr(c.r); got != c.addr {
			t.Errorf("%s, %q: address %q, want %q", c.r.RemoteAddr, c.r.Header["X-Forwarded-For"], got, c.addr)
		}
	}
	unix := via("@", "203.0.113.7:1")
	unix = unix.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/x", Net: "unix"})))
	if got := f.RemoteAddr(unix); got != "203.0.113.7" {
		t.Errorf("over a Unix socket: %q", got)
	}
	if unix.Header.Del("X-Forwarded-For"); f.RemoteAddr(unix) != "@" || f.client(unix) != "@" {
		t.Errorf("over a Unix socket, not forwarded: %q", f.RemoteAddr(unix))
	}
	for _, busy := range []string{"203.0.113.7:51000", "[2001:db8::1]:443", "unknown"} {
		for range 12 {
			_, _ = f.Resolve(via("10.0.0.1:1", busy))
		}
		if _, err := f.Resolve(via("10.0.0.1:1", busy)); host.KindOf(err) != host.Limited {
			t.Errorf("13 requests of %s: %v", busy, err)
		}
	}
	if _, err := f.Resolve(via("10.0.0.1:1", "198.51.100.9:41000")); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("another client: %v", err)
	}
}

// FuzzForwardedAddress checks that the bucket is that of the address which the
// trusted proxy appended, whatever the client wrote into X-Forwarded-For.
func FuzzForwardedAddress(f *testing.F) {
	service := &Service{forwarded: peerSet{networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, s := range []string{"", "unknown", "198.51.100.9", "[::1]:2", "10.0.0.3,10.0.0.4", "[", "]:,", "10.0.0.1:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		for _, list := range [][]string{{word + ", 203.0.113.7:51000"}, {word, "203.0.113.7"}, {word + ",203.0.113.7,10.0.0.9"}} {
			r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": list}}
			if got := service.client(r); got != "203.0.113.7" {
				t.Fatalf("%q chooses bucket %q", word, got)
			}
		}
		if a, ok := parseAddr(word); ok != a.IsValid() || ok && a.Zone() != "" {
			t.Fatalf("%q is %v, %v", word, a, ok)
		}
	})
}

func TestRatesHaveDefaultsAndMayBeOff(t *testing.T) {
	if b := newBuckets(0, 20); b == nil || b.rate != 20 {
		t.Errorf("by default %+v", b)
	}
	if b := newBuckets(-1, 20); b != nil || !b.take("x", time.Now()) {
		t.Errorf("off: %+v", b)
	}
	if b := newBuckets(3, 20); b.rate != 3 {
		t.Errorf("configured: %+v", b)
	}
	f := setUp(t, func(c *Config) { c.Rates = Rates{} })
	if f.clients.rate != 20 || f.accounts.rate != 200 {
		t.Errorf("client %v, account %v", f.clients.rate, f.accounts.rate)
	}
}

// A client over its rate stays limited while others fill the table.
func TestOthersDoNotRefillABucket(t *testing.T) {
	b := newBuckets(1, 0)
	now := time.Now()
	for range 20 {
		b.take("busy", now)
	}
	for i := range maxBuckets / 2 {
		b.take(time.Duration(i).String(), now)
	}
	if b.take("busy", now) {
		t.Error("the bucket was forgotten while it was empty")
	}
}
