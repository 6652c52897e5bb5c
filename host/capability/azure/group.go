package azure

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxGroup bounds a resource group's name, in UTF-16 code units as Azure counts.
const maxGroup = 90

// lowerGroup returns the name of a resource group in lower case, the form in which names
// are compared, since they are not case-sensitive in Azure. ok is false for a name that
// Azure does not allow ("Naming rules for Azure resources", Microsoft.Resources): a name
// has 1 to 90 letters and digits of any script, "_", "-", ".", "(" and ")", and does not
// end with a period. ok is also false for a letter that shares its other case with
// another letter, such as the Kelvin sign and the final sigma: two groups of Azure could
// then have the same name here.
func lowerGroup(name string) (lower string, ok bool) {
	if name == "" || !utf8.ValidString(name) || strings.HasSuffix(name, ".") {
		return "", false
	}
	units := 0
	for _, r := range name {
		units++
		if r > 0xffff {
			units++
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.()", r) {
			return "", false
		}
		lower, upper := unicode.ToLower(r), unicode.ToUpper(r)
		if lower != r && unicode.ToUpper(lower) != r || upper != r && unicode.ToLower(upper) != r {
			return "", false
		}
	}
	return strings.ToLower(name), units <= maxGroup
}
