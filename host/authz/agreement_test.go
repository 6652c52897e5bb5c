package authz

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// world is a random directory, as YAML for the one under test and as plain
// data for the evaluator.
type world struct {
	rng       *rand.Rand
	directory *directory.Directory
	sets      map[string]permits // by "role x", "team x", "user x"
	people    map[string]member
}

type member struct {
	roles, teams []string
	disabled     bool
}

// permits is what a role, a team or a user is given.
type permits struct {
	glass     bool
	actions   []string
	plugins   []plugin
	resources [][4][]string // clusters, namespaces, resources, verbs
}

type plugin struct {
	name    string
	triples []any // of Azure: map[string]any, or something malformed
}

// verdict is what a decision comes to.
type verdict struct {
	allow, broke bool
	within       string // what a list over all shows, "" for all of it
}

// What permissions and questions are made of.
var (
	actionPatterns = []string{"*", "*:*", "*:*.read", "gitops:*", "gitops:helm.*", "pods:list.read", "exec:open", "azure:*", "admin:*", "adm*:*"}
	actions        = []string{"gitops:helm.read", "gitops:helm.upgrade", "pods:list.read", "exec:open", "azure:groups.read", "admin:audit.read", "odd"}
	pluginPatterns = []string{"*", "gitops", "pods", "ex*", "azure", "admin"}
	clusters       = []string{"*", "dev", "prod", "d*"}
	namespaces     = []string{"*", "shop", "shop-*", "pay"}
	kinds          = []string{"*", "pods", "pods/exec", "pods/*", "secrets", "nodes", "applications.argoproj.io", "releases.helm.sh"}
	verbs          = []string{"*", "get", "list", "create", "delete", "upgrade", "history"}
	azureKinds     = []string{"*", "containerinstances", "Monitor", "container*"}
	azureGroups    = []string{"*", "rg1", "RG2", "rg*", "r?1"}
	azureVerbs     = []string{"*", "get", "put", "Restart"}
	azureInstances = []string{"*", "dev", "P*"}
	malformed      = []string{"7", "null", `"get"`, "[]", "{}", `{"resources": "*", "resourceGroups": "*", "verbs": "*"}`,
		`{"resources": [7], "resourceGroups": [null], "verbs": [{}]}`, `{"resources": ["*"], "verbs": ["*"]}`}
)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), sets: map[string]permits{}, people: map[string]member{}}
	for i := range 8 {
		for _, of := range []string{"role r", "team t"} {
			p := w.permit()
			p.glass = w.rng.IntN(4) == 0
			w.sets[fmt.Sprint(of, i)] = p
		}
	}
	for i := range 30 {
		user := fmt.Sprintf("u%d", i)
		w.people[user] = member{w.some("r", 10), w.some("t", 10), w.rng.IntN(10) == 0}
		w.sets["user "+user] = w.permit()
	}
	w.directory = w.open(t, false)
	return w
}

