package main

import (
	"encoding/json"
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

func TestTheUnchangedTestsThatChangesNeed(t *testing.T) {
	got := testsNeeded([]mutant{
		{Tested: "p", Test: "^(TestA)$"}, {Tested: "p", Test: "^(TestB)$"}, {Tested: "p", Test: "^(TestA)$"},
		{Tested: "q", Test: "^(TestA)$"}, {Tested: "q"}, {Tested: "q", Test: "^(TestB)$"},
	})
	if len(got) != 2 || got["p"] != "^(TestA)$|^(TestB)$" || got["q"] != "" {
		t.Errorf("%q", got)
	}
}

func TestTheFirstTestThatFailsIsNamed(t *testing.T) {
	for output, want := range map[string]string{
		"--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/x (0.00s)\n        --- FAIL: TestA/x/y (0.00s)\n--- FAIL: TestB (0.1s)\n": "TestA/x/y",
		"panic: test timed out after 1s\n\trunning tests:\n":                                                                    "timeout",
		"panic: something else": "",
	} {
		if got := failedTest(output); got != want {
			t.Errorf("failedTest(%q) = %q, want %q", output, got, want)
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
	write("r/r_test.go", "package r\n\nimport \"testing\"\n\nfunc TestNever(t *testing.T) { t.Error(\"never\") }\n")
	write("p/testdata/mutants.txt", strings.Join([]string{
		"# sums are sums\np.go\n- a + b\n+ a - b",
		"# one is one\np.go\n- return 1\n+ return 2",
		"# it compiles\np.go\n- return 1\n+ return \"\"",
		"# another package's tests count\np.go\n> q\n- return 1\n+ return 3",
		"# tests that fail anyway tell nothing\np.go\n> r\n- return 1\n+ return 4\n",
	}, "\n\n"))
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"-root", root}, &stdout, &stderr); code != 1 {
		t.Errorf("exit code %d, want 1; %s", code, &stderr)
	}
	for _, want := range []string{
		"1/5 killed", "p/p.go: sums are sums (TestSum)\n", "2/5 survived", "3/5 not built", "4/5 killed", "(TestOne)\n", "5/5 not tested",
		"survived: p/testdata/mutants.txt:6: one is one\n", "\np                                        5      2        1         1          1",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &stdout)
		}
	}
	if !strings.Contains(stderr.String(), "the tests of r fail without a change") {
		t.Errorf("standard error is %q", &stderr)
	}
	stdout.Reset()
	stderr.Reset()
	if code := run(t.Context(), []string{"-root", root, "-match", "sums", "-json"}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d for a change that is noticed, want 0", code)
	}
	var one struct{ Package, File, Promise, Outcome, By string }
	if err := json.Unmarshal([]byte(stdout.String()), &one); err != nil || one.Outcome != "killed" || one.By != "TestSum" || one.Package != "p" {
		t.Errorf("%+v, %v of %q", one, err, &stdout)
	}
	if !strings.Contains(stderr.String(), "\nall ") {
		t.Errorf("no table in %q", &stderr)
	}
	text, err := os.ReadFile(filepath.Join(root, "p/p.go"))
	if err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the source was changed: %s, %v", text, err)
	}
}
