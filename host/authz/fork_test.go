package authz

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/cover"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

func readPolicy(t *testing.T, path string) *Policy {
	t.Helper()
	p, err := ReadPolicy(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var readSecrets = host.CapabilityCall{Name: "kube", Verb: "get", Resource: "secrets"}

// A fork of one shipped file is that file and the rest as shipped, in a
// directory and in a bundle.
func TestAFileOfAShippedNameAndPackageReplacesTheShippedOne(t *testing.T) {
	dir := t.TempDir()
	text := string(shippedFiles(t)["prohibitions.rego"])
	write(t, dir, "prohibitions.rego", strings.Replace(text, `resource == "secrets"`, `resource == "configmaps"`, 1))
	e := openEngine(t, dir, staff(t))
	if d := e.Decide(t.Context(), call(ada, readSecrets)); !d.Allow {
		t.Errorf("secrets: %+v", d)
	}
	maps := host.CapabilityCall{Name: "kube", Verb: "get", Resource: "configmaps"}
	if d := e.Decide(t.Context(), call(ada, maps)); d.Allow || d.Reason.Code != "prohibited" {
		t.Errorf("config maps: %+v", d)
	}
	if d := e.Decide(t.Context(), call(vic, maps)); d.Reason.Code != "prohibited" {
		t.Errorf("somebody else: %+v", d)
	}

	var packed bytes.Buffer
	if err := readPolicy(t, dir).Pack(&packed, "", nil); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "site.tar.gz", packed.String())
	p := readPolicy(t, filepath.Join(dir, "site.tar.gz"))
	q := call(ada, readSecrets)
	if d := p.Over(staff(t)).Decide(t.Context(), q); !d.Allow {
		t.Errorf("from a bundle: %+v", d)
	}
}

// Only name and package together say that a file is meant to be the shipped one.
func TestAFileOfAShippedNameAloneReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "prohibitions.rego", strings.Replace(freeze, `"freeze"`, `"thaw"`, 1))
	e := openEngine(t, dir, staff(t))
	if d := e.Decide(t.Context(), call(ada, readSecrets)); d.Allow || d.Reason.Code != "prohibited" {
		t.Errorf("decided %+v", d)
	}
}

// The shipped file would stay beside its fork.
func TestAForkUnderAnotherNameIsRefusedWithAHint(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ours.rego", string(shippedFiles(t)["default.rego"]))
	if _, err := ReadPolicy(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "ours.rego: a fork of a shipped file replaces it only if it has the same name") {
		t.Errorf("read with %v", err)
	}
}

// Of two files with one name, only the later would count.
func TestABundleWithAFileTwiceIsRefused(t *testing.T) {
	c := &source.Content{Data: map[string]any{}, Modules: []source.Module{
		{Name: "site.rego", Text: []byte(freeze)},
		{Name: "site.rego", Text: []byte("package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n")},
	}}
	var packed bytes.Buffer
	if err := source.Pack(&packed, c, "", nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "site.tar.gz")
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPolicy(t.Context(), path); err == nil || !strings.Contains(err.Error(), "/site.rego: another file has this name") {
		t.Errorf("read with %v", err)
	}
}

// So that who works on the shipped rules has the tools that operators have.
func TestTheShippedDirectoryIsAPolicy(t *testing.T) {
	p, shipped := readPolicy(t, "../../policies"), readPolicy(t, "")
	w := newWorld(t, 7)
	for range 300 {
		q := w.question()
		m := w.directory.Match(q)
		input, err := newInput(q, &m, &terms{}, everything)
		if err != nil {
			t.Fatal(err)
		}
		got, want := p.DecideInput(t.Context(), input), shipped.DecideInput(t.Context(), input)
		if what := whatDiffers(&want, &got); what != "" || want.Reason.Code == PolicyError {
			t.Fatalf("%+v: %s: %+v and %+v", q, what, want, got)
		}
	}
	covered := cover.New()
	results, err := p.RunTests(t.Context(), TestOptions{Trace: covered})
	failed := func(r TestResult) bool { return r.Failed() }
	if err != nil || slices.ContainsFunc(results, failed) || len(results) < 20 {
		t.Fatalf("%+v: %v", results, err)
	}
	report := covered.Report(p.Program().Own)
	for name := range shippedFiles(t) {
		if c := report.Files[name]; !strings.HasSuffix(name, "_test.rego") && (c == nil || c.Coverage < 95) {
			t.Errorf("coverage of %s: %+v", name, c)
		}
	}
}
