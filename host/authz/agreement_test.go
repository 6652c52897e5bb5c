package authz

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// world is a random directory, as YAML for the one under test and as plain
// data for the evaluator below.
type world struct {
	rng       *rand.Rand
	directory *directory.Directory
	sets      map[string]permissions // by "role x", "team x", "user x"
	people    map[string]member
}

type member struct {
	roles, teams []string
	disabled     bool
}

type permissions struct {
	actions, plugins []string
	resources        [][4][]string // clusters, namespaces, resources, verbs
}

// What permissions and questions are made of.
var (
	actionPatterns = []string{"*", "*:*", "*:*.read", "gitops:*", "gitops:helm.*", "pods:list.read", "exec:open", "admin:*", "adm*:*"}
	actions        = []string{"gitops:helm.read", "gitops:helm.upgrade", "pods:list.read", "exec:open", "admin:audit.read", "odd"}
	pluginPatterns = []string{"*", "gitops", "pods", "ex*", "admin"}
	clusters       = []string{"*", "dev", "prod", "d*"}
	namespaces     = []string{"*", "shop", "shop-*", "pay"}
	kinds          = []string{"*", "pods", "pods/exec", "pods/*", "secrets", "nodes", "applications.argoproj.io", "releases.helm.sh"}
	verbs          = []string{"*", "get", "list", "create", "delete", "upgrade", "history"}
)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), sets: map[string]permissions{}, people: map[string]member{}}
	var yaml strings.Builder
	for i := range 8 {
		role, team := fmt.Sprintf("r%d", i), fmt.Sprintf("t%d", i)
		fmt.Fprintf(&yaml, "---\n%skind: Role\nmetadata: {name: %s}\nspec: {permissions: %s}\n", apiVersion, role, w.permit("role "+role))
		fmt.Fprintf(&yaml, "---\n%skind: Team\nmetadata: {name: x}\nspec: {id: %s, permissions: %s}\n", apiVersion, team, w.permit("team "+team))
	}
	for i := range 30 {
		user := fmt.Sprintf("u%d", i)
		m := member{w.some("r", 10), w.some("t", 10), w.rng.IntN(10) == 0}
		w.people[user] = m
		fmt.Fprintf(&yaml, "---\n%skind: User\nmetadata: {name: x}\nspec: {id: %s, disabled: %t, roles: [%s], teams: [%s], permissions: %s}\n",
			apiVersion, user, m.disabled, strings.Join(m.roles, ", "), strings.Join(m.teams, ", "), w.permit("user "+user))
	}
	dir := t.TempDir()
	write(t, dir, "world.yaml", yaml.String())
	w.directory = openDirectory(t, dir)
	return w
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

// permit makes a permission set and returns it as YAML.
func (w *world) permit(of string) string {
	p := permissions{actions: w.pick(actionPatterns, w.rng.IntN(2)), plugins: w.pick(pluginPatterns, w.rng.IntN(2))}
	list := func(s []string) string { return `["` + strings.Join(s, `", "`) + `"]` }
	var resources, plugins []string
	for range w.rng.IntN(3) {
		r := [4][]string{w.pick(clusters, 1), w.pick(namespaces, 1), w.pick(kinds, 2), w.pick(verbs, 2)}
		p.resources = append(p.resources, r)
		resources = append(resources, fmt.Sprintf("{clusters: %s, namespaces: %s, resources: %s, verbs: %s}",
			list(r[0]), list(r[1]), list(r[2]), list(r[3])))
	}
	for _, name := range p.plugins {
		plugins = append(plugins, fmt.Sprintf("{name: %q}", name))
	}
	w.sets[of] = p
	actions := "[]"
	if len(p.actions) > 0 {
		actions = list(p.actions)
	}
	return fmt.Sprintf("{actions: %s, plugins: [%s], resources: [%s]}", actions, strings.Join(plugins, ", "), strings.Join(resources, ", "))
}

