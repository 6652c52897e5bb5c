package authn

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Origin: with authentication off, kobs logged the user name of a header. Found in
// review: that name gave the rights of the named user.
func TestWithoutAuthenticationTheUserIsAnonymous(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options = Options{Disabled: &Disabled{Roles: []string{"viewer"}}} })
	f.people.unlisted = true
	f.people.set("root@example.com", Person{Name: "Root", Roles: []string{"admin"}})
	var login host.LoginID
	for said, name := range map[string]string{
		"": "", "root@example.com": "root@example.com", "system:admin": "system:admin", "J\u00fcrgen\n\x1b[31m": "J\u00fcrgen ?[31m",
		strings.Repeat("x", 500): strings.Repeat("x", maxDisplayName) + "…",
	} {
		r := f.via("127.0.0.1:5")
		if said != "" {
			r = f.via("127.0.0.1:5", email, said)
		}
		p, err := f.Resolve(r)
		if err != nil || p.User != anonymous || p.Name != name || p.Subject != anonymous || !p.Unlisted || len(p.Roles) > 0 ||
			!slices.Equal(f.proxy.mapping.asserted(nil).Roles, []string{"viewer"}) {
			t.Errorf("%q: %+v, %v", said, p, err)
		}
		// There is one user with one login, so that names do not fill the store.
		if login = cmp.Or(login, p.Login.ID); p.Login.ID != login {
			t.Errorf("%q has a login of its own", said)
		}
	}
	if n := len(f.store.Logins("root@example.com")); n != 0 {
		t.Errorf("%d logins of a user who was only named", n)
	}
	// A page of another site must not act through the browser on this machine.
	r := f.via("127.0.0.1:5", "Origin", "https://evil.example")
	r.Method = "POST"
	if err := f.CheckOrigin(r); host.KindOf(err) != host.Forbidden {
		t.Errorf("a foreign page: %v", err)
	}
}

// Without authentication the default role is admin. Configured roles stay even
// while the directory lacks one.
func TestTheRolesOfAnonymousDoNotDependOnTheDirectory(t *testing.T) {
	if got := newDisabled(&Disabled{}).mapping.asserted(nil).Roles; !slices.Equal(got, []string{"admin"}) {
		t.Errorf("by default %q", got)
	}
	f := setUp(t, func(c *Config) { c.Options = Options{Disabled: &Disabled{Roles: []string{"viewer", "editor"}}} })
	f.people.unlisted = true
	for _, has := range [][]string{nil, {"viewer"}, {"editor", "viewer"}} {
		f.people.set(anonymous, Person{Roles: has})
		p, err := f.Resolve(f.via("127.0.0.1:5"))
		if err != nil || !slices.Equal(p.Asserted.Roles, has) {
			t.Errorf("the directory has %q: %+v, %v", has, p, err)
		}
	}
}
