package directory

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Asserted memberships count together with the directory's, for roles and teams
// that exist, and do not admit a disabled user.
func TestAssertedMembershipsCount(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": people}).open()
	team := host.Membership{Teams: []string{"nowhere", "payments@example.com"}}
	role := host.Membership{Roles: []string{"admin", "viewer"}}
	for name, c := range map[string]struct {
		p            host.Principal
		known        bool
		roles, teams []string
	}{
		"listed":                       {host.Principal{User: "ann@example.com"}, true, []string{"viewer"}, []string{"payments@example.com"}},
		"listed, the same again":       {host.Principal{User: "ann@example.com", Asserted: role}, true, []string{"viewer"}, []string{"payments@example.com"}},
		"not listed":                   {host.Principal{User: "cas@example.com", Asserted: role}, false, nil, nil},
		"not listed, nor must be":      {host.Principal{User: "cas@example.com", Unlisted: true}, true, nil, nil},
		"not listed, with a role":      {host.Principal{User: "cas@example.com", Unlisted: true, Asserted: role}, true, []string{"viewer"}, nil},
		"not listed, with a team":      {host.Principal{User: "cas@example.com", Unlisted: true, Asserted: team}, true, nil, []string{"payments@example.com"}},
		"disabled":                     {host.Principal{User: "ben@example.com", Asserted: role}, false, nil, nil},
		"disabled, need not be listed": {host.Principal{User: "ben@example.com", Unlisted: true, Asserted: role}, false, nil, nil},
		"no user":                      {host.Principal{Unlisted: true, Asserted: role}, false, nil, nil},
	} {
		got, ok := d.PersonOf(&c.p)
		if ok != c.known || !slices.Equal(got.Roles, c.roles) || !slices.Equal(got.Teams, c.teams) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		m := d.Match(&host.Question{Principal: &c.p, Route: host.Route{Plugin: "azure", Action: "azure:group.read"}})
		if !slices.Equal(m.Roles, c.roles) || !slices.Equal(m.Teams, c.teams) || (len(m.Matched) > 0) != (len(c.roles)+len(c.teams) > 0) {
			t.Errorf("%s: matched %+v", name, m)
		}
	}
	ann, _ := d.Person("ann@example.com")
	if !slices.Equal(ann.Roles, []string{"viewer"}) {
		t.Errorf("the directory itself was changed: %+v", ann)
	}
}

// An asserted role or team with breakGlass is kept apart like one of the directory:
// its name would be a group in the cluster.
func TestAssertedBreakGlassMembershipsAreKeptApart(t *testing.T) {
	const glass = `apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: oncall}
spec:
  breakGlass: {}
  permissions: {actions: ["*"]}
---
apiVersion: bulkhead.internal/v1
kind: Team
metadata: {name: sre}
spec:
  id: sre
  breakGlass: {}
  permissions: {actions: ["*"]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec: {id: ann, roles: [oncall]}
`
	d := newFiles(t, map[string]string{"people.yaml": glass}).open()
	asserted := host.Membership{Roles: []string{"oncall"}, Teams: []string{"sre"}}
	for user, want := range map[host.UserID]int{"ann": 2, "cas": 2} {
		p := &host.Principal{User: user, Unlisted: true, Asserted: asserted}
		m := d.Match(&host.Question{Principal: p, Route: host.Route{Plugin: "azure", Action: "azure:group.read"}})
		if len(m.Roles)+len(m.Teams)+len(m.Matched) > 0 || len(m.BreakGlass) != want {
			t.Errorf("%s: %+v", user, m)
		}
	}
}

// Cached decisions depend on the version of a principal. It changes with each
// asserted role and team, and one that does not exist has version 0 in any position.
func TestAVersionDependsOnAssertedMemberships(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": people})
	d := f.open()
	version := func(roles, teams []string) []byte {
		return d.AppendVersion(nil, &host.Principal{User: "ann@example.com", Asserted: host.Membership{Roles: roles, Teams: teams}})
	}
	if got := version([]string{"viewer", "nowhere"}, []string{"nowhere"}); len(got) != 32 || !slices.Equal(got[16:], make([]byte, 16)) || slices.Equal(got[8:16], make([]byte, 8)) {
		t.Errorf("a role that is there and two that are not: %x", got)
	}
	stranger := &host.Principal{User: "zed", Unlisted: true, Asserted: host.Membership{Teams: []string{"payments@example.com"}}}
	before, other := d.AppendVersion(nil, stranger), version([]string{"viewer"}, nil)
	change(t, d, func() {
		f.write("people.yaml", strings.Replace(people, "namespaces: [shop, ", "namespaces: [bank, ", 1))
	})
	if slices.Equal(before, d.AppendVersion(nil, stranger)) {
		t.Error("the team has changed and the version has not")
	}
	if got := version([]string{"viewer"}, nil); !slices.Equal(got[8:], other[8:]) {
		t.Error("the role has not changed and its version has")
	}
}

// Memberships asserted in one request do not affect another request of the user.
func TestAssertedMembershipsBelongToOnePrincipal(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": people + `---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: one}
spec: {permissions: {actions: ["pods:one"]}}
---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: two}
spec: {permissions: {actions: ["pods:two"]}}
`}).open()
	s := d.current.Load()
	as := func(role string) *person {
		return s.personOf(&host.Principal{User: "ann@example.com", Asserted: host.Membership{Roles: []string{role}}})
	}
	one, two := as("one"), as("two")
	if !slices.Contains(one.sets, s.roles["one"]) || slices.Contains(one.sets, s.roles["two"]) || !slices.Contains(two.sets, s.roles["two"]) {
		t.Error("the roles of two principals are mixed up")
	}
}

// An empty list matches nothing, not even what a route does not name; nor does a
// plugin permission without a plugin.
func TestEmptyListsAndMissingPluginsAreNotCovered(t *testing.T) {
	const narrow = `apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec:
  id: ann
  permissions:
    plugins: [{name: "*"}]
    resources:
      - {clusters: [dev], namespaces: [], resources: ["*"], verbs: ["*"]}
      - {clusters: [dev], namespaces: [shop], resources: ["*"], verbs: ["*"]}
`
	d := newFiles(t, map[string]string{"people.yaml": narrow}).open()
	kinds := func(q *host.Question) (plugins, resources int) {
		for _, m := range d.Match(q).Matched {
			if m.Plugin != nil {
				plugins++
			}
			if m.Resource != nil {
				resources++
			}
		}
		return plugins, resources
	}
	q := route("ann", "pods", "list.read")
	if plugins, resources := kinds(q); plugins != 1 || resources != 1 {
		t.Errorf("a route that names nothing: %d plugins, %d resources", plugins, resources)
	}
	q.Route.Plugin = ""
	if plugins, _ := kinds(q); plugins != 0 {
		t.Errorf("no plugin: %d plugins", plugins)
	}
}
