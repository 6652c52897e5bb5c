package authz

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

func TestAShadowTellsWhatItWouldChangeAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "p.rego", freeze)
	var out logtest.Log
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
	if n := out.Count("shadow policy decides differently"); n != 1 {
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
			await(t, "the next mistake", func() bool { return strings.Contains(e.Status().Shadow.Problem, "; revision 1 stays in the shadow") })
		})
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
