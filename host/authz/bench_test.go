package authz

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// crowd is an engine over n teams with 20 permissions each, and a question that
// only the last of its user's five teams answers.
func crowd(b *testing.B, n int) (*Engine, *host.Question) {
	b.Helper()
	dir := b.TempDir()
	var yaml strings.Builder
	for i := range n {
		if i%1000 == 999 { // files have a size limit
			write(b, dir, fmt.Sprintf("crowd-%d.yaml", i), yaml.String())
			yaml.Reset()
		}
		fmt.Fprintf(&yaml, "---\n%skind: Team\nmetadata: {name: x}\nspec:\n  id: team-%d\n  permissions:\n    plugins:\n", apiVersion, i)
		for j := range 3 {
			fmt.Fprintf(&yaml, "    - {name: plugin-%d}\n", j)
		}
		yaml.WriteString("    - {name: pods}\n    actions: ['pods:*']\n    resources:\n")
		for j := range 16 {
			fmt.Fprintf(&yaml, "    - {clusters: [dev, prod], namespaces: [ns-%d-%d], resources: [pods, pods/log, deployments.apps], verbs: [get, list, watch]}\n", i, j)
		}
	}
	var teams []string
	for i := range 5 {
		teams = append(teams, fmt.Sprintf("team-%d", n-1-i))
	}
	fmt.Fprintf(&yaml, "---\n%skind: User\nmetadata: {name: x}\nspec: {id: ann, roles: [viewer], teams: [%s]}\n", apiVersion, strings.Join(teams, ", "))
	write(b, dir, "crowd.yaml", yaml.String())
	d := openDirectory(b, dir)
	if p := d.Problems(); len(p) > 0 {
		b.Fatal(p[0])
	}
	q := call("ann", host.CapabilityCall{
		Name: "kube", Verb: "watch", Group: "apps", Resource: "deployments", Cluster: "prod", Namespace: fmt.Sprintf("ns-%d-11", n-1), Object: "web",
	})
	return openEngine(b, "", d), q
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000} {
		e, q := crowd(b, n)
		if d := e.Decide(b.Context(), q); !d.Allow {
			b.Fatalf("decided %+v", d)
		}
		b.Run(fmt.Sprintf("cached/teams=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := e.Decide(b.Context(), q); !d.Cached {
					b.Fatal("not cached")
				}
			}
		})
		for _, kind := range []string{"route", "call"} {
			b.Run(fmt.Sprintf("evaluated/%s/teams=%d", kind, n), func(b *testing.B) {
				q := *q
				if kind == "route" {
					q.Capability = nil
				}
				now := e.current.Load().revision
				rev := &revision{compiled: now.compiled, eval: now.eval, reads: now.reads}
				uncached := &Engine{track: &track{log: e.log}, ids: e.ids}
				uncached.decider.init(e.directory, defaultDeadline)
				uncached.current.Store(&published{revision: rev, number: 1})
				b.ReportAllocs()
				for b.Loop() {
					if d := uncached.Decide(b.Context(), &q); !d.Allow || d.Cached {
						b.Fatalf("decided %+v", d)
					}
				}
			})
		}
	}
}
