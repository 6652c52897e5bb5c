package authz

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// Ways to come by the part NAME of OBJECT: as rules of a package of their own
// that define v.
var ways = []string{
	`v := input.OBJECT.NAME`,
	`v := object.get(input, ["OBJECT", "NAME"], "")`,
	`v := x if { some k, x in input.OBJECT; k == "NAME" }`,
	`v := x if { o := "OBJECT"; x := input[o].NAME }`,
	`v := f(input).OBJECT.NAME` + "\n\nf(x) := x",
	`v := f("NAME")` + "\n\nf(k) := input.OBJECT[k]",
	`v := x if walk(input, [["OBJECT", "NAME"], x])`,
	`v := json.filter(input, ["OBJECT/NAME"])`,
	`v := json.marshal(input.OBJECT)`,
	`v := $"{input.OBJECT.NAME}"`,
	`v := [x | x := input.OBJECT.NAME]`,
	`v[input.OBJECT.NAME].x := 1`,
	`v contains input.OBJECT.NAME`,
	`v := x if { x := w with input as {"route": input.OBJECT} }` + "\n\nw := input.route.NAME",
	`v := x if { x := w with data.a.c as input.OBJECT.NAME }` + "\n\nw := data.a.c\n\nc := 1",
	`v := false if { not input.OBJECT.NAME } else := true if { input.OBJECT.NAME == "a" } else := 1`,
	`v if not input.OBJECT.NAME`,
	`v if input.OBJECT.NAME`,
	`v if { every k, x in input.OBJECT { k != "NAME"; x != 7 } }`,
	"default v := []\n\n" + `v := [input.OBJECT.NAME] if input.OBJECT.NAME != "a"`,
	`v := count(input.OBJECT)`,
	`v := input.OBJECT`,
}

// Ways to come by what the package a says.
var reached = []string{`data.a.v`, `data.a`, `data["a"]["v"]`, `[x | some x in data.a]`, `{k: x | x := data[k].v; k in ["a", "b"]}`}

// What is decided with a cache, and by the parts that the policy reads, is what
// the whole of the question comes to, however a policy looks at it.
func TestADecisionIsThatOfTheWholeQuestion(t *testing.T) {
	parts := [][2]string{
		{"route", "method"}, {"route", "path"}, {"route", "mutates"}, {"route", "params"}, {"resource", "name"}, {"resource", "namespace"},
		{"capability", "object"}, {"capability", "host"}, {"capability", "spans"}, {"capability", "effect"}, {"capability", "via"}, {"principal", "claims"}, {"principal", "user"},
	}
	d, rng := staff(t), rand.New(rand.NewPCG(1, 2))
	ab := func() string { return []string{"a", "b", ""}[rng.IntN(3)] }
	question := func() *host.Question {
		q := call([]host.UserID{vic, ada}[rng.IntN(2)], host.CapabilityCall{Name: "kube", Object: ab(), Host: ab(), Via: ab(), Effect: host.Effect([]string{"read", "dry_run", ""}[rng.IntN(3)]), Spans: rng.IntN(2) == 0})
		if rng.IntN(4) == 0 {
			q.Capability = nil
		}
		q.Principal.Claims = map[string]any{"dep": ab()}
		q.Route.Method, q.Route.Path, q.Route.Mutates = ab(), ab(), rng.IntN(2) == 0
		q.Route.Params = map[string]string{ab(): ab()}
		q.Resource = host.Resource{"name": ab(), []string{"namespace", "x"}[rng.IntN(2)]: ab()}
		return q
	}
	hits := 0
	for i, way := range ways {
		for range 4 {
			part := parts[rng.IntN(len(parts))]
			a := "package a\n\n" + strings.NewReplacer("OBJECT", part[0], "NAME", part[1]).Replace(way) + "\n"
			main := "package bulkhead.authz\n\ndecision := {\"allow\": true, \"reason\": {\"code\": \"yes\", \"args\": {\"v\": x}}} if {\n\tx := " +
				reached[rng.IntN(len(reached))] + "\n} else := {\"allow\": false, \"reason\": {\"code\": \"no\"}}\n"
			p, err := newPolicy(t.Context(), &source.Content{Data: map[string]any{}, Modules: []source.Module{
				{Name: "a.rego", Text: []byte(a)}, {Name: "site.rego", Text: []byte(main)},
			}})
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			cached := new(decider)
			cached.init(d, defaultDeadline*20)
			for range 60 {
				q := question()
				m := d.Match(q)
				whole, err := newInput(q, &m, &terms{}, everything)
				if err != nil {
					t.Fatal(err)
				}
				want := p.DecideInput(t.Context(), whole)
				got, hit, _ := cached.decide(t.Context(), p.published, q)
				if hit {
					hits++
				}
				if got.decision.Allow != want.Allow || !reflect.DeepEqual(got.decision.Reason, want.Reason) {
					t.Fatalf("way %d, cached %t: %s, want %s\n%s\n%s\n%+v %+v", i, hit, fmt.Sprint(got.decision.Reason), fmt.Sprint(want.Reason), a, main, q, q.Capability)
				}
			}
		}
	}
	if hits < 500 {
		t.Errorf("only %d answers are from the cache", hits)
	}
}
