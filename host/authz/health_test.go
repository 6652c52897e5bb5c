package authz

import (
	"fmt"
	"strings"
	"testing"
)

// A policy that fails whatever it is asked looks like one that denies everybody.
func TestAPolicyThatDecidesNothingIsNotReady(t *testing.T) {
	for text, want := range map[string]string{
		"decision := 7":                "decision: is not an object",
		`decision := {"allow": "yes"}`: "allow is not a boolean",
		`decision := {"allow": true, "reason": {"code": "x"}, "obligations": {"idel": "5m"}}`: `unknown key "idel"`,
		`decision := {"allow": 1 / 0 == 1, "reason": {"code": "x"}}`:                          "divide by zero",
	} {
		e, dir := withPolicy(t, "package bulkhead.authz\n\n"+text+"\n")
		for _, err := range []error{e.Deciding(), e.Ready()} {
			if err == nil || !strings.Contains(err.Error(), "revision 1 fails for every question, so every request is denied") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
		}
		write(t, dir, "policy.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n")
		await(t, "repair", func() bool { return e.Ready() == nil && e.Deciding() == nil })
	}
}

// What it says of some says nothing of others.
func TestAPolicyThatMayDecideIsReadyUntilItFails(t *testing.T) {
	for name, text := range map[string]string{
		"undefined for most": `decision := data.bulkhead.default.decision if input.principal.user == "vic@example.com"`,
		"wrong for some":     "decision := 7 if input.capability\n\ndecision := data.bulkhead.default.decision if not input.capability",
		"wrong for those without permissions": "decision := 7 if count(input.permissions.actions) == 0\n\n" +
			"decision := data.bulkhead.default.decision if count(input.permissions.actions) > 0",
	} {
		if e, _ := withPolicy(t, "package bulkhead.authz\n\n"+text+"\n"); e.Deciding() != nil || e.Ready() != nil {
			t.Errorf("%s: %v", name, e.Ready())
		}
	}
	e, _ := withPolicy(t, "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision if input.principal.user == \"vic@example.com\"\n")
	fail := func(n int) {
		for i := range n {
			e.Decide(t.Context(), ask("ada@example.com", "gitops", fmt.Sprint("x", i, ".read")))
		}
	}
	says := func(want string) {
		t.Helper()
		if err := e.Ready(); e.Deciding() != nil || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %q", e.Deciding(), err, want)
		}
	}
	fail(1)
	says("the last 1 decisions failed and were denied; the last error: data.bulkhead.authz.decision is undefined")
	e.Decide(t.Context(), ask("vic@example.com", "gitops", "helm.read"))
	says("")
	fail(manyFailures - 1)
	says("")
	fail(1)
	says("the last 10 decisions failed")
	e.Decide(t.Context(), ask("vic@example.com", "gitops", "helm.read")) // from the cache
	says("")
}
