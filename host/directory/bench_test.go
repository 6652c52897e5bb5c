package directory

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// crowd is a snapshot of n teams with 20 permissions each and a user in the
// last five; only the last team's twelfth resource covers the question.
func crowd(n int) *snapshot {
	var entries []entry
	for i := range n {
		e := entry{kind: kindTeam, id: fmt.Sprintf("team-%d@example.com", i)}
		for j := range 4 {
			e.permissions.Plugins = append(e.permissions.Plugins, host.PluginPermission{Name: fmt.Sprintf("plugin-%d", j)})
		}
		for j := range 16 {
			namespace := fmt.Sprintf("ns-%d-%d", i, j)
			e.permissions.Resources = append(e.permissions.Resources, host.ResourcePermission{
				Clusters: []string{"dev", "prod"}, Namespaces: []string{namespace},
				Resources: []string{"pods", "pods/log", "deployments.apps"}, Verbs: []string{"get", "list", "watch"},
			})
		}
		entries = append(entries, e)
	}
	user := entry{kind: kindUser, id: "ann"}
	for i := max(0, n-5); i < n; i++ {
		user.teams = append(user.teams, membership{id: entries[i].id})
	}
	return build(nil, nil, []*parsed{{entries: append(entries, user)}}, time.Now())
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("teams=%d", n), func(b *testing.B) {
			s := crowd(n)
			q := kube("ann", "watch", "deployments", "prod", fmt.Sprintf("ns-%d-11", n-1))
			q.Capability.Group = "apps"
			if m := s.match(kinds, q); len(m.Matched) != 1 {
				b.Fatalf("%d matched", len(m.Matched))
			}
			b.ReportAllocs()
			for b.Loop() {
				s.match(kinds, q)
			}
		})
	}
}
