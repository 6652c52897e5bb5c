package azure

import (
	"strings"
	"testing"
)

func TestGroupsAreNamedAsAzureAllows(t *testing.T) {
	for name, want := range map[string]string{
		"rg1": "rg1", "RG-1": "rg-1", "rg-(prod)": "rg-(prod)", "(x)": "(x)", "gruppe-Ø": "gruppe-ø", "группа": "группа", "組": "組", "straße": "straße", "४२": "४२",
		"_a": "_a", "-a": "-a", ".a": ".a", "a..b": "a..b", strings.Repeat("a", 90): strings.Repeat("a", 90), strings.Repeat("ø", 90): strings.Repeat("ø", 90),
	} {
		if got, ok := lowerGroup(name); !ok || got != want {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"", ".", "..", "a.", "a/b", "a b", "a%41", "a*", "a?b", "a#b", "a\\b", "a\x00", "a\xff", "a\u0301", "½", "a\u200b", "rg:1",
		strings.Repeat("a", 91), strings.Repeat("\U00020000", 46),
		"\u212a", "İ", "ı", "ſ", "µ", "ς", "ǅ", // their other case is also that of another letter
	} {
		if got, ok := lowerGroup(name); ok {
			t.Errorf("%q is taken as %q", name, got)
		}
	}
}
