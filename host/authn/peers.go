package authn

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
)

// peerSet is a set of peers: the proxies of auth.proxy.from, or those of
// limits.rates.forwardedFrom.
type peerSet struct {
	networks []netip.Prefix
	unix     bool
}

func parsePeers(from []string) (peerSet, error) {
	var h peerSet
	for _, s := range from {
		if s == "unix" {
			h.unix = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		switch {
		case err != nil:
			return peerSet{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, or unix", s)
		case p.Bits() == 0:
			return peerSet{}, fmt.Errorf("%q contains every address; list the proxies only", s)
		}
		h.networks = append(h.networks, p.Masked())
	}
	return h, nil
}

// sent reports whether the request came over a connection from one of the peers.
func (h *peerSet) sent(r *http.Request) bool {
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); local != nil && local.Network() == "unix" {
		return h.unix
	}
	peer, ok := parseAddr(r.RemoteAddr)
	return ok && h.contains(peer)
}

// contains reports whether one of the networks contains a plain address.
func (h *peerSet) contains(addr netip.Addr) bool {
	for _, n := range h.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// FromProxy reports whether the request comes over a connection from a proxy of
// auth.proxy.from or limits.rates.forwardedFrom.
func (s *Service) FromProxy(r *http.Request) bool {
	return s.forwarded.sent(r) || s.proxy != nil && s.proxy.from.sent(r)
}
