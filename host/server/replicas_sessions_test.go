package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

// What somebody has running on another replica is seen and ended from here, by
// themselves and by an administrator, and nobody else loses anything.
func TestSessionsOfAnotherReplicaAreSeenAndEnded(t *testing.T) {
	etcd, key := statetest.Start(t, 1), statetest.Key(t)
	replica := func() *world {
		w := prepare(t, "")
		w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+
			fmt.Sprintf("state: {endpoints: [%q], keyFile: %q}\n", etcd.Endpoints[0], key))
		w.open(t)
		return w
	}
	a, b := replica(), replica()
	eve, there := a.as(t, "eve"), b.as(t, "eve")
	first, second := there.socket("/ws/echo"), there.socket("/ws/echo")
	foreign := b.as(t, "ed1").socket("/ws/echo")
	var l sessionList
	eventually(t, "the other replica's sessions", func() bool {
		l = eve.sessions("/auth/sessions")
		return len(l.Sessions) == 2 && len(l.Logins) == 2
	})
	if s := l.Sessions[0]; s.Replica != b.server.state.Replica() || s.Current {
		t.Errorf("shown as %+v", s)
	}
	if got := eve.end("/auth/sessions/" + l.Sessions[0].ID); got.status != 200 || strings.TrimSpace(got.body) != `{"ended":1,"closed":1}` {
		t.Errorf("ending one there: %v", got)
	}
	closedWith(t, first, 4410)
	answers(t, second)

	ada := a.as(t, "ada")
	if got := ada.end("/api/admin/sessions?replica=" + b.server.state.Replica() + "&user=eve@example.com"); got.status != 200 || strings.TrimSpace(got.body) != `{"ended":1,"closed":1}` {
		t.Errorf("ending as an administrator: %v", got)
	}
	closedWith(t, second, 4401)
	answers(t, foreign)
	expect(t, there.get("/auth/me"), 200, "the login there")
	if got := eve.end("/auth/sessions"); got.status != 200 || !strings.Contains(got.body, `"logins":1`) {
		t.Errorf("ending all others: %v", got)
	}
	eventually(t, "the other login to end", func() bool { return there.get("/auth/me").status == 401 })
	expect(t, eve.get("/auth/me"), 200, "this login")
}
