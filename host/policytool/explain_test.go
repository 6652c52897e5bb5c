package policytool

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

func TestExplainNamesRulePermissionAndNearMiss(t *testing.T) {
	shipped, d := readPolicy(t, ""), staff(t)
	may := Explain(t.Context(), shipped, kinds, question(t, Ask{User: "pat@example.com", Action: "pods:delete", Resource: "dev/shop/pods:web", Verb: "delete"}), d)
	if !may.Allow || len(may.Granted) != 3 || may.Granted[2].From != "team payments" || may.Granted[2].At != "people.yaml:31" ||
		!strings.Contains(may.Sentence, "team payments (people.yaml:31)") {
		t.Errorf("%+v", may)
	}
	not := Explain(t.Context(), shipped, kinds, question(t, Ask{User: "pat@example.com", Action: "pods:delete", Resource: "dev/bank/pods:web", Verb: "delete"}), d)
	if not.Allow || not.Reason.Code != "no_resource" || len(not.Near) != 1 || strings.Join(not.Near[0].Misses, ",") != "namespace" {
		t.Errorf("%+v", not)
	}
	nobody := Explain(t.Context(), shipped, kinds, question(t, Ask{User: "eve@example.com", Action: "pods:delete"}), d)
	if nobody.Allow || len(nobody.Granted)+len(nobody.Near) != 0 || nobody.Reason.Code != "no_plugin" {
		t.Errorf("%+v", nobody)
	}
	q := question(t, Ask{User: string(ada), Action: "gitops:helm.upgrade"})
	frozen := Explain(t.Context(), withPolicy(t, freeze), kinds, q, d)
	if frozen.Allow || frozen.Rules[0] != (Place{"bulkhead.authz.decision", "policy.rego:3"}) {
		t.Errorf("%+v", frozen)
	}
}

// What Azure's custom entries say is told entry by entry, each with what it misses.
func TestAnExplanationOfAzureNamesTheEntry(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "people.yaml", people+`---
`+apiVersion+`
kind: User
metadata: {name: bob}
spec: {id: bob, roles: [viewer], teams: [shop]}
---
`+apiVersion+`
kind: Team
metadata: {name: shop}
spec:
  id: shop
  permissions:
    plugins:
      - name: azure
        custom:
          - {resources: [containerinstances], resourceGroups: [RG1], verbs: [get]}
          - {resources: [containerinstances], resourceGroups: ["rg*"], verbs: [put], instances: [dev]}
          - anything
`)
	d := openDirectory(t, dir)
	explain := func(p *authz.Policy, a Ask) *Explanation { return Explain(t.Context(), p, kinds, question(t, a), d) }
	misses := func(x *Explanation) string {
		var all []string
		for _, l := range x.Near {
			if l.Kind == "entry" {
				all = append(all, l.Text+" misses "+strings.Join(l.Misses, ", ")+" at "+l.At)
			}
		}
		return strings.Join(all, "\n")
	}
	shipped := readPolicy(t, "")

	may := explain(shipped, Ask{User: "bob", Action: "azure:containerinstances.read", Resource: "dev/rg1/containerinstances:web"})
	i := slices.IndexFunc(may.Granted, func(l GrantLine) bool { return l.Kind == "entry" })
	if !may.Allow || i < 0 || may.Granted[i].From != "team shop" || may.Granted[i].At != "people.yaml:48" || !strings.Contains(may.Granted[i].Text, `"RG1"`) ||
		!strings.Contains(may.Sentence, "the call by an entry of team shop (people.yaml:48)") {
		t.Errorf("%+v", may)
	}
	not := explain(shipped, Ask{User: "bob", Action: "azure:containerinstances.read", Resource: "prod/rg2/containerinstances"})
	want := `{"resourceGroups":["RG1"],"resources":["containerinstances"],"verbs":["get"]} misses resource group at people.yaml:48
{"instances":["dev"],"resourceGroups":["rg*"],"resources":["containerinstances"],"verbs":["put"]} misses verb, instance at people.yaml:48
"anything" misses resource, verb, resource group, instance at people.yaml:48`
	if not.Allow || misses(not) != want || not.Sentence != `bob's permissions for the plugin "azure" have custom entries, and none is for get of containerinstances in resource group rg2 of prod.` {
		t.Errorf("%s\n%s", not.Sentence, misses(not))
	}
	none := explain(shipped, Ask{User: string(vic), Action: "azure:monitor.read", Resource: "prod//monitor"})
	if none.Allow || misses(none) != "" || !strings.Contains(none.Sentence, "have no custom entry") || !strings.Contains(none.Sentence, "any resource group of prod") ||
		none.Granted[len(none.Granted)-1].Text != "* without entries" {
		t.Errorf("%+v", none)
	}
	// An operator's own azure.rego may know nothing of what an entry misses.
	own := t.TempDir()
	write(t, own, "azure.rego", "package bulkhead.default\n\nazure_triples := input.permissions.plugins[0].custom\n")
	if x := explain(readPolicy(t, own), Ask{User: "bob", Action: "azure:monitor.read", Resource: "prod/rg9/monitor"}); x.Error != "" || misses(x) != "" {
		t.Errorf("%+v", x)
	}
}

