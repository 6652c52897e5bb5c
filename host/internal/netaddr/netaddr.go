// Package netaddr answers questions about hosts and addresses in configuration and
// requests.
package netaddr

import (
	"net"
	"net/netip"
	"strings"
)

// Host returns the host of an address such as "example.com:443" or "[::1]:443", which
// may also have no port, without the brackets of an IPv6 address.
func Host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	if inner, ok := strings.CutPrefix(address, "["); ok {
		if inner, ok := strings.CutSuffix(inner, "]"); ok {
			return inner
		}
	}
	return address
}

// IsLoopback reports whether host is "localhost" or a loopback IP address, without a
// port, brackets or a zone. No other name counts, whatever it resolves to, and neither
// does another spelling of "localhost". Of an address with a port, pass Host of it.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}
