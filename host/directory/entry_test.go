package directory

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// load builds a snapshot of files without a directory.
func load(content map[string]string) *snapshot {
	d := &Directory{}
	if err := d.loadBase([]byte(shipped)); err != nil {
		panic(err)
	}
	var all []*parsed
	for name, text := range content {
		all = append(all, parse(name, []byte(text), d.shipped))
	}
	return build(nil, d.base, all, time.Now())
}

const head = "apiVersion: bulkhead.internal/v1\n"

func TestAnInvalidEntryDoesNotHideOthers(t *testing.T) {
	for _, c := range []struct {
		name, bad string
		line      int // below the bad document's first
		problem   string
	}{
		{"not YAML", "a: [b\nc: d: e", 2, "is not YAML"},
		{"tab", "a:\n\tb: c", 2, "is not YAML"},
		{"a list", "- a", 1, "not a mapping"},
		{"an alias", "a: &x 1\nb: *x", 2, "alias"},
		{"content after the end", head + "kind: User\n...\nfoo: bar", 1, "followed by"},
		{"too deep", head + "kind: Team\nmetadata: {name: x}\nspec: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), 4, "nested deeper"},
		{"unknown top key", head + "kind: User\nmetadata: {name: x}\nstatus: {}\nspec: {id: x}", 4, `"status"`},
		{"no kind", head + "metadata: {name: x}\nspec: {id: x}", 1, "kind is missing"},
		{"other version", "apiVersion: v2\nkind: User\nmetadata: {name: x}\nspec: {id: x}", 1, "apiVersion"},
		{"unknown kind", head + "kind: Group\nmetadata: {name: x}\nspec: {id: x}", 2, `"Group"`},
		{"no name", head + "kind: User\nmetadata: {}\nspec: {id: x}", 3, "metadata.name"},
		{"no id", head + "kind: User\nmetadata: {name: x}\nspec: {roles: []}", 4, "spec.id is missing"},
		{"number as id", head + "kind: User\nmetadata: {name: x}\nspec: {id: 7}", 4, "spec.id is not a string"},
		{"system id", head + "kind: User\nmetadata: {name: x}\nspec: {id: 'system:masters'}", 4, "system:"},
		{"id with space", head + "kind: Team\nmetadata: {name: x}\nspec: {id: 'a b'}", 4, "space"},
		{"long id", head + "kind: Team\nmetadata: {name: x}\nspec: {id: " + strings.Repeat("a", 254) + "}", 4, "longer"},
		{"misspelt disabled", head + "kind: User\nmetadata: {name: x}\nspec: {id: x, disable: true}", 4, `"disable"`},
		{"disabled is text", head + "kind: User\nmetadata: {name: x}\nspec: {id: x, disabled: 'no'}", 4, "must be true or false"},
		{"same key twice", head + "kind: User\nmetadata: {name: x}\nspec:\n  id: x\n  id: y", 6, "twice"},
		{"glass without a duration", head + "kind: Team\nmetadata: {name: x}\nspec: {id: x, breakGlass: {maxSession: soon}}", 4, "maxSession"},
		{"glass for a week", head + "kind: Team\nmetadata: {name: x}\nspec: {id: x, breakGlass: {maxSession: 168h}}", 4, "at most 12h"},
		{"glass recorded somehow", head + "kind: Role\nmetadata: {name: x}\nspec: {breakGlass: {record: yes please}}", 4, "record"},
		{"glass that is not a mapping", head + "kind: Role\nmetadata: {name: x}\nspec: {breakGlass: true}", 4, "breakGlass is not a mapping"},
		{"glass that is empty", head + "kind: Role\nmetadata: {name: x}\nspec:\n  breakGlass:\n  permissions: {}", 5, "breakGlass is not a mapping"},
		{"glass of a user", head + "kind: User\nmetadata: {name: x}\nspec: {id: x, breakGlass: {}}", 4, `"breakGlass"`},
		{"spec is text", head + "kind: Role\nmetadata: {name: x}\nspec: all", 4, "spec is not a mapping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := head + "kind: User\nmetadata: {name: one}\nspec: {id: one, roles: [viewer]}\n---\n"
			last := "\n---\n" + head + "kind: User\nmetadata: {name: two}\nspec: {id: two}\n"
			s := load(map[string]string{"f.yaml": first + c.bad + last})
			if s.people["one"] == nil || s.people["two"] == nil || len(s.people) != 2 {
				t.Errorf("people are %v", s.people)
			}
			if len(s.problems) != 1 {
				t.Fatalf("problems are %v", s.problems)
			}
			p := s.problems[0]
			marker := strings.Count(first, "\n") // the "---" line before the bad document
			if p.File != "f.yaml" || p.Line < marker || p.Line > marker+c.line || !strings.Contains(p.Text, c.problem) {
				t.Errorf("problem is %v, want line %d and %q", p, marker+c.line, c.problem)
			}
		})
	}
}

