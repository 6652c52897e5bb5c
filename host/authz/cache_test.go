package authz

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// unlabelled is a decision without what differs each time.
func unlabelled(d host.Decision) host.Decision {
	d.ID, d.Cached, d.Duration = "", false, 0
	return d
}

func TestTheCachedDecisionIsTheDecision(t *testing.T) {
	w := newWorld(t, 3)
	cached := openEngine(t, "", w.directory)
	for range 500 {
		q := w.question()
		m := w.directory.Match(q)
		want, err := cached.evaluate(t.Context(), cached.current.Load(), q, &m)
		if err != nil {
			t.Fatal(err)
		}
		want.Revision = 1
		for i := range 2 {
			got := cached.Decide(t.Context(), q)
			if !reflect.DeepEqual(unlabelled(got), want) {
				t.Fatalf("%+v: decided %+v, without a cache %+v", q, got, want)
			}
			if i == 1 && !got.Cached {
				t.Fatalf("%+v was decided twice", q)
			}
		}
	}
}

// scrambled is q with everything else in the parts that neither the shipped
// rules nor the directory look at.
func scrambled(q *host.Question) *host.Question {
	other := *q
	r := &other.Route
	r.Name, r.Method, r.Path, r.Mutates = "other", "PATCH", "/other/{x}", !r.Mutates
	r.Params = map[string]string{"x": "y"}
	other.Resource = maps.Clone(q.Resource)
	if other.Resource == nil {
		other.Resource = host.Resource{}
	}
	other.Resource["name"], other.Resource["pod"] = "x", "y"
	if q.Capability != nil {
		c := *q.Capability
		c.Object, c.Host, c.Path = "other", "example.com", "/other"
		other.Resource["cluster"], other.Resource["namespace"] = "x", "y" // of the route
		other.Capability = &c
	}
	p := *q.Principal
	p.Claims, p.Login = map[string]any{"x": "y"}, host.Login{ID: "other", Method: "other"}
	other.Principal = &p
	return &other
}

func TestWhatNobodyReadsNeitherDecidesNorDividesTheCache(t *testing.T) {
	w := newWorld(t, 3)
	e := openEngine(t, "", w.directory)
	now := e.current.Load()
	whole := &published{revision: &revision{compiled: now.compiled, reads: everything}}
	for range 500 {
		q := w.question()
		other := scrambled(q)
		m, n := w.directory.Match(q), w.directory.Match(other)
		if !reflect.DeepEqual(m, n) {
			t.Fatalf("%+v: matched are %+v, of the other question %+v", q, m, n)
		}
		e.Decide(t.Context(), q)
		got := e.Decide(t.Context(), other)
		want, err := e.evaluate(t.Context(), whole, other, &n)
		if err != nil {
			t.Fatal(err)
		}
		if want.Revision = 1; !got.Cached || !reflect.DeepEqual(unlabelled(got), want) {
			t.Fatalf("%+v: decided %+v, by the whole input %+v", other, got, want)
		}
	}
}

