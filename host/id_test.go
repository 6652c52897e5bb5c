package host

import (
	"strings"
	"testing"
)

// One rule for comparing ids: addresses without regard to case, all others as
// they are written.
func TestAddressesCompareWithoutCaseAndOtherIDsAsWritten(t *testing.T) {
	for id, want := range map[string]string{
		"Ann.Lee@Example.COM": "ann.lee@example.com",
		"ann@example.com":     "ann@example.com",
		"@":                   "@",
		"A@":                  "a@",
		"corp:U1a":            "corp:U1a",
		"github:Octocat":      "github:octocat",
		"Kim":                 "Kim",
		"":                    "",
		"\u212aim@x":          "\u212aim@x", // the Kelvin sign is not a k
		"İ@x":                 "İ@x",
	} {
		if got := CanonicalID(id); got != want {
			t.Errorf("%q counts as %q, want %q", id, got, want)
		}
		if got := CanonicalID(UserID(want)); string(got) != want {
			t.Errorf("the canonical %q becomes %q", want, got)
		}
	}
}

func TestIDsThatNoLoginMethodAcceptsAreNamed(t *testing.T) {
	for id, want := range map[string]string{
		"ann@example.com": "", "github:583231": "", "corp:auth0|1": "", strings.Repeat("a", MaxUserID): "",
		"": "empty", "a b": "space", "jürgen": "ASCII", "a\n": "ASCII", `CORP\kim`: `'\\'`, "a,b": "','", `"ann"`: `'"'`,
		"system:admin": "system:", "SYSTEM:admin@example.com": "system:",
		strings.Repeat("a", MaxUserID+1): "200", strings.Repeat("a", MaxID+1): "253",
	} {
		err := CheckUserID(id)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", id, err, want)
		}
	}
	// Groups of providers have more in their names than users.
	for _, id := range []string{`CORP\ops`, "CN=ops,DC=x", strings.Repeat("a", MaxID)} {
		if err := CheckID(id); err != nil {
			t.Errorf("team %.20q: %v", id, err)
		}
	}
}

// FuzzCanonicalID: the canonical form is its own, and what differs from it by
// ASCII case in an address has the same.
func FuzzCanonicalID(f *testing.F) {
	for _, s := range []string{"Ann@Example.com", "github:Octocat", "corp:Kim", "\u212a@x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		c := CanonicalID(id)
		if CanonicalID(c) != c || len(c) != len(id) || !strings.Contains(id, "@") && !strings.HasPrefix(id, "github:") && c != id {
			t.Fatalf("%q becomes %q", id, c)
		}
		if strings.Contains(id, "@") && (CanonicalID(asciiUpper(id)) != c || strings.ContainsFunc(c, func(r rune) bool { return r >= 'A' && r <= 'Z' })) {
			t.Fatalf("%q becomes %q", id, c)
		}
	})
}

func asciiUpper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
