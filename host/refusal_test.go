package host_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

var update = flag.Bool("update", false, "write sdk/docs/refusals.md")

const refusalsHead = `<!-- go test ./host -run TestTheRefusalsPage -update writes this page. -->
# What was refused, why, and what to do

Every refusal says what is wrong and what to do about it. This page lists them for those who look one up: authors, operators, and
teams whose console shows them. An answer is ` + "`{\"error\", \"detail\", \"requestId\"}`" + `; the log has more under the ` + "`requestId`" + `.

`

// The page is made of the texts themselves: the vocabulary of this package, and the golden files
// of refusals.
func TestTheRefusalsPageIsThatOfTheTexts(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(refusalsHead)
	writeRequests(&page)
	writeSessions(&page)
	writeInstallations(t, &page)
	const name = "../sdk/docs/refusals.md"
	if *update {
		if err := os.WriteFile(name, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, page.Bytes()) {
		t.Errorf("%s is not that of the texts; run go test ./host -run TestTheRefusalsPage -update", name)
	}
}

func writeRequests(page *bytes.Buffer) {
	page.WriteString("## A request\n\n| Status | `error`, if it says nothing more | What to do |\n|---|---|---|\n")
	for k := host.Internal; k <= host.Timeout; k++ {
		row(page, fmt.Sprint(k.HTTPStatus()), k.String(), k.Cure())
	}
	page.WriteString(`
The capability call that a plugin made has an origin besides: ` + "`policy`, `grant` (the operator's, of the plugin), `host` or `upstream`" + ` (the
cluster, or what else was called). In Go, ` + "`kube.DeniedBy(err)`" + ` tells them apart; ` + "`bulkhead plugin dev`" + ` prints the lines that are missing.

## The detail of a 403 or 409

An operator's own rules have further codes.

| Detail | Why | What to do |
|---|---|---|
`)
	for _, r := range host.Refusals() {
		row(page, "`"+r.Code+"`", r.Why, r.Cure)
	}
}

func writeSessions(page *bytes.Buffer) {
	page.WriteString("\n## The end of a websocket or an event stream\n\n| Code | Reason | What the client does |\n|---|---|---|\n")
	for _, c := range host.EndCauses() {
		row(page, fmt.Sprint(c.Code), c.Err.Message, c.Cure)
	}
	row(page, fmt.Sprint(host.CloseRefused), "the plugin's own message", "correct what the message names")
	row(page, fmt.Sprint(host.CloseFailed), "the failure", "try again later; the operator's log has the reason")
	row(page, fmt.Sprint(host.CloseMalformed), "a text message is not UTF-8", "send text as UTF-8, and anything else as binary")
	row(page, fmt.Sprint(host.CloseTooLarge), "message is too large", "send less at once; a message has at most 8 MiB")
}

// installations are the golden files of refusals, and what was tried in each.
var installations = []struct{ file, title string }{
	{"plugin/testdata/grants.txt", "A plugin's grants in the configuration"},
	{"artifact/testdata/refusals.golden", "A plugin from a registry, a web server or a layout"},
	{"artifact/testdata/packages.golden", "A reference that an administrator gives"},
	{"artifact/testdata/lookup.golden", "A name that is looked up in catalogues"},
	{"artifact/testdata/catalog.golden", "A catalogue"},
}

func writeInstallations(t *testing.T, page *bytes.Buffer) {
	page.WriteString("\n## The installation of a plugin\n\nThe word after the reference is the step that failed.\n")
	for _, file := range installations {
		fmt.Fprintf(page, "\n### %s\n\n| What was refused | What to do |\n|---|---|\n", file.title)
		for _, text := range golden(t, file.file) {
			at := strings.LastIndex(text, "; ")
			if at < 0 {
				t.Errorf("%s: this refusal has no cure: %s", file.file, text)
				continue
			}
			row(page, "`"+text[:at]+"`", text[at+2:])
		}
	}
}

// golden returns the refusals of a golden file, each once.
func golden(t *testing.T, name string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	about := regexp.MustCompile("(?m)^(?:\t|plugin \"[a-z]+\": |grants\\.)(.+(?:\n  .+)*)")
	for _, m := range about.FindAllStringSubmatch(string(text), -1) {
		one := strings.Join(strings.Fields(m[1]), " ")
		if strings.HasPrefix(m[0], "grants.") {
			one = m[0]
		}
		one = strings.TrimPrefix(one, "check: ")
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	if len(list) == 0 {
		t.Errorf("%s has no refusals", name)
	}
	return list
}

func row(page *bytes.Buffer, cells ...string) {
	for _, c := range cells {
		page.WriteString("| " + strings.ReplaceAll(c, "|", "\\|") + " ")
	}
	page.WriteString("|\n")
}

// Every golden file of refusals is on the page.
func TestEachGoldenFileOfRefusalsIsOnThePage(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".golden") && !slices.ContainsFunc(installations, func(f struct{ file, title string }) bool { return f.file == path }) {
			t.Errorf("%s is not in installations", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Every code that the host's code or the shipped rules use is explained, and no other.
func TestEachCodeOfARefusalHasACure(t *testing.T) {
	used := map[string]bool{}
	find := func(pattern *regexp.Regexp, text []byte) {
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			used[string(m[1])] = true
		}
	}
	inGo := regexp.MustCompile(`(?:Detail:\s+|forbidden\(|notPermitted\([^,]+, |LogFull = |PolicyError = |unmet = |host\.Reason\{Code: |narrow\([^"]*)"([a-z_]+)"`)
	inRego := regexp.MustCompile(`(?:refusal|else) := \{"code": "([a-z_]+)"`)
	for _, root := range []string{".", "../policies"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			pattern := inGo
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "surfacetest":
				return fs.SkipDir // a double
			case strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, "_test.rego"):
				return nil
			case strings.HasSuffix(path, ".rego"):
				pattern = inRego
			case !strings.HasSuffix(path, ".go"):
				return nil
			}
			text, err := os.ReadFile(path)
			find(pattern, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for code := range used {
		if _, ok := host.RefusalOf(code); !ok {
			t.Errorf("the code %q is not explained", code)
		}
	}
	for _, r := range host.Refusals() {
		if !used[r.Code] || r.Why == "" || r.Cure == "" {
			t.Errorf("the code %q is not used, or not explained", r.Code)
		}
	}
	for _, c := range host.EndCauses() {
		if c.Cure == "" {
			t.Errorf("the cause %s has no cure", c.Name)
		}
	}
	for k := host.Internal; k <= host.Timeout; k++ {
		if k.Cure() == "" {
			t.Errorf("kind %v has no cure", k)
		}
	}
}
