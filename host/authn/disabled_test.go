package authn

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Origin: kobs with authentication off still knew for its log who somebody said
// they were. Found in review: that name gave the rights of whom it named.
func TestWithoutAuthenticationTheUserIsAnonymousWhateverAHeaderSays(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options = Options{Disabled: &Disabled{Roles: []string{"viewer"}}} })
	f.people.everybody = true
	f.people.set("root@example.com", Person{Name: "Root", Roles: []string{"admin"}})
	var login host.LoginID
	for said, name := range map[string]string{
		"": "", "root@example.com": "root@example.com", "system:admin": "system:admin", "J\u00fcrgen\n\x1b[31m": "J\u00fcrgen[31m",
		strings.Repeat("x", 500): strings.Repeat("x", 100),
	} {
		r := f.via("127.0.0.1:5")
		if said != "" {
			r = f.via("127.0.0.1:5", email, said)
		}
		p, err := f.Resolve(r)
		if err != nil || p.User != anonymous || p.Name != name || p.Subject != anonymous || !p.Unlisted || len(p.Roles) > 0 ||
			!slices.Equal(f.hop.mapping.asserted(nil).Roles, []string{"viewer"}) {
			t.Errorf("%q: %+v, %v", said, p, err)
		}
		// There is one user, who has one login: names fill no store.
		if login = cmp.Or(login, p.Login.ID); p.Login.ID != login {
			t.Errorf("%q has a login of its own", said)
		}
	}
	if n := len(f.store.Logins("root@example.com")); n != 0 {
		t.Errorf("%d logins of a user who was only named", n)
	}
	// A page that somebody visits must not act through the browser on this machine.
	r := f.via("127.0.0.1:5", "Origin", "https://evil.example")
	r.Method = "POST"
	if err := f.CheckOrigin(r); host.KindOf(err) != host.Forbidden {
		t.Errorf("a foreign page: %v", err)
	}
}

// Without authentication the roles are admin if none are configured, and those
// configured stay although the directory may lack one for a while.
func TestTheRolesOfAnonymousStay(t *testing.T) {
	if got := newDisabled(&Disabled{}).mapping.asserted(nil).Roles; !slices.Equal(got, []string{"admin"}) {
		t.Errorf("by default %q", got)
	}
	f := setUp(t, func(c *Config) { c.Options = Options{Disabled: &Disabled{Roles: []string{"viewer", "editor"}}} })
	f.people.everybody = true
	for _, has := range [][]string{nil, {"viewer"}, {"editor", "viewer"}} {
		f.people.set(anonymous, Person{Roles: has})
		p, err := f.Resolve(f.via("127.0.0.1:5"))
		if err != nil || !slices.Equal(p.Asserted.Roles, has) {
			t.Errorf("the directory has %q: %+v, %v", has, p, err)
		}
	}
}