func TestEachPartThatIsReadDividesTheCache(t *testing.T) {
	base := func() *host.Question {
		q := ask(vic, "gitops", "helm.read")
		q.Route.Params = map[string]string{"release": "web", "other": "x"}
		q.Resource = host.Resource{"cluster": "dev", "name": "web", "pod": "web-1"}
		q.Capability = &host.CapabilityCall{Name: "kube", Verb: "get", Cluster: "dev", Namespace: "shop", Resource: "pods"}
		return q
	}
	parts := map[string]func(*host.Question){
		"route.name":               func(q *host.Question) { q.Route.Name = "a" },
		"route.method":             func(q *host.Question) { q.Route.Method = "PUT" },
		"route.path":               func(q *host.Question) { q.Route.Path = "/a" },
		"route.mutates":            func(q *host.Question) { q.Route.Mutates = true },
		"route.params.release":     func(q *host.Question) { q.Route.Params = map[string]string{"release": "a", "other": "x"} },
		"resource.name":            func(q *host.Question) { q.Resource = host.Resource{"cluster": "dev", "name": "a", "pod": "web-1"} },
		"resource.pod":             func(q *host.Question) { q.Resource = host.Resource{"cluster": "dev", "name": "web"} },
		"capability.object":        func(q *host.Question) { q.Capability.Object = "a" },
		"capability.host":          func(q *host.Question) { q.Capability.Host = "a" },
		"capability.path":          func(q *host.Question) { q.Capability.Path = "/a" },
		"capability.instance":      func(q *host.Question) { q.Capability.Instance = "a" },
		"capability.resourceGroup": func(q *host.Question) { q.Capability.ResourceGroup = "a" },
	}
	// What a condition reads, "" being the last step of a whole object.
	for condition, read := range map[string][]string{
		`input.route.name == "a"`:                                      {"route.name"},
		`input.route.mutates`:                                          {"route.mutates"},
		`not input.route.mutates`:                                      {"route.mutates"},
		`input["route"]["path"] == "/a"`:                               {"route.path"},
		`input.route.params.release == "a"`:                            {"route.params.release"},
		`count(input.route.params) == 3`:                               {"route.params."},
		`some k in ["method"]; input.route[k] == "PUT"`:                {"route."},
		`input.resource.name == "a"; input.resource.pod == "a"`:        {"resource.name", "resource.pod"},
		`object.get(input.resource, "name", "") == "a"`:                {"resource."},
		`input.capability.object == "a"`:                               {"capability.object"},
		`input.capability; not input.break_glass`:                      {},
		`not input.capability`:                                         {},
		`c := input.capability; c.host == "a"`:                         {"capability."},
		`object.get(input.capability, "path", "") == "a"`:              {"capability."},
		`input.route == input.capability`:                              {"route.", "capability."},
		`walk(input, [_, "nothing"])`:                                  {"route.", "resource.", "capability."},
		`input.capability with input.capability as {"a": input.route}`: {"route.", "capability."},
	} {
		e, _ := withPolicy(t, "package bulkhead.authz\n\ndecision := {\"allow\": true, \"reason\": {\"code\": \"yes\"}} if {\n\t"+
			condition+"\n} else := {\"allow\": false, \"reason\": {\"code\": \"no\"}}\n")
		e.Decide(t.Context(), base())
		for name, change := range parts {
			q := base()
			change(q)
			want := slices.ContainsFunc(read, func(r string) bool { return name == r || strings.HasSuffix(r, ".") && strings.HasPrefix(name, r) })
			if got := e.Decide(t.Context(), q); got.Cached == want {
				t.Errorf("%s: with another %s cached is %t", condition, name, got.Cached)
			}
		}
	}
}

func TestQuestionsThatDifferAnywhereHaveDifferentKeys(t *testing.T) {
	base := func() *host.Question {
		return &host.Question{
			Principal:  &host.Principal{User: "ab", Claims: map[string]any{"k": "v"}, Login: host.Login{ID: "l", Method: "dev"}},
			Route:      host.Route{Plugin: "ab", Name: "ab", Action: "ab", Method: "ab", Path: "ab", Params: map[string]string{"ab": "ab", "b": ""}},
			Resource:   host.Resource{"ab": "ab"},
			Capability: &host.CapabilityCall{Name: "ab", Verb: "ab", Cluster: "ab"},
		}
	}
	rev := &published{number: 1, revision: &revision{cacheable: true, reads: everything}}
	seen := map[string]string{}
	for name, edit := range map[string]func(*host.Question){
		"nothing":          func(q *host.Question) {},
		"user":             func(q *host.Question) { q.Principal.User = "a" },
		"unlisted":         func(q *host.Question) { q.Principal.Unlisted = true },
		"asserted role":    func(q *host.Question) { q.Principal.Asserted.Roles = []string{"ab"} },
		"asserted team":    func(q *host.Question) { q.Principal.Asserted.Teams = []string{"ab"} },
		"user to plugin":   func(q *host.Question) { q.Principal.User, q.Route.Plugin = "a", "bab" },
		"plugin to name":   func(q *host.Question) { q.Route.Plugin, q.Route.Name = "aba", "b" },
		"name to action":   func(q *host.Question) { q.Route.Name, q.Route.Action = "aba", "b" },
		"method":           func(q *host.Question) { q.Route.Method = "abc" },
		"path":             func(q *host.Question) { q.Route.Path = "" },
		"param key":        func(q *host.Question) { q.Route.Params = map[string]string{"a": "bab", "b": ""} },
		"params swapped":   func(q *host.Question) { q.Route.Params = map[string]string{"ab": "", "b": "ab"} },
		"param to res":     func(q *host.Question) { q.Route.Params, q.Resource = nil, host.Resource{"ab": "ab", "b": ""} },
		"mutates":          func(q *host.Question) { q.Route.Mutates = true },
		"no resource":      func(q *host.Question) { q.Resource = nil },
		"no capability":    func(q *host.Question) { q.Capability = nil },
		"empty capability": func(q *host.Question) { q.Capability = &host.CapabilityCall{} },
		"verb to cluster":  func(q *host.Question) { q.Capability.Verb, q.Capability.Cluster = "a", "bab" },
		"object":           func(q *host.Question) { q.Capability.Object = "x" },
		"namespace":        func(q *host.Question) { q.Capability.Namespace = "x" },
		"host":             func(q *host.Question) { q.Capability.Host = "x" },
		"cap path":         func(q *host.Question) { q.Capability.Path = "x" },
		"group":            func(q *host.Question) { q.Capability.Group = "x" },
		"cap resource":     func(q *host.Question) { q.Capability.Resource = "x" },
		"instance":         func(q *host.Question) { q.Capability.Instance = "x" },
		"resource group":   func(q *host.Question) { q.Capability.ResourceGroup = "x" },
		"subresource":      func(q *host.Question) { q.Capability.Subresource = "x" },
		"claim":            func(q *host.Question) { q.Principal.Claims = map[string]any{"k": "w"} },
		"no claims":        func(q *host.Question) { q.Principal.Claims = nil },
		"login":            func(q *host.Question) { q.Principal.Login.ID = "m" },
		"login method":     func(q *host.Question) { q.Principal.Login.Method = "oidc" },
		"login time":       func(q *host.Question) { q.Principal.Login.At = time.Unix(7, 0) },
	} {
		q := base()
		edit(q)
		for range 20 { // maps are walked in another order each time
			key, ok := appendKey(nil, rev, fixed(5), q)
			if !ok {
				t.Fatalf("%s: no key", name)
			}
			if other, ok := seen[string(key)]; ok && other != name {
				t.Errorf("%s has the key of %s", name, other)
			}
			seen[string(key)] = name
		}
	}
	if len(seen) != 32 {
		t.Errorf("%d keys for 32 questions", len(seen))
	}
	a, _ := appendKey(nil, rev, fixed(5), base())
	b, _ := appendKey(nil, rev, fixed(6), base())
	if string(a) == string(b) {
		t.Error("another state of the directory has the same key")
	}
}

