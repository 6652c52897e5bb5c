package authz

import (
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A change of one team counts at once for its members, and nobody else's
// decisions are made again, not even those of teams in the same file.
func TestAChangedTeamFlushesItsMembersAlone(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "people.yaml", people)
	d := openDirectory(t, dir)
	e := openEngine(t, "", d)
	logs := func(user host.UserID) host.Decision {
		return e.Decide(t.Context(), call(user, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods"}))
	}
	const pat = host.UserID("pat@example.com")
	for range 2 {
		logs(ada)
		logs(vic)
	}
	if d := logs(pat); !d.Allow {
		t.Fatalf("decided %+v", d)
	}
	changed := d.Changed()
	write(t, dir, "people.yaml", strings.Replace(people, "namespaces: [shop]", "namespaces: [till]", 1))
	<-changed
	if d := logs(pat); d.Allow || d.Cached {
		t.Errorf("a member: %+v", d)
	}
	for _, user := range []host.UserID{ada, vic} {
		if d := logs(user); !d.Cached {
			t.Errorf("%s, who is not in the team: %+v", user, d)
		}
	}
	changed = d.Changed()
	write(t, dir, "people.yaml", strings.Replace(people, "roles: [admin]", "roles: [admin], disabled: true", 1))
	<-changed
	if d := logs(ada); d.Allow || d.Cached {
		t.Errorf("disabled: %+v", d)
	}
	if d := logs(pat); !d.Allow {
		t.Errorf("put back: %+v", d)
	}
}
