package authn

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Rates are the limits on requests, in requests per second, with bursts of ten
// seconds' worth. 0 is the default; a negative rate is unlimited.
type Rates struct {
	// Client limits requests from one address (IPv6: one /64) that carry no
	// verified credential; 20.
	Client float64 `json:"client,omitempty"`
	// Account limits the requests of one user, from all addresses; 200.
	Account float64 `json:"account,omitempty"`
	// ForwardedFrom lists the networks of proxies whose X-Forwarded-For names the
	// client, and "unix" for a Unix socket. If empty, all clients behind a proxy
	// share one limit.
	ForwardedFrom []string `json:"forwardedFrom,omitempty"`
}

// Check adds all problems of the rates to bad.
func (l *Rates) Check(bad *config.Problems) {
	if _, err := parsePeers(l.ForwardedFrom); err != nil {
		bad.Add("forwardedFrom", "%v", err)
	}
}

const burstSeconds = 10

// maxBuckets bounds a table. One bucket is some 100 bytes.
const maxBuckets = 1 << 16

// buckets are token buckets by key. Each key has its own, so that no client uses
// up another's. The table holds two generations: a bucket that was not used while
// the other generation filled up, or for longer than it takes to refill, is
// dropped, which at worst gives its client one more burst. So the table is bounded
// and never full.
type buckets struct {
	rate rate.Limit

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
	turned     time.Time
}

func newBuckets(perSecond, otherwise float64) *buckets {
	switch {
	case perSecond == 0:
		perSecond = otherwise
	case perSecond < 0:
		return nil
	}
	return &buckets{rate: rate.Limit(perSecond), young: map[string]*rate.Limiter{}}
}

// take reports whether one more is allowed.
func (b *buckets) take(key string, now time.Time) bool {
	if b == nil {
		return true
	}
	return b.of(key, now).AllowN(now, 1)
}

func (b *buckets) of(key string, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.turned) > 2*burstSeconds*time.Second || len(b.young) >= maxBuckets/2 {
		b.old, b.young, b.turned = b.young, make(map[string]*rate.Limiter, len(b.young)), now
	}
	l := b.young[key]
	if l == nil {
		if l = b.old[key]; l == nil {
			l = rate.NewLimiter(b.rate, max(1, int(float64(b.rate)*burstSeconds)))
		}
		b.young[key] = l
	}
	return l
}

var errTooFast = &host.Error{Kind: host.Limited, Op: "authn", Message: "too many requests"}

// AdmitClient counts a request against the rate of its client; the error is of
// kind Limited. Call it for requests that need no login. Resolve calls it before it
// verifies a credential that is not cached, so requests with a verified credential
// are not limited by other clients at the same address.
func (s *Service) AdmitClient(r *http.Request) error {
	if !s.clients.take(s.client(r), time.Now()) {
		return errTooFast
	}
	return nil
}

// AdmitAccount counts a request against the rate of its user; the error is of kind
// Limited.
func (s *Service) AdmitAccount(p *host.Principal) error {
	if !s.accounts.take(string(p.User), time.Now()) {
		return errTooFast
	}
	return nil
}

// client returns the key of a request's bucket: the network of its client, or the
// proxy that does not name the client.
func (s *Service) client(r *http.Request) string {
	addr, known := s.clientAddr(r)
	switch {
	case !addr.IsValid():
		return r.RemoteAddr // a Unix socket
	case !known:
		return "unknown, by " + network(addr)
	}
	return network(addr)
}

// RemoteAddr returns the address of the request's client, without a port, for logs
// and session lists: the client that X-Forwarded-For names on a connection from
// limits.rates.forwardedFrom, otherwise the connection's peer.
func (s *Service) RemoteAddr(r *http.Request) string {
	if from, ok := operatorAddr(r); ok {
		return from
	}
	if addr, _ := s.clientAddr(r); addr.IsValid() {
		return addr.String()
	}
	return r.RemoteAddr
}

// clientAddr returns the address of the request's client: the last address in
// X-Forwarded-For that is not in forwardedFrom, since the client itself may have
// written those before it. If a proxy wrote something other than an address, such
// as "unknown", known is false and the address is the proxy's. The address is
// invalid for a Unix socket.
func (s *Service) clientAddr(r *http.Request) (addr netip.Addr, known bool) {
	addr, _ = parseAddr(r.RemoteAddr)
	if len(r.Header["X-Forwarded-For"]) == 0 || !s.forwarded.sent(r) {
		return addr, true
	}
	rest, item := strings.Join(r.Header["X-Forwarded-For"], ","), ""
	for more := true; more; {
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, item = rest[:i], rest[i+1:]
		} else {
			item, more = rest, false
		}
		next, ok := parseAddr(strings.TrimSpace(item))
		switch {
		case !ok:
			return addr, false
		case !s.forwarded.contains(next):
			return next, true
		}
		addr = next
	}
	return addr, true
}

// parseAddr reads an address with or without a port, as RemoteAddr and proxies
// write it: 203.0.113.7, 203.0.113.7:51000, 2001:db8::1, [2001:db8::1] and
// [2001:db8::1]:443. A zone does not count.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(a.Addr()), true
	}
	if in, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(in, "]"); !ok {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(s)
		return plainAddr(a), err == nil && a.Is6()
	}
	a, err := netip.ParseAddr(s)
	return plainAddr(a), err == nil
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// network returns the network whose addresses one client can use: its IPv6 /64, or
// the IPv4 address.
func network(addr netip.Addr) string {
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}
