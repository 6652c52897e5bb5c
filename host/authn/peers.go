package authn

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
)

// hops are the peers that may speak for others.
type hops struct {
	networks []netip.Prefix
	unix     bool
}

func parseHops(from []string) (hops, error) {
	var h hops
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
			return hops{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, or unix", s)
		case p.Bits() == 0:
			return hops{}, fmt.Errorf("%q is everybody", s)
		}
		h.networks = append(h.networks, p.Masked())
	}
	return h, nil
}

func (h *hops) contain(r *http.Request) bool {
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); local != nil && local.Network() == "unix" {
		return h.unix
	}
	peer, ok := parseAddr(r.RemoteAddr)
	return ok && h.has(peer)
}

// has reports whether one of the networks contains a plain address.
func (h *hops) has(addr netip.Addr) bool {
	for _, n := range h.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
