package git

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestRefsAreFullNames(t *testing.T) {
	for ref, want := range map[string]bool{
		"HEAD": true, "refs/heads/main": true, "refs/tags/v1.0": true, "refs/heads/a/b-c": true, strings.Repeat("a", 40): true, "refs/heads/ä": true,
		"": false, "main": false, "refs/heads": false, "refs/heads/": false, "refs/heads/-x": false, "refs/heads/a..b": false, "refs/heads/a//b": false,
		"refs/heads/.a": false, "refs/heads/a.lock": false, "refs/heads/a.lock/b": false, "refs/heads/a b": false, "refs/heads/a~1": false, "refs/heads/a^": false,
		"refs/heads/a:b": false, "refs/heads/a?": false, "refs/heads/a*": false, "refs/heads/a[": false, "refs/heads/a\\b": false, "refs/heads/a@{0}": false,
		"refs/heads/a.": false, "refs/heads/a\n": false, "refs/heads/\xff": false, strings.Repeat("A", 40): false, strings.Repeat("a", 39): false, "head": false,
		"refs/heads/" + strings.Repeat("a", 300): false, "-refs/heads/a": false,
	} {
		if got := validRef(ref); got != want {
			t.Errorf("%q: %v", ref, got)
		}
	}
}

func TestAddressesHaveOneSpelling(t *testing.T) {
	for raw, want := range map[string]string{
		"https://git.example.com/shop/manifests.git": "https://git.example.com/shop/manifests.git",
		"https://GIT.example.com:443/shop":           "https://git.example.com/shop",
		"https://git.example.com:8443/shop":          "https://git.example.com:8443/shop",
		"ssh://git@example.com:22/shop.git":          "ssh://example.com/shop.git",
		"git@example.com:shop/manifests.git":         "ssh://example.com/shop/manifests.git",
		"git@example.com:/shop.git":                  "ssh://example.com/shop.git",
		"https://example.com":                        "https://example.com",

		"": "", "example.com/shop": "", "file:///etc": "", "git://example.com/shop": "", "ext::sh -c x": "", "-oProxyCommand=x": "", "ftp://example.com/x": "",
		"https://user:secret@example.com/shop": "", "https://user@example.com/shop": "", "ssh://example.com/shop": "", "ssh://git:pw@example.com/shop": "",
		"https://example.com/shop?x": "", "https://example.com/shop#x": "", "https://example.com/a//b": "", "https://example.com/a/../b": "", "https://example.com/a%2fb": "",
		"https://example.com/-a": "", "https://example.com/.git": "", "https://example.com/a b": "", "https://example.com/shop/": "", "https:///shop": "", "https:shop": "",
		"git@example.com:../shop": "", "-x@example.com:shop": "", "ssh://-x@example.com/shop": "", "https://example.com/shop?": "", "https://example.com/'a": "",
	} {
		a, problem := parseAddress(raw)
		if (problem == "") != (want != "") || problem == "" && a.String() != want {
			t.Errorf("%q: %v, %q", raw, a, problem)
		}
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	good := Config{Name: "shop", URL: "https://example.com/shop.git", User: "robot", TokenFile: "token"}
	ssh := Config{Name: "ssh", URL: "ssh://git@example.com/shop/", KeyFile: "id", KnownHostsFile: "known"}
	var bad config.Problems
	CheckConfigs(bad.At("git"), []Config{good, ssh, {Name: "near", URL: "http://127.0.0.1:1/x"}})
	if err := bad.Err(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(a, b *Config){
		"git[1].name":           func(_, b *Config) { b.Name = "shop" },
		"git[0].name":           func(a, _ *Config) { a.Name = "url" },
		"git[0].url":            func(a, _ *Config) { a.URL = "http://example.com/x" },
		"git[1].url":            func(_, b *Config) { b.URL = "git@example.com:shop" },
		"git[0].user":           func(a, _ *Config) { a.User = "a:b" },
		"git[0].tokenFile":      func(a, _ *Config) { a.TokenFile = "" },
		"git[0].keyFile":        func(a, _ *Config) { a.KeyFile = "id" },
		"git[1].keyFile":        func(_, b *Config) { b.KeyFile = "" },
		"git[1].knownHostsFile": func(_, b *Config) { b.KnownHostsFile = "" },
		"git[1].tokenFile":      func(_, b *Config) { b.TokenFile = "x" },
	} {
		a, b := good, ssh
		spoil(&a, &b)
		var bad config.Problems
		CheckConfigs(bad.At("git"), []Config{a, b})
		if err := bad.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	k := &kind{places([]Config{{Name: "shop", URL: "https://example.com/shop.git"}, {Name: "all", URL: "https://example.com/all/"}, {Name: "ssh", URL: "ssh://git@example.com/"}})}
	for _, seed := range []string{"git://shop?ref=HEAD&path=a/b", "git://all/x/y.git", "git://url?url=https%3A%2F%2Fexample.com%2Fall%2Fx", "git://url?url=git@example.com:x", "git://shop?as=refs"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		q, err := k.parse(&abi.Request{Method: "GET", URL: target})
		if err != nil {
			if host.KindOf(err) != host.Invalid {
				t.Fatalf("%q: %v", target, err)
			}
			return
		}
		c := q.call()
		if c.Host != "example.com" || path.Clean(q.at.path) != q.at.path || strings.ContainsAny(q.at.path, "'\"\\ \n%?#") ||
			q.path != "" && (path.Clean("/"+q.path) != "/"+q.path) || q.ref != "" && !validRef(q.ref) {
			t.Fatalf("%q was taken as %+v", target, q)
		}
	})
}

// objectHead is the head of a packed object of a type that states a size.
func objectHead(kind byte, size uint64) []byte {
	b := []byte{kind<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&127))
	}
	return b
}

// empty is a zlib stream of nothing.
const empty = "\x78\x9c\x03\x00\x00\x00\x00\x01"

func TestASmallPackThatStatesLargeObjectsIsRefused(t *testing.T) {
	head := func(n byte) []byte { return []byte("PACK\x00\x00\x00\x02\x00\x00\x00" + string(n)) }
	for name, pack := range map[string][]byte{
		"over 256 MiB":        append(append(head(1), objectHead(3, 1<<40)...), empty...),
		"over 500000 objects": []byte("PACK\x00\x00\x00\x02\x7f\xff\xff\xff"),
		"cannot be used":      append(append(head(1), objectHead(3, 5)...), "nonsense"...),
		"sent objects that":   []byte("PACK"),
	} {
		if err := measure(pack); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01" + string(objectHead(3, 0)) + empty))
	f.Add([]byte("PACK"))
	f.Fuzz(func(t *testing.T, pack []byte) {
		if root, err := unpack(pack, strings.Repeat("0", 40)); err == nil {
			t.Fatalf("a commit was found: %v", root)
		} else if e, ok := errors.AsType[*host.Error](err); !ok || e.Kind != host.Upstream && e.Kind != host.Unprocessable {
			t.Fatal(err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(configMap("a") + "---\n" + configMap("b")))
	f.Add([]byte("a: [\n---\n- b"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: X, metadata: {name: a}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &manifests{}
		if err := m.parse("f.yaml", data); err != nil && host.KindOf(err) != host.Unprocessable {
			t.Fatal(err)
		}
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, p := range m.Problems {
			if p.Line > lines+1 {
				t.Fatalf("line %d of %d: %s", p.Line, lines, p.Text)
			}
		}
	})
}