// open makes a directory of the world, its documents in a random order.
func (w *world) open(t testing.TB, spoilt bool) *directory.Directory {
	t.Helper()
	var documents []string
	for of, p := range w.sets {
		kind, id, _ := strings.Cut(of, " ")
		spec := "permissions: " + p.yaml(spoilt)
		if p.glass {
			spec += ", breakGlass: {}"
		}
		switch kind {
		case "role":
			documents = append(documents, fmt.Sprintf("kind: Role\nmetadata: {name: %s}\nspec: {%s}\n", id, spec))
		case "team":
			documents = append(documents, fmt.Sprintf("kind: Team\nmetadata: {name: x}\nspec: {id: %s, %s}\n", id, spec))
		case "user":
			m := w.people[id]
			documents = append(documents, fmt.Sprintf("kind: User\nmetadata: {name: x}\nspec: {id: %s, disabled: %t, roles: [%s], teams: [%s], %s}\n",
				id, m.disabled, strings.Join(m.roles, ", "), strings.Join(m.teams, ", "), spec))
		}
	}
	slices.Sort(documents) // maps have no order
	w.rng.Shuffle(len(documents), func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
	dir := t.TempDir()
	write(t, dir, "world.yaml", "---\n"+apiVersion+strings.Join(documents, "---\n"+apiVersion))
	return openDirectory(t, dir)
}

// some returns up to three names, of which the last two of n do not exist.
func (w *world) some(prefix string, n int) []string {
	var out []string
	for range w.rng.IntN(4) {
		out = append(out, fmt.Sprintf("%s%d", prefix, w.rng.IntN(n)))
	}
	return out
}

func (w *world) pick(from []string, n int) []string {
	var out []string
	for range n {
		out = append(out, from[w.rng.IntN(len(from))])
	}
	return out
}

// permit makes a permission set.
func (w *world) permit() permits {
	p := permits{actions: w.pick(actionPatterns, w.rng.IntN(3))}
	for _, name := range w.pick(pluginPatterns, w.rng.IntN(3)) {
		x := plugin{name: name}
		for range w.rng.IntN(3) {
			if w.rng.IntN(3) == 0 {
				x.triples = append(x.triples, json.RawMessage(w.pick(malformed, 1)[0]))
				continue
			}
			triple := map[string]any{
				"resources": w.pick(azureKinds, 1), "resourceGroups": w.pick(azureGroups, 2), "verbs": w.pick(azureVerbs, 1),
			}
			if w.rng.IntN(3) == 0 {
				key := []string{"instances", "instances", "instances", "instance"}[w.rng.IntN(4)]
				triple[key] = w.pick(azureInstances, 1)
			}
			x.triples = append(x.triples, triple)
		}
		p.plugins = append(p.plugins, x)
	}
	for range w.rng.IntN(4) {
		p.resources = append(p.resources, [4][]string{w.pick(clusters, 1), w.pick(namespaces, 1), w.pick(kinds, 2), w.pick(verbs, 2)})
	}
	return p
}

// yaml writes it as an operator might; spoilt has malformed permissions among
// the others.
func (p permits) yaml(spoilt bool) string {
	text := func(v any) string {
		out, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(out)
	}
	var plugins, resources []string
	for _, x := range p.plugins {
		plugins = append(plugins, fmt.Sprintf("{name: %q, custom: %s}", x.name, text(append([]any{}, x.triples...))))
	}
	for _, r := range p.resources {
		resources = append(resources, fmt.Sprintf("{clusters: %s, namespaces: %s, resources: %s, verbs: %s}", text(r[0]), text(r[1]), text(r[2]), text(r[3])))
	}
	actions := strings.Split(strings.Trim(text(p.actions), "[]"), ",")
	if len(p.actions) == 0 {
		actions = nil
	}
	if spoilt {
		spoil := func(list []string, bad ...string) []string { return slices.Concat(bad[:1], list, bad[1:]) }
		actions = spoil(actions, "7", "everything", "{a: b}")
		plugins = spoil(plugins, "gitops", "{title: gitops}", "{name: gitops, custom: {}}", "{name: gitops, custom: [.nan]}")
		resources = spoil(resources, "'*'", "{clusters: ['*']}", "{clusters: ['*'], namespaces: ['*'], resources: ['*'], verbs: []}",
			"{clusters: ['*'], namespaces: ['*'], resources: ['*'], verb: ['*']}")
	}
	list := func(items []string) string { return "[" + strings.Join(items, ", ") + "]" }
	return fmt.Sprintf("{actions: %s, plugins: %s, resources: %s}", list(actions), list(plugins), list(resources))
}

func (w *world) question() *host.Question {
	one := func(from ...string) string { return from[w.rng.IntN(len(from))] }
	action := one(actions...)
	plugin, _, _ := strings.Cut(action, ":")
	q := &host.Question{
		Principal: &host.Principal{User: host.UserID(fmt.Sprintf("u%d", w.rng.IntN(32)))},
		Route:     host.Route{Plugin: plugin, Action: host.Action(action), Params: map[string]string{"a": one("1", "2")}},
		Reason:    one("", "", "why"),
	}
	if w.rng.IntN(3) == 0 {
		q.Resource = host.Resource{"cluster": one("dev", "prod")}
		return q
	}
	c := &host.CapabilityCall{
		Name: one("kube", "kube", "helm", "exec", "pods", "azure"), Verb: one("get", "list", "create", "delete", "upgrade", "proxy"),
		Cluster: one("dev", "prod", ""), Namespace: one("shop", "shop-2", "pay", ""),
		Resource: one("pods", "pods", "secrets", "nodes", "serviceaccounts", ""), Subresource: one("", "", "", "exec", "log", "copy", "ephemeralcontainers", "proxy", "token"),
	}
	switch {
	case c.Name == "azure":
		*c = host.CapabilityCall{
			Name: "azure", Verb: one("get", "get", "restart", "delete"), Resource: one("containerinstances", "monitor", "resourcegroups"),
			Instance: one("dev", "prod"), ResourceGroup: one("rg1", "rg2", "x", ""),
		}
		c.Spans = c.ResourceGroup == ""
	case w.rng.IntN(4) == 0:
		c.Group, c.Resource = "argoproj.io", one("applications", "secrets")
	}
	c.Spans = c.Spans || c.Namespace == "" && c.Verb == "list" && c.Name != "exec" && c.Name != "pods"
	c.Effect, c.Via = host.Effect(one("read", "change", "dry_run", "")), one("", "", "helm", "helm.lookup")
	q.Capability = c
	return q
}

// judge is the evaluator's verdict on somebody of the world.
func (w *world) judge(q *host.Question) verdict {
	m, ok := w.people[string(q.Principal.User)]
	if !ok || m.disabled {
		return verdict{}
	}
	sets := []permits{w.sets["user "+string(q.Principal.User)]}
	for _, r := range m.roles {
		sets = append(sets, w.sets["role "+r])
	}
	for _, team := range m.teams {
		sets = append(sets, w.sets["team "+team])
	}
	return judge(sets, q)
}

// verdictOf is what the engine's decision comes to.
func verdictOf(d host.Decision) verdict {
	o := d.Obligations
	return verdict{d.Allow, d.Reason.Code == "break_glass", strings.Join(append(o.Namespaces, o.ResourceGroups...), " ")}
}

// TestAnIndependentEvaluatorAgrees compares 10^4 decisions, and 10^6 with
// BULKHEAD_SOAK=1.
func TestAnIndependentEvaluatorAgrees(t *testing.T) {
	worlds, questions := uint64(10), 1000
	if os.Getenv("BULKHEAD_SOAK") == "1" {
		worlds, questions = 200, 5000
	}
	var n struct{ total, allowed, broke, narrowed int }
	count := func(is bool, n *int) {
		if is {
			*n++
		}
	}
	for seed := range worlds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { // by itself, so that its watches end with it
			w := newWorld(t, seed)
			e := openEngine(t, "", w.directory)
			for range questions {
				q := w.question()
				want := w.judge(q)
				d := e.Decide(t.Context(), q)
				if got := verdictOf(d); got != want || d.Reason.Code == PolicyError {
					t.Fatalf("%s, reason %q, %s %+v: decided %+v, the evaluator says %+v",
						q.Principal.User, q.Reason, q.Route.Action, q.Capability, d, want)
				}
				count(true, &n.total)
				count(want.allow, &n.allowed)
				count(want.broke, &n.broke)
				count(want.within != "", &n.narrowed)
			}
		})
	}
	// A comparison of denials alone would show little.
	t.Logf("%d decisions: %d allowed, %d by breaking glass, %d narrowed", n.total, n.allowed, n.broke, n.narrowed)
	if n.allowed < n.total/20 || n.allowed > n.total*19/20 || n.broke < n.total/200 || n.narrowed < n.total/1000 {
		t.Error("some kind of decision is too rare")
	}
}
