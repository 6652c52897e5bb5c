package authz

import (
	"bytes"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), s)
}

func TestAShadowTellsWhatItWouldChangeAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "p.rego", freeze)
	var out journal
	e, err := Open(t.Context(), Config{Directory: staff(t), Shadow: &Source{Dir: dir}, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	change := ask(ada, "gitops", "helm.upgrade")
	change.Route.Mutates = true
	for range 5 {
		if d := e.Decide(t.Context(), change); !d.Allow {
			t.Fatalf("the candidate decided: %+v", d)
		}
	}
	e.Decide(t.Context(), ask(ada, "gitops", "helm.read"))
	await(t, "comparing", func() bool { return e.Status().Shadow.Compared == 6 })
	s := e.Status().Shadow
	if s.Differ["denies"] != 5 || len(s.Differ) != 1 || len(s.Examples) != 1 {
		t.Fatalf("%+v", s)
	}
	if x := s.Examples[0]; x.User != string(ada) || x.Old != "permitted" || x.New != "freeze" || x.Count != 5 || x.DecisionID == "" {
		t.Errorf("%+v", x)
	}
	if n := out.count("shadow policy decides differently"); n != 1 {
		t.Errorf("%d lines, want one for the one question", n)
	}
	// Another candidate starts from nothing.
	write(t, dir, "p.rego", strings.Replace(freeze, "input.route.mutates", `input.route.name == "nothing"`, 1))
	await(t, "the next candidate", func() bool { return e.Status().Shadow.Revision == 2 })
	if s := e.Status().Shadow; s.Compared != 0 || len(s.Differ)+len(s.Examples) != 0 {
		t.Errorf("the second revision begins with what the first did: %+v", s)
	}
	e.Decide(t.Context(), change)
	await(t, "comparing again", func() bool { s := e.Status().Shadow; return s.Compared == 1 && len(s.Differ) == 0 })
}

func TestACandidateThatIsBrokenOrMissingDisturbsNobody(t *testing.T) {
	for name, prepare := range map[string]func(dir string){
		"broken": func(dir string) { write(t, dir, "p.rego", broken["syntax"].text) },
		"missing": func(dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(dir)
			e, err := Open(t.Context(), Config{Directory: staff(t), Shadow: &Source{Dir: dir}})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if s := e.Status().Shadow; e.Ready() != nil || !strings.Contains(s.Problem, "policy.shadow.dir: ") || !strings.Contains(s.Problem, "; nothing is compared") {
				t.Errorf("%v, %+v", e.Ready(), s)
			}
			if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); !d.Allow || len(e.shadow.queue) > 0 {
				t.Errorf("decided %+v, %d wait to be compared", d, len(e.shadow.queue))
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "p.rego", freeze)
			await(t, "repair", func() bool { s := e.Status().Shadow; return s.Revision == 1 && s.Problem == "" })
			write(t, dir, "p.rego", broken["syntax"].text)
			await(t, "the next mistake", func() bool { return strings.Contains(e.Status().Shadow.Problem, "; revision 1 goes on in the shadow") })
		})
	}
}

func TestExplainNamesRulePermissionAndNearMiss(t *testing.T) {
	e := openEngine(t, "", staff(t))
	may := e.Explain(t.Context(), question(t, Ask{User: "pat@example.com", Action: "pods:delete", Resource: "dev/shop/pods:web", Verb: "delete"}))
	if !may.Allow || len(may.Granted) != 3 || may.Granted[2].From != "team payments" || may.Granted[2].At != "people.yaml:31" ||
		!strings.Contains(may.Sentence, "team payments (people.yaml:31)") {
		t.Errorf("%+v", may)
	}
	not := e.Explain(t.Context(), question(t, Ask{User: "pat@example.com", Action: "pods:delete", Resource: "dev/bank/pods:web", Verb: "delete"}))
	if not.Allow || not.Reason.Code != "no_resource" || len(not.Near) != 1 || strings.Join(not.Near[0].Misses, ",") != "namespace" {
		t.Errorf("%+v", not)
	}
	nobody := e.Explain(t.Context(), question(t, Ask{User: "eve@example.com", Action: "pods:delete"}))
	if nobody.Allow || len(nobody.Granted)+len(nobody.Near) != 0 || nobody.Reason.Code != "no_plugin" {
		t.Errorf("%+v", nobody)
	}
	own, _ := withPolicy(t, freeze)
	q := question(t, Ask{User: string(ada), Action: "gitops:helm.upgrade"})
	frozen := own.Explain(t.Context(), q)
	if frozen.Allow || frozen.Rules[0] != (Place{"bulkhead.authz.decision", "policy.rego:3"}) {
		t.Errorf("%+v", frozen)
	}
}

