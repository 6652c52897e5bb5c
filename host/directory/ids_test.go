package directory

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const mixedCase = head + `kind: Team
metadata: {name: payments}
spec: {id: Payments@Example.com, permissions: {actions: ["pods:read"]}}
---
` + head + `kind: User
metadata: {name: bob}
spec: {id: Bob.Roe@Example.com, roles: [viewer], teams: [payments@EXAMPLE.com]}
`

// An e-mail address in an entry, a membership, a token or a question is one id in
// any case, and is lower case everywhere else, also in clusters.
func TestAddressesThatDifferInCaseAreOneID(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": mixedCase}).open()
	if problems := d.Problems(); len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, user := range []host.UserID{"bob.roe@example.com", "Bob.Roe@Example.com", "BOB.ROE@EXAMPLE.COM"} {
		p := &host.Principal{User: user}
		got, ok := d.PersonOf(p)
		if !ok || got.User != "bob.roe@example.com" || !slices.Equal(got.Roles, []string{"viewer"}) || !slices.Equal(got.Teams, []string{"payments@example.com"}) {
			t.Errorf("%s: %+v, %v", user, got, ok)
		}
		m := d.Match(&host.Question{Principal: p, Route: host.Route{Plugin: "pods", Action: "pods:read"}})
		if !slices.Equal(m.Teams, []string{"payments@example.com"}) || len(m.Matched) == 0 {
			t.Errorf("%s matches %+v", user, m)
		}
		if _, ok := d.Person(user); !ok {
			t.Errorf("%s is not known", user)
		}
		if l := d.Listing(p); !l.Listed {
			t.Errorf("%s is not listed: %+v", user, l)
		}
		if !bytes.Equal(d.AppendVersion(nil, p), d.AppendVersion(nil, &host.Principal{User: "bob.roe@example.com"})) {
			t.Errorf("%s has a version of its own", user)
		}
	}
	facts, _ := d.Facts()
	if facts["users"].(map[string]any)["bob.roe@example.com"] == nil || facts["teams"].(map[string]any)["payments@example.com"] == nil {
		t.Errorf("as data for policies: %v", facts)
	}
	asserted := &host.Principal{User: "zed", Unlisted: true, Asserted: host.Membership{Teams: []string{"PAYMENTS@example.com"}}}
	if got, ok := d.PersonOf(asserted); !ok || !slices.Equal(got.Teams, []string{"payments@example.com"}) {
		t.Errorf("an asserted team: %+v, %v", got, ok)
	}
	if a, b := d.AppendVersion(nil, asserted), d.AppendVersion(nil, &host.Principal{User: "zed", Asserted: host.Membership{Teams: []string{"payments@example.com"}}}); !bytes.Equal(a, b) {
		t.Errorf("versions %x and %x of one team", a, b)
	}
	// Ids that are not addresses are case-sensitive.
	d = newFiles(t, map[string]string{"people.yaml": head + "kind: User\nmetadata: {name: k}\nspec: {id: 'corp:Kim'}\n"}).open()
	for user, want := range map[host.UserID]bool{"corp:Kim": true, "corp:kim": false} {
		if _, ok := d.PersonOf(&host.Principal{User: user}); ok != want {
			t.Errorf("%s: %v", user, ok)
		}
	}
}

// Two entries that differ in case only are not used. An entry of a file takes
// precedence over a custom resource here too.
func TestEntriesThatDifferInCaseOnlyAreDuplicates(t *testing.T) {
	user := func(id, role string) string {
		return head + "kind: User\nmetadata: {name: a}\nspec: {id: " + id + ", roles: [" + role + "]}\n"
	}
	d := newFiles(t, map[string]string{"a.yaml": user("Ann@example.com", "viewer"), "b.yaml": user("ann@example.com", "viewer")}).open()
	if _, ok := d.PersonOf(&host.Principal{User: "ann@example.com"}); ok || len(d.Problems()) != 2 {
		t.Errorf("known: %v; %v", ok, d.Problems())
	}
	for _, p := range d.Problems() {
		if p.ID != "ann@example.com" || !strings.Contains(p.Text, "neither is used") {
			t.Errorf("problem %v", p)
		}
	}
	twice := head + "kind: Team\nmetadata: {name: a}\nspec: {id: Ops@example.com}\n---\n" + head + "kind: Team\nmetadata: {name: b}\nspec: {id: ops@example.com}\n"
	if d := newFiles(t, map[string]string{"a.yaml": twice}).open(); len(d.Problems()) != 2 {
		t.Errorf("teams: %v", d.Problems())
	}
	// A custom resource cannot evade an entry of a file, even an unreadable one, by
	// another case.
	resource := parseObject("dev", &Object{Namespace: "ns", Name: "ann", Content: map[string]any{
		"apiVersion": apiVersion, "kind": "User", "spec": map[string]any{"id": "ANN@example.com"},
	}}, nil)
	for name, text := range map[string]string{
		"usable":     user("ann@Example.com", "viewer"),
		"unusable":   head + "kind: User\nmetadata: {name: a}\nspec: {id: ann@Example.com, disabled: maybe}\n",
		"unreadable": head + "kind: User\nmetadata: {name: a}\nspec: {id: ann@Example.com, disabled: [\n",
	} {
		s := build(nil, nil, []*parsed{parse("f.yaml", []byte(text), nil), resource}, time.Now())
		if p := s.people["ann@example.com"]; (p != nil) != (name == "usable") {
			t.Errorf("%s: %+v; %v", name, p, s.problems)
		}
	}
}

// An id that no login method accepts is reported as a problem.
func TestCheckNamesIDsThatNoLoginMethodAccepts(t *testing.T) {
	for id, want := range map[string]string{
		`'CORP\kim'`: "no login method accepts", `'ann,ben'`: "no login method accepts", `"a\"b"`: "no login method accepts",
		"jürgen": "ASCII", "'ann lee'": "a space", "system:admin": "system:", "SYSTEM:a@b.example": "system:",
		strings.Repeat("a", host.MaxUserID+1): "200 bytes",
		"ann@example.com":                     "", "github:583231": "", strings.Repeat("a", host.MaxUserID): "",
	} {
		r, err := CheckText("f.yaml", []byte(head+"kind: User\nmetadata: {name: x}\nspec: {id: "+id+"}\n"), []byte(shipped))
		if err != nil {
			t.Fatal(err)
		}
		if want == "" && len(r.Problems)+1 != r.Users || want != "" && (len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, want)) {
			t.Errorf("%.30s: %d users, %v, want %q", id, r.Users, r.Problems, want)
		}
	}
	// A team id may be any name of a provider's group.
	r, err := CheckText("f.yaml", []byte(head+"kind: Team\nmetadata: {name: x}\nspec: {id: 'CN=ops,DC=CORP\\x'}\n"), []byte(shipped))
	if err != nil || len(r.Problems) > 0 {
		t.Errorf("a team: %v, %v", r, err)
	}
}
