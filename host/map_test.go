package host_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The map is of use only while it is true: each row's functions are in its files.
func TestTheMapNamesFunctionsThatExist(t *testing.T) {
	text, err := os.ReadFile("MAP.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| ([^|]+\.go) \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) < 20 {
		t.Fatalf("MAP.md has %d rows that name files", len(rows))
	}
	for _, row := range rows {
		var code strings.Builder
		for _, name := range regexp.MustCompile(`[\w/]+\.go`).FindAllString(row[1]+row[2], -1) {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Error(err)
			}
			code.Write(source)
		}
		for _, f := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1) {
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + f[1] + `\(`).MatchString(code.String()) {
				t.Errorf("MAP.md: %s has no function %s", row[1], f[1])
			}
		}
	}
}
