package main

import (
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
)

// Longest name of a Kubernetes object (a DNS subdomain), chart reference, and
// version of a chart or constraint on one.
const (
	maxName    = 253
	maxChart   = 512
	maxVersion = 100
)

// checkNames takes pairs of what it is and its value.
func checkNames(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := checkName(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func checkName(what, s string) error {
	if !validName(s) {
		return sdk.Errorf(400, "invalid %s", what)
	}
	return nil
}

func validName(s string) bool { return made(s, "-_.", maxName) }

func checkChart(chart, version string) error {
	if !made(chart, "-_./:", maxChart) {
		return sdk.Errorf(400, "invalid chart")
	}
	if version != "" && !made(version, "-_.+^~<>=!*,| ", maxVersion) {
		return sdk.Errorf(400, "invalid version")
	}
	return nil
}

// made reports whether s is of ASCII letters, digits and the characters of
// extra, is not empty or too long, and could not be read as an option.
func made(s, extra string, limit int) bool {
	return s != "" && len(s) <= limit && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(extra, r)
	})
}