func TestEntriesWithADuplicateIDAreNotUsed(t *testing.T) {
	user := func(id, role string) string {
		return head + "kind: User\nmetadata: {name: x}\nspec: {id: " + id + ", roles: [" + role + "]}\n"
	}
	s := load(map[string]string{"a.yaml": user("ann", "viewer") + "---\n" + user("ben", "viewer"), "b.yaml": user("ann", "viewer")})
	if s.people["ann"] != nil || s.people["ben"] == nil {
		t.Errorf("people are %v", s.people)
	}
	if len(s.problems) != 2 || !strings.Contains(s.problems[0].Text, "b.yaml:1") || !strings.Contains(s.problems[1].Text, "a.yaml:1") {
		t.Errorf("problems are %v", s.problems)
	}
	// A user and a team may share an id.
	s = load(map[string]string{"a.yaml": user("x", "viewer") + "---\n" + head + "kind: Team\nmetadata: {name: x}\nspec: {id: x}\n"})
	if s.people["x"] == nil || len(s.problems) != 0 {
		t.Errorf("problems are %v", s.problems)
	}
}

func TestAMalformedPermissionDoesNotAffectOthers(t *testing.T) {
	s := load(map[string]string{"f.yaml": head + `kind: User
metadata: {name: ann}
spec:
  id: ann
  roles: [viewer, boss, 3]
  teams: [nowhere]
  permissions:
    actions:
      - everything
      - gitops:helm.upgrade
      - {a: b}
    plugins:
      - {name: azure, custom: {a: b}}
      - {name: gitops}
      - {title: gitops}
      - {name: azure, custom: [.nan]}
    resources:
      - {clusters: [dev], namespaces: [shop], resources: [pods], verb: [get]}
      - {clusters: [dev], namespaces: [shop], resources: [pods]}
      - {clusters: [dev], namespaces: [shop], resources: [pods], verbs: get}
      - {clusters: [dev], namespaces: [""], resources: [pods], verbs: [get]}
      - {clusters: [dev], namespaces: [shop], resources: [pods], verbs: [get]}
    permits: []
`})
	got := origins(s.match(kinds, kube("ann", "get", "pods", "dev", "shop")))
	want := []string{"user ann resources pods", "role viewer *:*.read", "role viewer plugin *"}
	if !slices.Equal(got, want) {
		t.Errorf("matched %q, want %q", got, want)
	}
	var lines []int
	for _, p := range s.problems {
		if p.Kind != kindUser || p.ID != "ann" {
			t.Errorf("%v does not say whose it is", p)
		}
		lines = append(lines, p.Line)
	}
	if want := []int{1, 1, 6, 10, 12, 14, 16, 17, 19, 20, 21, 22, 24}; !slices.Equal(lines, want) {
		t.Errorf("problems are on lines %v, want %v:\n%v", lines, want, s.problems)
	}
}

func TestAnOperatorsRoleReplacesTheShippedOne(t *testing.T) {
	ann := head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann, roles: [viewer]}\n---\n"
	viewer := head + "kind: Role\nmetadata: {name: viewer}\n"
	for _, c := range []struct {
		name, role string
		want       []string
	}{
		{"none", "", []string{"role viewer *:*.read", "role viewer plugin *", "team"}},
		{"narrower", viewer + "spec: {permissions: {actions: ['pods:list.read']}}", []string{"role viewer pods:list.read", "team"}},
		{"malformed", viewer + "spec: {permission: {actions: ['pods:list.read']}}", []string{"team"}},
		{"not YAML", viewer + "spec: {permissions: {actions: ['pods:list.read'", []string{"team"}},
		{"of a misspelt kind", head + "kind: Rol\nmetadata: {name: viewer}\nspec: {}", []string{"team"}},
		{"of no kind", head + "metadata: {name: viewer}\nspec: {}", []string{"team"}},
		{"there twice", viewer + "spec: {}\n---\n" + viewer + "spec: {}", []string{"team"}},
		{"another broken role", head + "kind: Role\nmetadata: {name: boss}\nspec: [", []string{"role viewer *:*.read", "role viewer plugin *", "team"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(map[string]string{"f.yaml": ann + c.role})
			got := append(origins(s.match(kinds, kube("ann", "get", "pods", "dev", "shop"))), "team")
			if !slices.Equal(got, c.want) {
				t.Errorf("matched %q, want %q; %v", got, c.want, s.problems)
			}
			if _, got := s.facts()["roles"].(map[string]any)["viewer"]; got != (s.roles["viewer"] != nil) {
				t.Errorf("as data for policies the role is there: %t", got)
			}
		})
	}
}