func question(t *testing.T, a Ask) *host.Question {
	t.Helper()
	q, err := a.Question()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// A question about an address finds the user however the address is written.
func TestAQuestionNamesUsersAndTeamsAsPoliciesKnowThem(t *testing.T) {
	q := question(t, Ask{User: "Ann@Example.com", Action: "pods:delete", Teams: []string{"Ops@Example.com", "ops@example.com", "CORP-Ops"}})
	if p := q.Principal; p.User != "ann@example.com" || strings.Join(p.Asserted.Teams, " ") != "CORP-Ops ops@example.com" {
		t.Errorf("%+v", p)
	}
}

func TestQuestionsInWordsAreRead(t *testing.T) {
	for resource, want := range map[string]host.CapabilityCall{
		"dev/shop/pods:web":             {Name: "kube", Verb: "get", Resource: "pods", Object: "web", Namespace: "shop"},
		"dev/shop/pods/exec:web":        {Name: "exec", Verb: "create", Resource: "pods", Subresource: "exec", Object: "web", Namespace: "shop"},
		"dev/shop/releases.helm.sh:web": {Name: "helm", Verb: "upgrade", Resource: "releases", Group: "helm.sh", Object: "web", Namespace: "shop"},
		"dev//applications.argoproj.io": {Name: "kube", Verb: "list", Resource: "applications", Group: "argoproj.io", Spans: true},
		"dev//clusterroles.rbac.authorization.k8s.io:system:node": {
			Name: "kube", Verb: "get", Resource: "clusterroles", Group: "rbac.authorization.k8s.io", Object: "system:node",
		},
		"dev//nodes:n1": {Name: "kube", Verb: "get", Resource: "nodes", Object: "n1"},
	} {
		if want.Cluster, want.Effect = "dev", host.EffectRead; want.Verb == "create" || want.Verb == "upgrade" {
			want.Effect = host.EffectChange
		}
		if q := question(t, Ask{User: "a", Action: "gitops:helm.upgrade", Resource: resource}); *q.Capability != want {
			t.Errorf("%s: %+v", resource, *q.Capability)
		}
	}
	for want, a := range map[string]Ask{
		"needs a user":                    {},
		"needs a user and an action":      {User: "a"},
		"an action PLUGIN:NAME":           {User: "a", Action: "x"},
		"CLUSTER/NAMESPACE/RESOURCE":      {User: "a", Action: "a:b", Resource: "dev"},
		"none is given":                   {User: "a", Action: "a:b", Verb: "get"},
		"azure, exec, helm and kube":      {User: "a", Action: "a:b", Resource: "dev/shop/pods", Capability: "teleport"},
		`azure has no "vaults"; it has`:   {User: "a", Action: "a:b", Resource: "prod/rg1/vaults", Capability: "azure"},
		`azure has no verb "delete"`:      {User: "a", Action: "a:b", Resource: "prod/rg1/monitor", Verb: "delete"},
		"does not tell azure's verb":      {User: "a", Action: "azure:zzz.bogus", Resource: "prod/rg1/monitor"},
		`azure has no "monitr"`:           {User: "a", Action: "azure:monitor.read", Resource: "prod/rg1/monitr"},
		`azure has no "monitors"`:         {User: "a", Action: "cloud:monitor.read", Resource: "prod/rg1/monitors"},
		`resource "a/b/c/d/e" is neither`: {User: "a", Action: "a:b", Resource: "a/b/c/d/e"},
		`resource "a/b/pods:" is neither`: {User: "a", Action: "a:b", Resource: "a/b/pods:"},
		"needs a resource group":          {User: "a", Action: "a:b.read", Resource: "prod//containerinstances:web"},
		"roles: one is empty":             {User: "a", Action: "a:b", Roles: []string{""}},
		"teams: one is empty or over":     {User: "a", Action: "a:b", Teams: []string{strings.Repeat("x", 257)}},
		"roles: over 100":                 {User: "a", Action: "a:b", Roles: slices.Repeat([]string{"x"}, 101)},
	} {
		if _, err := a.Question(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", a, err, want)
		}
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
	explain := func(p *Policy, a Ask) *Explanation { return p.Explain(t.Context(), question(t, a), d) }
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
	e := openEngine(t, "", staff(t))
	for _, c := range []struct {
		ask  Ask
		ok   bool
		want string
	}{
		{Ask{User: "eve", Roles: []string{"viewer"}, Unlisted: true}, true, "role viewer"},
		{Ask{User: "eve", Teams: []string{"payments"}, Unlisted: true}, true, "team payments"},
		{Ask{User: "eve", Roles: []string{"viewer"}}, false, "admitted as unlisted"},
		{Ask{User: "eve", Roles: []string{"breakglass", "nothing"}, Unlisted: true}, false, `role nothing: the directory has no such is ignored`},
		{Ask{User: "eve", Roles: []string{"breakglass"}, Unlisted: true, Reason: "INC-1"}, true, "because a reason is stated"},
		{Ask{User: "odd@example.com", Roles: []string{"viewer", "viewer"}}, true, "with the asserted roles viewer"},
	} {
		c.ask.Action = "pods:list.read"
		x := e.Explain(t.Context(), question(t, c.ask))
		said := x.Question + "\n" + x.Sentence + "\n" + strings.Join(x.Ignored, ", ") + " is ignored"
		if x.Allow != c.ok || !strings.Contains(said, c.want) {
			t.Errorf("%+v: %v, %s", c.ask, x.Allow, said)
		}
	}
}

func TestCheckWarnsOfWhatCosts(t *testing.T) {
	dir := t.TempDir()
	var rules strings.Builder
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		rules.WriteString("\nslow if concat(\"/\", [input.route.plugin, input.route.name]) == \"x/" + n + "\"\n")
		rules.WriteString("\nfast if input.route.name == \"" + n + "\"\n")
	}
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if {
	slow
	fast
} else := {"allow": false, "reason": {"code": "team"}} if {
	some id
	data.directory.teams[id].permissions.actions[_] == "*"
} else := {"allow": false, "reason": {"code": "late"}} if {
	time.now_ns() > 10
	input.principal.login.method == "dev"
	object.get(input.capability, "namespace", "") == "shop"
} else := data.bulkhead.default.decision
`+rules.String())
	p, err := ReadPolicy(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range p.Warnings() {
		got = append(got, w.Code)
		if w.Code == "scan" && !strings.HasPrefix(w.Text, "data.directory.teams[id].permissions.actions[_] goes") {
			t.Errorf("%s", w.String())
		}
		if w.Code == "unindexed" && (!strings.Contains(w.Text, "6 rules of data.bulkhead.authz.slow") || w.Line != 15) {
			t.Errorf("%s", w.String())
		}
	}
	if want := "schema directory scan uncached per_login per_object unindexed"; strings.Join(got, " ") != want {
		t.Errorf("warned of %v, want %s", got, want)
	}
	dir = t.TempDir()
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if {
	some team in input.principal.teams
	"*" in data.directory.teams[team].permissions.actions
	data.directory.users[input.principal.user].name == "x"
} else := data.bulkhead.default.decision
`)
	if p, err = ReadPolicy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Warnings() {
		if w.Code != "directory" && w.Code != "schema" {
			t.Errorf("a policy that names its teams: %s", w.String())
		}
	}
	shipped, err := ReadPolicy(t.Context(), "")
	if err != nil || len(shipped.Warnings()) != 0 {
		t.Errorf("%v, %v", shipped.Warnings(), err)
	}
}

