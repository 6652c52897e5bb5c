package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectoryCommandsCheckAndConvert(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if out, _, code := bulkhead(t, "directory", "crds"); code != 0 || strings.Count(out, "kind: CustomResourceDefinition") != 3 {
		t.Errorf("crds: %d, %q", code, out)
	}

	kobs := write("kobs.yaml", "apiVersion: kobs.io/v1beta1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, teams: [{name: a}], permissions: {plugins: [{name: azure}]}}\n")
	out, report, code := bulkhead(t, "directory", "import", kobs)
	if code != 0 || !strings.Contains(out, "id: ann@example.com") || !strings.Contains(report, "not converted: "+kobs+":4: User ann: spec.teams") ||
		!strings.Contains(report, "1 users, 0 teams converted; 1 notes, 0 problems") {
		t.Errorf("import: %d\n%s\n%s", code, out, report)
	}
	write("people/ann.yaml", out)
	if out, _, code := bulkhead(t, "directory", "check", filepath.Join(dir, "people")); code != 0 || !strings.HasPrefix(out, "1 users, 0 teams, ") {
		t.Errorf("check of what was imported: %d, %q", code, out)
	}
	write("people/bad.yaml", "kind: User\n")
	out, _, code = bulkhead(t, "directory", "check", "--json", filepath.Join(dir, "people"))
	var r struct {
		Users    int
		Problems []struct {
			File string
			Line int
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || r.Users != 1 || len(r.Problems) == 0 || r.Problems[0].File != "bad.yaml" || r.Problems[0].Line != 1 {
		t.Errorf("check of a bad entry: %d, %v, %q", code, err, out)
	}
	config := write("bulkhead.yaml", "auth: {dev: {}}\ndirectory: {files: ./people}\n")
	if out, _, code := bulkhead(t, "directory", "check", "-c", config); code != 1 || !strings.Contains(out, "bad.yaml:1: ") {
		t.Errorf("check of the configured directory: %d, %q", code, out)
	}
	for args, want := range map[string]int{
		"import " + filepath.Join(dir, "absent"): 2, "import": 2, "import " + config: 1, "check " + filepath.Join(dir, "absent"): 2, "bogus": 2,
	} {
		if _, stderr, code := bulkhead(t, append([]string{"directory"}, strings.Fields(args)...)...); code != want {
			t.Errorf("%s: exit code %d, want %d (%s)", args, code, want, stderr)
		}
	}
}
