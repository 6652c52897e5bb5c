package dnsname

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

var examples = []string{
	"", "a", "0", "-", "-a", "a-", "a-b", "a--b", "A", "ü", "a_b", "a b", "a\n", "a\x00", "a/b", "a%2fb", "..", ".",
	"a.b", "a..b", ".a", "a.", "a.-b", "a-.b", "default", "kube-system", "coredns-668d6bf9bc-abcde", "1.2.3",
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254),
	strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a", strings.Repeat("a", 64) + ".b",
}

func TestNamesAreThoseOfKubernetes(t *testing.T) {
	for _, s := range examples {
		compare(t, s)
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range examples {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { compare(t, s) })
}

func compare(t *testing.T, s string) {
	t.Helper()
	if got, want := IsLabel(s), len(validation.IsDNS1123Label(s)) == 0; got != want {
		t.Errorf("IsLabel(%q) = %v", s, got)
	}
	if got, want := IsSubdomain(s), len(validation.IsDNS1123Subdomain(s)) == 0; got != want {
		t.Errorf("IsSubdomain(%q) = %v", s, got)
	}
}