// A policy may look at everybody. What it saw is of the state of the directory
// that permissions were matched in, and its decisions end with that state.
func TestAPolicyMayReadTheDirectory(t *testing.T) {
	dir, people2 := t.TempDir(), t.TempDir()
	write(t, people2, "people.yaml", people)
	d := openDirectory(t, people2)
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": true, "reason": {"code": "yes"}} if {
	"payments" in data.directory.users[input.principal.user].teams
	data.directory.teams.payments.permissions.plugins[0].name == "pods"
} else := {"allow": false, "reason": {"code": "no"}}

test_nobody_is_there if decision.reason.code == "no" with input as {}
`)
	e := openEngine(t, dir, d)
	pat := ask("pat@example.com", "pods", "x")
	if d := e.Decide(t.Context(), pat); !d.Allow {
		t.Fatalf("decided %+v", d)
	}
	if d := e.Decide(t.Context(), pat); !d.Cached {
		t.Errorf("decided %+v", d)
	}
	changed := d.Changed()
	write(t, people2, "people.yaml", strings.Replace(people, "plugins: [{name: pods}]", "plugins: [{name: logs}]", 1))
	<-changed
	if d := e.Decide(t.Context(), pat); d.Allow || d.Cached {
		t.Errorf("decided %+v", d)
	}
}
