package authz

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

func TestAnOperatorsShimStandsBeforeTheShippedRules(t *testing.T) {
	e, _ := withPolicy(t, freeze)
	upgrade := ask(ada, "gitops", "helm.upgrade")
	upgrade.Route.Mutates = true
	if d := e.Decide(t.Context(), upgrade); d.Allow || d.Reason.Code != "freeze" {
		t.Errorf("decided %+v", d)
	}
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); !d.Allow {
		t.Errorf("decided %+v", d)
	}
	if d := e.Decide(t.Context(), ask("eve@example.com", "gitops", "helm.read")); d.Allow {
		t.Errorf("decided %+v", d)
	}
}

// broken are policies that must not serve, and what their error names.
var broken = map[string]struct{ text, names string }{
	"syntax":             {"package bulkhead.authz\n\ndecision := {\n", "policy.rego:"},
	"unsafe variable":    {"package bulkhead.authz\n\ndecision := x\n", "policy.rego:3"},
	"empty":              {"", "policy.rego"},
	"no decision":        {"package bulkhead.authz\n\nallow := true\n", "bulkhead.authz.decision"},
	"network":            {"package bulkhead.authz\n\ndecision := http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"})\n", "policy.rego:3"},
	"environment":        {"package bulkhead.authz\n\ndecision := opa.runtime()\n", "policy.rego:3"},
	"deep":               {"package bulkhead.authz\n\ndecision := " + strings.Repeat("[x | x := ", 30) + "1" + strings.Repeat("]", 30) + "\n", "policy.rego:3"},
	"deep texts":         {"package bulkhead.authz\n\ndecision := " + strings.Repeat(`$"{`, 30) + "1" + strings.Repeat(`}"`, 30) + "\n", "policy.rego:3"},
	"deep sets":          {"package bulkhead.authz\n\ndecision := " + strings.Repeat("{", 20000) + "1" + strings.Repeat("}", 20000) + "\n", "policy.rego:3"},
	"failing test":       {freeze + "\ntest_of_nothing if {\n\t1 == 2\n}\n", "policy.rego:11"},
	"conflict in a test": {freeze + "\nf := input.a\n\nf := input.b\n\ntest_f if {\n\tf == 1 with input as {\"a\": 1, \"b\": 2}\n}\n", "policy.rego"},
}

func TestABrokenPolicyLeavesTheOldServing(t *testing.T) {
	e, dir := withPolicy(t, freeze)
	upgrade := ask(ada, "gitops", "helm.upgrade")
	upgrade.Route.Mutates = true
	for name, c := range broken {
		serving := e.Revision()
		write(t, dir, "policy.rego", c.text)
		await(t, name, func() bool { err := e.Ready(); return err != nil && strings.Contains(err.Error(), c.names) })
		if d := e.Decide(t.Context(), upgrade); d.Reason.Code != "freeze" || d.Revision != serving {
			t.Errorf("%s: revision %d decided %+v", name, e.Revision(), d)
		}
		// Back to nothing wrong, so that the next error is its own.
		write(t, dir, "policy.rego", freeze)
		await(t, "repair", func() bool { return e.Ready() == nil })
	}
}

func TestASkippedTestIsNoneThatPassed(t *testing.T) {
	e, _ := withPolicy(t, freeze+"\ntodo_test_later if false\n")
	if n := e.Status().Tests; n != 1 {
		t.Errorf("%d tests passed", n)
	}
}

func TestARepairedPolicyServes(t *testing.T) {
	e, dir := withPolicy(t, freeze)
	changed := e.Changed()
	write(t, dir, "policy.rego", broken["syntax"].text)
	await(t, "refusal", func() bool { return e.Ready() != nil })
	write(t, dir, "policy.rego", strings.Replace(freeze, `"freeze"`, `"thaw"`, 1))
	<-changed
	if e.Ready() != nil || e.Revision() != 2 {
		t.Errorf("revision %d, %v", e.Revision(), e.Ready())
	}
	upgrade := ask(ada, "gitops", "helm.upgrade")
	upgrade.Route.Mutates = true
	if d := e.Decide(t.Context(), upgrade); d.Reason.Code != "thaw" || d.Revision != 2 {
		t.Errorf("decided %+v", d)
	}
}

