package netaddr

import "testing"

func TestOnlyLocalhostAndLoopbackAddressesAreLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.255.0.9": true, "::1": true, "0:0:0:0:0:0:0:1": true, "::ffff:127.0.0.1": true,

		"": false, "0.0.0.0": false, "::": false, "128.0.0.1": false, "10.0.0.1": false, "::ffff:10.0.0.1": false, "fe80::1": false,
		"LOCALHOST": false, "localhost.": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "foo.localhost": false,
		"[::1]": false, "127.0.0.1:80": false, "localhost:80": false, "::1%lo": false, " 127.0.0.1": false,
		"127.1": false, "127.0.0.01": false, "0x7f000001": false, "2130706433": false, "/run/localhost": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestTheHostOfAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"example.com:443": "example.com", "example.com": "example.com", "127.0.0.1:0": "127.0.0.1", "127.0.0.1": "127.0.0.1",
		"[::1]:443": "::1", "[::1]": "::1", "::1": "::1", ":8080": "", "": "",
		"[::1": "[::1", "::1]": "::1]", "[[::1]]": "[::1]", "[::1]x": "[::1]x", "a:b:c": "a:b:c",
	} {
		if got := Host(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
