package directory

import (
	"slices"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// What an identity provider says of somebody counts beside the directory, for
// roles and teams that exist, and admits nobody whom the directory disabled.
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
		"nobody":                       {host.Principal{Unlisted: true, Asserted: role}, false, nil, nil},
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

// An asserted role or team that breaks glass is kept apart, as those that the
// directory gives are: its name is a group in the cluster.
func TestWhatIsAssertedBreaksGlassOnlyWithAReason(t *testing.T) {
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