// Neither mending a mistake by taking it back nor a directory that was away for
// a while is another revision.
func TestWhatServesAlreadyIsNoNewRevision(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "policy.rego", freeze)
	var out logtest.Log
	e, err := Open(t.Context(), Config{Source: Source{Dir: dir}, Directory: staff(t), Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	write(t, dir, "policy.rego", broken["syntax"].text)
	await(t, "refusal", func() bool { return e.Ready() != nil })
	write(t, dir, "policy.rego", freeze)
	await(t, "undoing", func() bool { return e.Ready() == nil && out.Count("the published policy is current again") == 1 })
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	await(t, "the directory to be missed", func() bool { return e.Ready() != nil })
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	await(t, "the directory to be back", func() bool { return e.Ready() == nil })
	if n := e.Revision(); n != 1 {
		t.Errorf("revision %d", n)
	}
}

func TestAnUnusablePolicyRefusesToStart(t *testing.T) {
	d := staff(t)
	for name, c := range broken {
		dir := t.TempDir()
		write(t, dir, "policy.rego", c.text)
		_, err := Open(t.Context(), Config{Source: Source{Dir: dir}, Directory: d})
		if err == nil || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "policy.dir") ||
			host.KindOf(err) != host.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Open(t.Context(), Config{Source: Source{Dir: filepath.Join(t.TempDir(), "missing")}, Directory: d})
	if err == nil || !strings.Contains(err.Error(), "policy.dir") {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestWhatAPolicyCannotSayIsDenied(t *testing.T) {
	for name, text := range map[string]string{
		"undefined":          "decision := {\"allow\": true, \"reason\": {\"code\": \"x\"}} if input.route.nothing",
		"conflict":           "decision := {\"allow\": input.route.mutates == x, \"reason\": {\"code\": \"x\"}} if some x in [true, false]",
		"builtin error":      "decision := {\"allow\": true, \"reason\": {\"code\": \"x\"}} if not units.parse(input.route.name) == 1",
		"not an object":      "decision := true",
		"allow is a text":    "decision := {\"allow\": \"true\", \"reason\": {\"code\": \"x\"}}",
		"a set":              "decision := {\"allow\"}",
		"unknown obligation": "decision := {\"allow\": true, \"reason\": {\"code\": \"x\"}, \"obligations\": {\"wear\": \"a hat\"}}",
		"cluster identity":   "decision := {\"allow\": true, \"reason\": {\"code\": \"x\"}, \"obligations\": {\"impersonate\": {\"user\": \"a\", \"groups\": [\"system:masters\"]}}}",
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := withPolicy(t, "package bulkhead.authz\n\n"+text+"\n")
			for range 2 {
				d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read"))
				if d.Allow || d.Reason.Code != PolicyError || d.Cached || d.Obligations.Impersonate != nil {
					t.Errorf("decided %+v", d)
				}
			}
		})
	}
}

func TestASlowPolicyIsCutAndDenies(t *testing.T) {
	e, _ := withPolicy(t, `package bulkhead.authz

decision := {"allow": n > 0, "reason": {"code": "x"}}

n := count([1 | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b > 0])
`)
	e.deadline = 50 * time.Millisecond
	start := time.Now()
	d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read"))
	if d.Allow || d.Reason.Code != PolicyError {
		t.Errorf("decided %+v", d)
	}
	// The evaluation would take minutes; the bound leaves room for a busy machine.
	if took := time.Since(start); took < e.deadline || took > 100*e.deadline {
		t.Errorf("it took %v", took)
	}
}

func TestAPanicDenies(t *testing.T) {
	e := openEngine(t, "", staff(t))
	rev := &revision{compiled: e.current.Load().compiled}
	rev.eval = func(context.Context, ast.Value, time.Duration, ...rego.EvalOption) (any, error) { panic("boom") }
	e.current.Store(&published{revision: rev, number: 9})
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); d.Allow || d.Reason.Code != PolicyError || d.Revision != 9 {
		t.Errorf("decided %+v", d)
	}
}