func TestAnExplanationCountsWhatIsAsserted(t *testing.T) {
	shipped, d := readPolicy(t, ""), staff(t)
	for _, c := range []struct {
		ask  Ask
		ok   bool
		want string
	}{
		{Ask{User: "eve", Roles: []string{"viewer"}, Unlisted: true}, true, "role viewer"},
		{Ask{User: "eve", Teams: []string{"payments"}, Unlisted: true}, true, "team payments"},
		{Ask{User: "eve", Roles: []string{"viewer"}}, false, "admitted as unlisted"},
		{Ask{User: "eve", Roles: []string{"breakglass", "nothing"}, Unlisted: true}, false, `role nothing: it does not exist in the directory is ignored`},
		{Ask{User: "eve", Roles: []string{"breakglass"}, Unlisted: true, Reason: "INC-1"}, true, "because a reason is stated"},
		{Ask{User: "odd@example.com", Roles: []string{"viewer", "viewer"}}, true, "with the asserted roles viewer"},
	} {
		c.ask.Action = "pods:list.read"
		x := Explain(t.Context(), shipped, kinds, question(t, c.ask), d)
		said := x.Question + "\n" + x.Sentence + "\n" + strings.Join(x.Ignored, ", ") + " is ignored"
		if x.Allow != c.ok || !strings.Contains(said, c.want) {
			t.Errorf("%+v: %v, %s", c.ask, x.Allow, said)
		}
	}
}

// A permission through a membership with a limit says when that ends, and when it
// ended.
func TestAnExplanationSaysWhenAMembershipEnds(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		until time.Time
		ended bool
	}{"it lasts": {now.Add(time.Hour), false}, "it ended": {now.Add(-time.Hour), true}} {
		until := c.until.UTC().Truncate(time.Second)
		dir := t.TempDir()
		write(t, dir, "people.yaml", apiVersion+`kind: User
metadata: {name: ann}
spec: {id: ann, roles: [viewer, {name: editor, until: `+until.Format(time.RFC3339)+`}]}
`)
		x := Explain(t.Context(), readPolicy(t, ""), kinds, ask("ann", "gitops", "helm.upgrade"), openDirectory(t, dir))
		if x.Allow == c.ended {
			t.Errorf("%s: %+v", name, x)
		}
		for _, l := range x.Granted {
			if limited := l.From == "role editor"; limited != l.Until.Equal(until) || limited == l.Until.IsZero() {
				t.Errorf("%s: %+v", name, l)
			}
		}
		if !c.ended {
			continue
		}
		if x.Reason.Code != "no_action" || !strings.HasSuffix(x.Sentence, "; the membership in role editor ended at "+until.Format(time.RFC3339)+".") {
			t.Errorf("%s: %+v", name, x)
		}
		if l := x.Near[0]; l.From != "role editor" || !l.Ended() || len(l.Misses) != 1 || !l.Until.Equal(until) {
			t.Errorf("%s: the nearest is %+v", name, l)
		}
	}
}