func TestHugeQuestionsAreNotKept(t *testing.T) {
	e := openEngine(t, "", staff(t))
	q := ask(vic, "gitops", "helm.read")
	q.Resource = host.Resource{"cluster": strings.Repeat("x", maxKey)}
	for range 2 {
		if d := e.Decide(t.Context(), q); !d.Allow || d.Cached {
			t.Errorf("decided %+v", d)
		}
	}
}

func TestClaimsAndLoginCountExactlyIfThePolicyReadsThem(t *testing.T) {
	type read struct{ claims, login bool }
	for _, c := range []struct {
		name, body string
		want       read
	}{
		{"neither", "input.principal.user == \"a\"", read{}},
		{"claims", "input.principal.claims.dep == \"ops\"", read{claims: true}},
		{"login", "input.principal.login.method == \"dev\"", read{login: true}},
		{"through a variable", "p := input.principal; p.claims.dep == \"ops\"", read{claims: true, login: true}},
		{"through a computed key", "some k in [\"claims\"]; input.principal[k].dep == \"ops\"", read{claims: true, login: true}},
		{"through a function", "f(input)", read{claims: true, login: true}},
		{"by walking", "walk(input, [[_, \"claims\", _], \"ops\"])", read{claims: true, login: true}},
		{"bracketed", "input[\"principal\"][\"claims\"].dep == \"ops\"", read{claims: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _ := withPolicy(t, "package bulkhead.authz\n\ndecision := {\"allow\": false, \"reason\": {\"code\": \"no\"}} if {\n\t"+
				c.body+"\n} else := {\"allow\": true, \"reason\": {\"code\": \"yes\"}}\n\nf(x) if x.principal.claims.dep == \"ops\"\n")
			if r := e.current.Load().reads; (read{r.claims, r.login}) != c.want {
				t.Fatalf("reads %+v, want %+v", r, c.want)
			}
			q := ask(vic, "gitops", "helm.read")
			for range 2 {
				for _, dep := range []string{"ops", "dev"} {
					p := *q.Principal
					p.Claims = map[string]any{"dep": dep}
					d := e.Decide(t.Context(), &host.Question{Principal: &p, Route: q.Route})
					if want := !(c.want.claims && dep == "ops"); d.Allow != want {
						t.Errorf("with %s allow is %t", dep, d.Allow)
					}
				}
			}
		})
	}
}