func TestTheOrderOfDocumentsAndFilesDoesNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var docs []string
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	for i := range 12 {
		docs = append(docs, fmt.Sprintf(head+"kind: Team\nmetadata: {name: t}\nspec: {id: t%d, permissions: {actions: ['%s'], resources: [{clusters: ['%s'], namespaces: ['%s'], resources: [pods], verbs: ['%s']}]}}\n",
			i%11, pick("pods:read", "*:*", "gitops:*"), pick("*", "dev"), pick("*", "shop"), pick("*", "get", "list")))
	}
	for i := range 6 {
		docs = append(docs, fmt.Sprintf(head+"kind: User\nmetadata: {name: u}\nspec: {id: u%d, roles: [%s], teams: [t%d, t%d, t%d]}\n",
			i, pick("viewer", "boss"), rng.IntN(13), rng.IntN(13), rng.IntN(13)))
	}
	answers := func(s *snapshot) string {
		var b strings.Builder
		for i := range 6 {
			user := host.UserID(fmt.Sprintf("u%d", i))
			for _, q := range []*host.Question{kube(user, "get", "pods", "dev", "shop"), kube(user, "list", "pods", "qa", ""), route(user, "gitops", "x.read")} {
				fmt.Fprintln(&b, origins(s.match(kinds, q)))
			}
		}
		return b.String()
	}
	want := answers(load(map[string]string{"all.yaml": strings.Join(docs, "---\n")}))
	if !strings.Contains(want, "team t") {
		t.Fatalf("nothing matched:\n%s", want)
	}
	for range 100 {
		rng.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		cut := rng.IntN(len(docs))
		s := load(map[string]string{"a.yaml": strings.Join(docs[:cut], "---\n"), "b.yaml": strings.Join(docs[cut:], "---\n")})
		if got := answers(s); got != want {
			t.Fatalf("another order gives\n%s\nnot\n%s", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{people, shipped, "---\n---\r\n--- a\n", "a: &x [*x]", head + "kind: Role\nmetadata: {name: viewer}\nspec: [", "\xff", "\"0\r\r", "!!binary x: 1", "? [a]\n: b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := 1 // as YAML counts them
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			lines += bytes.Count(data, []byte(end))
		}
		p := parse("f.yaml", data, []string{"viewer"})
		for _, e := range p.entries {
			if host.CheckID(e.id) != nil || e.line < 1 || e.line > lines {
				t.Errorf("entry %+v", e)
			}
		}
		for _, x := range p.problems {
			if x.Line < 1 || x.Line > lines+1 || x.Text == "" {
				t.Errorf("problem %+v in %d lines", x, lines)
			}
		}
		build(nil, nil, []*parsed{p, p}, time.Now())
	})
}

func TestBreakGlassPermissionsAreKeptApart(t *testing.T) {
	permits := "permissions: {actions: ['gitops:*'], plugins: [{name: gitops}]}"
	s := load(map[string]string{"f.yaml": head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann, roles: [viewer, oncall], teams: [sre, shop]}\n---\n" +
		head + "kind: Role\nmetadata: {name: oncall}\nspec: {breakGlass: {maxSession: 1h, record: all}, " + permits + "}\n---\n" +
		head + "kind: Team\nmetadata: {name: x}\nspec: {id: sre, breakGlass: {}, " + permits + "}\n---\n" +
		head + "kind: Team\nmetadata: {name: x}\nspec: {id: shop, " + permits + "}\n"})
	if len(s.problems) > 0 {
		t.Fatal(s.problems)
	}
	q := kube("ann", "get", "pods", "dev", "shop")
	q.Route.Plugin, q.Route.Action = "gitops", "gitops:helm.upgrade"
	m := s.match(kinds, q)
	if !slices.Equal(m.Roles, []string{"viewer"}) || !slices.Equal(m.Teams, []string{"shop"}) {
		t.Errorf("roles are %v, teams %v", m.Roles, m.Teams)
	}
	kept := map[host.Origin]host.BreakGlass{}
	for _, p := range m.BreakGlass {
		kept[p.From] = *p.BreakGlass
	}
	want := map[host.Origin]host.BreakGlass{
		{Kind: host.FromRole, ID: "oncall"}: {MaxSession: time.Hour, Record: host.RecordAll},
		{Kind: host.FromTeam, ID: "sre"}:    {MaxSession: 15 * time.Minute, Record: host.RecordOutput},
	}
	if len(m.BreakGlass) != 4 || !maps.Equal(kept, want) {
		t.Errorf("kept apart are %v", kept)
	}
	for _, p := range m.Matched {
		if p.BreakGlass != nil || p.From.ID == "oncall" || p.From.ID == "sre" {
			t.Errorf("%+v counts without a reason", p)
		}
	}
}

func TestAListOverAllNamespacesIsCoveredByAnyOfThem(t *testing.T) {
	s := load(map[string]string{"f.yaml": head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann, permissions: {resources: [" +
		"{clusters: [dev], namespaces: [shop], resources: [pods], verbs: [list]}, {clusters: [dev], namespaces: [bank], resources: [nodes], verbs: [list]}]}}\n"})
	q := kube("ann", "list", "pods", "dev", "")
	if m := s.match(kinds, q); len(m.Matched) != 0 {
		t.Errorf("a list that cannot be narrowed matched %v", m.Matched)
	}
	q.Capability.Spans = true
	if m := s.match(kinds, q); len(m.Matched) != 1 || m.Matched[0].Resource.Namespaces[0] != "shop" {
		t.Errorf("matched %v", m.Matched)
	}
}