func (w *world) question() *host.Question {
	one := func(from ...string) string { return from[w.rng.IntN(len(from))] }
	action := one(actions...)
	plugin, _, _ := strings.Cut(action, ":")
	q := &host.Question{
		Principal: &host.Principal{User: host.UserID(fmt.Sprintf("u%d", w.rng.IntN(32)))},
		Route:     host.Route{Plugin: plugin, Action: host.Action(action), Params: map[string]string{"a": one("1", "2")}},
	}
	if w.rng.IntN(3) == 0 {
		q.Resource = host.Resource{"cluster": one("dev", "prod")}
		return q
	}
	c := &host.CapabilityCall{
		Name: one("kube", "kube", "helm", "exec", "azure"), Verb: one("get", "list", "create", "delete", "upgrade", "proxy"),
		Cluster: one("dev", "prod", ""), Namespace: one("shop", "shop-2", "pay", ""),
		Resource: one("pods", "pods", "secrets", "nodes", "serviceaccounts", ""), Subresource: one("", "", "", "exec", "log", "proxy", "token"),
	}
	if w.rng.IntN(4) == 0 {
		c.Group, c.Resource = "argoproj.io", one("applications", "secrets")
	}
	q.Capability = c
	return q
}

// allowed is the answer by another way: patterns as regular expressions, one
// list of permission sets, prohibitions as a list of spellings.
func (w *world) allowed(q *host.Question) bool {
	m, ok := w.people[string(q.Principal.User)]
	if !ok || m.disabled {
		return false
	}
	sets := []permissions{w.sets["user "+string(q.Principal.User)]}
	for _, r := range m.roles {
		sets = append(sets, w.sets["role "+r])
	}
	for _, team := range m.teams {
		sets = append(sets, w.sets["team "+team])
	}
	var action, plugin, resource bool
	for _, s := range sets {
		action = action || slices.ContainsFunc(s.actions, func(p string) bool { return mayAct(p, string(q.Route.Action)) })
		plugin = plugin || q.Route.Plugin != "" && fits(s.plugins, q.Route.Plugin)
		resource = resource || slices.ContainsFunc(s.resources, func(r [4][]string) bool { return reaches(r, q.Capability) })
	}
	return action && plugin && (q.Capability == nil || resource && !forbidden(q.Capability))
}

func mayAct(pattern, action string) bool {
	plugin, name, ok := strings.Cut(action, ":")
	p, n, _ := strings.Cut(pattern, ":")
	switch {
	case !ok:
		return false
	case pattern == "*":
		return true
	case plugin == "admin" && p != "admin":
		return false
	}
	return fits([]string{p}, plugin) && fits([]string{n}, name)
}

func fits(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$").MatchString(s)
	})
}

func spelling(c *host.CapabilityCall) string {
	s := c.Resource
	if c.Group != "" {
		s += "." + c.Group
	}
	if c.Subresource != "" {
		s += "/" + c.Subresource
	}
	return s
}

func reaches(r [4][]string, c *host.CapabilityCall) bool {
	if c == nil {
		return false
	}
	kind, verb := spelling(c), c.Verb
	switch c.Name {
	case "helm":
		kind = "releases.helm.sh"
	case "exec":
		verb = "create"
	case "azure":
		return false
	}
	return fits(r[0], c.Cluster) && fits(r[1], c.Namespace) && fits(r[2], kind) && fits(r[3], verb)
}

func forbidden(c *host.CapabilityCall) bool {
	kind := spelling(c)
	terminal := slices.Contains([]string{"pods/exec", "pods/attach", "pods/portforward"}, kind)
	switch c.Name {
	case "kube":
		return kind == "secrets" || strings.HasPrefix(kind, "secrets/") || strings.HasPrefix(kind, "serviceaccounts") && c.Subresource == "token" ||
			c.Subresource == "proxy" || c.Verb == "proxy" || c.Subresource == "exec"
	case "exec":
		return !terminal
	}
	return false
}

func TestAnIndependentEvaluatorAgrees(t *testing.T) {
	allowed, total := 0, 0
	for seed := range uint64(5) {
		w := newWorld(t, seed)
		e := openEngine(t, "", w.directory)
		for range 1000 {
			q := w.question()
			want := w.allowed(q)
			d := e.Decide(t.Context(), q)
			if d.Allow != want || d.Reason.Code == policyError {
				t.Fatalf("seed %d: %s %s %v: decided %+v, the evaluator says %t",
					seed, q.Principal.User, q.Route.Action, q.Capability, d, want)
			}
			if total++; want {
				allowed++
			}
		}
	}
	// A comparison of denials alone would show little.
	if allowed < total/20 || allowed > total*19/20 {
		t.Errorf("%d of %d are allowed", allowed, total)
	}
}