// Tests in a policy's own file give a whole input, and the clock; what is
// decided does not depend on them, unless a rule asks one.
func TestTestsInAPolicyCostNothing(t *testing.T) {
	const text = `package bulkhead.authz

decision := {"allow": true, "reason": {"code": "yes"}} if {
	known
} else := {"allow": false, "reason": {"code": no}}

known if input.principal.user == "a"

no := "no"

test_whole if {
	known with input as {"principal": {"user": "a"}}
	walk(input, [_, 1]) with input as 1
	time.now_ns() > 0
	data.directory with data.directory as 1
}

todo_test_whole if input.principal
`
	e, _ := withPolicy(t, text)
	if rev := e.current.Load(); rev.reads.claims || rev.reads.login || rev.reads.directory || !rev.cacheable {
		t.Errorf("reads %+v, cached %t", rev.reads, rev.cacheable)
	}
	if p := e.Serving(); p.MayRead("principal", "claims") || !p.MayRead("principal", "user") {
		t.Error("a record without claims counts as masked, or one without a user does not")
	}
	asked := strings.NewReplacer(`no := "no"`, `no := "no" if not test_whole`).Replace(text)
	e, _ = withPolicy(t, asked+"\nno := \"tested\" if test_whole\n")
	if rev := e.current.Load(); !rev.reads.claims || !rev.reads.login || !rev.reads.directory || rev.cacheable {
		t.Errorf("a decision by a test reads %+v, cached %t", rev.reads, rev.cacheable)
	}
}

func TestAPolicyThatReadsTheClockIsNotCached(t *testing.T) {
	e, _ := withPolicy(t, `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no", "args": {"at": at}}}

at := time.now_ns()
`)
	q := ask(vic, "gitops", "helm.read")
	first, second := e.Decide(t.Context(), q), e.Decide(t.Context(), q)
	if second.Cached || fmt.Sprint(first.Reason.Args) == fmt.Sprint(second.Reason.Args) {
		t.Errorf("decided %+v, then %+v", first, second)
	}
}

// They are verified at the time of the call, which OPA does not count as chance.
func TestAPolicyThatVerifiesCertificatesIsNotCached(t *testing.T) {
	for _, verify := range []string{
		"crypto.x509.parse_and_verify_certificates(input.reason)",
		"crypto.x509.parse_and_verify_certificates_with_options(input.reason, {})",
	} {
		e, _ := withPolicy(t, "package bulkhead.authz\n\ndecision := {\"allow\": "+verify+"[0], \"reason\": {\"code\": \"certificate\"}}\n")
		q := ask(vic, "gitops", "helm.read")
		if e.Decide(t.Context(), q); e.Decide(t.Context(), q).Cached {
			t.Errorf("%s is cached", verify)
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	c.init()
	key := func(i int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(i)) }
	c.put(string(key(0)), &answer{decision: host.Decision{Revision: 7}})
	for i := 1; i < 8*shardCount*shardSize; i++ {
		c.put(string(key(i)), &answer{})
		if i%shardSize == 0 {
			if d, ok := c.get(key(0)); !ok || d.decision.Revision != 7 {
				t.Fatalf("what is used all the time was dropped after %d others", i)
			}
		}
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].young) + len(c.shards[i].old)
	}
	if n > 2*shardCount*shardSize {
		t.Errorf("%d decisions are kept", n)
	}
	if _, ok := c.get(key(1)); ok {
		t.Error("what was never used again is still there")
	}
}

func TestDecisionIDsAreUnique(t *testing.T) {
	const workers, each = 4, 2000
	g, got := newIDs(), make(chan []string, workers)
	for range workers {
		go func() {
			var mine []string
			for range each {
				mine = append(mine, g.next())
			}
			got <- mine
		}()
	}
	seen := map[string]bool{}
	for range workers {
		for _, id := range <-got {
			seen[id] = true
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d ids for %d decisions", len(seen), workers*each)
	}
	if a, b := newIDs().next(), newIDs().next(); a == b {
		t.Errorf("two processes say %s", a)
	}
}

// fixed is a directory of which only the version counts.
type fixed byte

func (fixed) Match(*host.Question) host.Matching        { return host.Matching{} }
func (fixed) Consider(*host.Question) []host.Considered { return nil }
func (fixed) Listing(*host.Principal) host.Listing      { return host.Listing{} }
func (fixed) Revision() uint64                          { return 1 }
func (fixed) Facts() (map[string]any, uint64)           { return nil, 1 }

func (f fixed) AppendVersion(b []byte, _ *host.Principal) []byte { return append(b, byte(f)) }