func TestHammerDecisionsDuringPublishing(t *testing.T) {
	e, dir := withPolicy(t, freeze)
	stop := make(chan struct{})
	var deciders sync.WaitGroup
	for range 4 {
		deciders.Go(func() {
			upgrade := ask(ada, "gitops", "helm.upgrade")
			upgrade.Route.Mutates = true
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Odd revisions say freeze, even ones thaw.
				d := e.Decide(t.Context(), upgrade)
				if want := []string{"thaw", "freeze"}[d.Revision%2]; d.Allow || d.Reason.Code != want {
					t.Errorf("revision %d decided %+v", d.Revision, d)
					return
				}
			}
		})
	}
	for i := range 4 {
		changed := e.Changed()
		write(t, dir, "policy.rego", strings.Replace(freeze, `"freeze"`, []string{`"thaw"`, `"freeze"`}[i%2], 1))
		<-changed
	}
	close(stop)
	deciders.Wait()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); !d.Allow {
		t.Errorf("after closing decided %+v", d)
	}
}

// A package that is misspelt, or a file that is moved, would leave the shipped
// rules deciding alone.
func TestAPolicyWithoutAPartInTheDecisionIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"a misspelt package": {"policy.rego", strings.Replace(freeze, "bulkhead.authz", "bulkhead.auths", 1), "is a package misspelt?"},
		"a library alone":    {"policy.rego", "package site\n\nfrozen := true\n", "is a package misspelt?"},
		"nothing":            {"notes.txt", "", "it contains no *.rego"},
		"data alone":         {"site.json", "{}", "it contains no *.rego"},
		"tests alone":        {"site_test.rego", "package site_test\n\ntest_it if true\n", "it contains no *.rego except tests"},
		"another suffix":     {"policy.REGO", freeze, "not read: policy.REGO"},
		"a subdirectory":     {"sub/policy.rego", freeze, "not read: sub/"},
	} {
		dir, good := t.TempDir(), t.TempDir()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, c.file)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, dir, c.file, c.text)
		_, err := Open(t.Context(), Config{Source: Source{Dir: dir}, Directory: staff(t)})
		_, byTool := ReadPolicy(t.Context(), dir)
		if err == nil || byTool == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(byTool.Error(), c.want) {
			t.Errorf("%s: %v; a tool: %v", name, err, byTool)
		}
		// Later, what served goes on.
		write(t, good, "good.rego", freeze)
		e := openEngine(t, good, staff(t))
		if err := errors.Join(os.Rename(good, good+".old"), os.Rename(dir, good)); err != nil {
			t.Fatal(err)
		}
		await(t, name, func() bool { return e.Ready() != nil && strings.Contains(e.Ready().Error(), c.want) })
		if e.Revision() != 1 {
			t.Errorf("%s is revision %d", name, e.Revision())
		}
	}
}

// A file that is moved out of sight while others stay is not refused, and told.
func TestRulesThatAreNotReadAreToldOf(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "policy.rego", freeze)
	write(t, dir, "old/more.rego", freeze)
	write(t, dir, "other.Rego", freeze)
	var out logtest.Log
	e, err := Open(t.Context(), Config{Source: Source{Dir: dir}, Directory: staff(t), Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil || out.Count(`in="[old/ other.Rego]"`) != 1 {
		t.Errorf("%v, %s", err, &out)
	}
}

func TestDataBesideTheRegoIsRead(t *testing.T) {
	e, dir := withPolicy(t, `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "frozen"}} if input.route.plugin in data.site.frozen
else := data.bulkhead.default.decision
`)
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); !d.Allow {
		t.Errorf("decided %+v", d)
	}
	changed := e.Changed()
	write(t, dir, "site.yaml", "site: {frozen: [gitops]}\n")
	<-changed
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); d.Allow || d.Reason.Code != "frozen" {
		t.Errorf("decided %+v", d)
	}
	for name, text := range map[string]string{
		"over a rule": "bulkhead: {authz: {decision: {allow: true}}}\n", "not YAML": "site: [\n", "the directory's": "directory: {}\n",
	} {
		write(t, dir, "site.yaml", text)
		await(t, name, func() bool { return e.Ready() != nil })
		write(t, dir, "site.yaml", "site: {frozen: [gitops]}\n")
		await(t, "repair", func() bool { return e.Ready() == nil })
	}
}
