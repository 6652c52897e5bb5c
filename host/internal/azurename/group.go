package azurename

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxGroup bounds a resource group's name, in UTF-16 code units as Azure counts.
const maxGroup = 90

// Group returns the name of a resource group in lower case, the one form in which
// names are compared, since Azure does not tell cases apart. It is not ok for what
// Azure does not allow ("Naming rules for Azure resources", Microsoft.Resources): 1
// to 90 letters and digits of any script, "_", "-", ".", "(" and ")", the last one
// no period. Nor is it for a letter that shares its other case with another, such
// as the Kelvin sign and the final sigma: here and in Azure, different groups would
// be one.
func Group(name string) (lower string, ok bool) {
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
