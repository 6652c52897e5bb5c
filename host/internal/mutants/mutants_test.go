package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every change of every list applies to the present sources.
func TestEachChangeAppliesToTheSources(t *testing.T) {
	const root = "../../.."
	all, err := readAll(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, err := m.apply(root); err != nil {
			t.Error(err)
		}
		if strings.HasSuffix(m.File, "_test.go") {
			t.Errorf("%s/%s:%d changes a test", m.Package, listName, m.line)
		}
	}
}

func TestAnInvalidListNamesItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"a.go\n- x\n+ y\n":             "no promise",
		"# p\n- x\n+ y\n":              "names no file",
		"# p\na.go\n+ y\n":             "replaces nothing",
		"# p\na.go\n- x\n+ x\n":        "changes nothing",
		"# p\nsub/a.go\n- x\n+ y\n":    `2: "sub/a.go"`,
		"# p\na.go\nb.go\n- x\n+ y\n":  `3: "b.go"`,
		"\n\n# p\na.go\nwhat is this?": `5: "what is this?"`,
	} {
		if _, err := parse("p", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q) = %v, want %q", text, err, want)
		}
	}
}

// Changes that the tests detect, that they do not detect, and that do not compile
// have different outcomes.
func TestOutcomes(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.invalid/m\n\ngo 1.26\n")
	write("p/p.go", "package p\n\nfunc Sum(a, b int) int { return a + b }\n\nfunc Unused() int { return 1 }\n")
	write("p/p_test.go", "package p\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif Sum(1, 2) != 3 {\n\t\tt.Error(\"sum\")\n\t}\n}\n")
	write("q/q_test.go", "package q\n\nimport (\n\t\"testing\"\n\n\t\"example.invalid/m/p\"\n)\n\nfunc TestOne(t *testing.T) {\n\tif p.Unused() == 3 {\n\t\tt.Error(\"one\")\n\t}\n}\n")
	write("p/testdata/mutants.txt", strings.Join([]string{
		"# sums are sums\np.go\n- a + b\n+ a - b",
		"# one is one\np.go\n- return 1\n+ return 2",
		"# it compiles\np.go\n- return 1\n+ return \"\"",
		"# another package's tests count\np.go\n> q\n- return 1\n+ return 3\n",
	}, "\n\n"))
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"-root", root}, &stdout, &stderr); code != 1 {
		t.Errorf("exit code %d, want 1; %s", code, &stderr)
	}
	for _, want := range []string{"1/4 killed   p/p.go: sums are sums", "2/4 SURVIVED p/p.go: one is one", "3/4 NOT BUILT p/p.go: it compiles", "4/4 killed   p/p.go: another package's", "50 % killed"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &stdout)
		}
	}
	if code := run(t.Context(), []string{"-root", root, "-match", "sums"}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d for a change that is noticed, want 0", code)
	}
	text, err := os.ReadFile(filepath.Join(root, "p/p.go"))
	if err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the source was changed: %s, %v", text, err)
	}
}
