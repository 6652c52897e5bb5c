package cluster_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// readable makes the namespaces and lets the host read the directory in them.
func readable(t *testing.T, c *clustertest.Cluster, namespaces ...string) {
	t.Helper()
	if err := c.Apply(t, directory.CRDs()); err != nil {
		t.Fatal(err)
	}
	for _, ns := range namespaces {
		text := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: bulkhead-directory, namespace: %[1]s}
rules: [{apiGroups: [bulkhead.internal], resources: [users, teams, roles], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bulkhead-directory, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: bulkhead-directory}
subjects: [{kind: ServiceAccount, name: bulkhead, namespace: bulkhead-system}]
`, ns)
		if err := c.Apply(t, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func user(ns, name string) []byte {
	return fmt.Appendf(nil, "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: %s, namespace: %s}\nspec: {id: %[1]s@example.com, roles: [viewer]}\n", name, ns)
}

// until waits until ok returns true, checking after each change of the follower.
func until(t *testing.T, f *cluster.Follower, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		changed := f.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // that a cluster is away is not announced
		case <-deadline:
			t.Fatalf("waited a minute for %s; problem: %v", what, f.Problem())
		}
	}
}

func names(f *cluster.Follower) string {
	list, known := f.Objects()
	var out []string
	for _, o := range list {
		out = append(out, o.Namespace+"/"+o.Name)
	}
	return fmt.Sprint(known, " ", strings.Join(out, " "))
}

func TestFollowingReadsTheListedNamespacesOnly(t *testing.T) {
	c := clustertest.Start(t)
	readable(t, c, "follow-a", "follow-b", "follow-c")
	for _, ns := range []string{"follow-a", "follow-b", "follow-c"} {
		if err := c.Apply(t, user(ns, "ann")); err != nil {
			t.Fatal(err)
		}
	}
	f, err := c.Open(t).Follow(t.Context(), clustertest.Name, []string{"follow-a", "follow-b"}, directory.Resources()...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	until(t, f, "the users of two namespaces", func() bool { return names(f) == "true follow-a/ann follow-b/ann" })
	if err := f.Problem(); err != nil {
		t.Errorf("a problem: %v", err)
	}
	if err := c.Apply(t, user("follow-b", "ben")); err != nil {
		t.Fatal(err)
	}
	until(t, f, "a new user", func() bool { return names(f) == "true follow-a/ann follow-b/ann follow-b/ben" })
	if err := c.Delete(t, user("follow-a", "ann")); err != nil {
		t.Fatal(err)
	}
	until(t, f, "a removed user", func() bool { return names(f) == "true follow-b/ann follow-b/ben" })
}

func TestFollowingReportsMissingRBACAndCRDs(t *testing.T) {
	c := clustertest.Start(t)
	readable(t, c)
	f, err := c.Open(t).Follow(t.Context(), clustertest.Name, []string{"shop"}, "users")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	until(t, f, "the refusal", func() bool {
		err := f.Problem()
		return err != nil && strings.Contains(err.Error(), `users.bulkhead.internal in namespace "shop"`) && strings.Contains(err.Error(), "grant the host's own identity get, list and watch")
	})
	if got := names(f); got != "false " {
		t.Errorf("it knows %s", got)
	}
	if _, err := c.Open(t).Follow(t.Context(), "absent", nil); host.KindOf(err) != host.NotFound {
		t.Errorf("an unknown cluster: %v", err)
	}
}

// cable is a connection to the API server that the test can interrupt.
type cable struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) serve() {
	for {
		near, err := c.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		far, err := net.Dial("tcp", c.to)
		if cut || err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, near, far)
		c.mu.Unlock()
		go pipe(near, far)
		go pipe(far, near)
	}
}

func pipe(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := a.Read(buf)
		if n > 0 {
			if _, err := b.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for _, conn := range c.conns {
			conn.Close()
		}
		c.conns = nil
	}
}

func TestFollowingKeepsObjectsWhileTheClusterIsUnreachable(t *testing.T) {
	c := clustertest.Start(t)
	readable(t, c, "follow-away")
	if err := c.Apply(t, user("follow-away", "ann")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.HostKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	server := regexp.MustCompile(`https://([^\s"]+)`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line := &cable{Listener: l, to: string(server.FindSubmatch(text)[1])}
	go line.serve()
	defer line.set(true)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, server.ReplaceAll(text, []byte("https://"+l.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := cluster.Open(t.Context(), []cluster.Config{{Name: "dev", Kubeconfig: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	f, err := set.Follow(t.Context(), "dev", []string{"follow-away"}, "users")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	until(t, f, "the user", func() bool { return names(f) == "true follow-away/ann" })

	line.set(true)
	until(t, f, "the cluster to be away", func() bool { return f.Problem() != nil })
	if err := c.Delete(t, user("follow-away", "ann")); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t, user("follow-away", "ben")); err != nil {
		t.Fatal(err)
	}
	if got := names(f); got != "true follow-away/ann" {
		t.Errorf("while away it knows %s", got)
	}
	line.set(false)
	until(t, f, "what happened meanwhile", func() bool { return names(f) == "true follow-away/ben" && f.Problem() == nil })
}

// The schemas refuse entries that the host would have to leave out.
func TestSchemasRefuseMalformedEntries(t *testing.T) {
	c := clustertest.Start(t)
	readable(t, c, "schemas")
	const head = "apiVersion: bulkhead.internal/v1\nmetadata: {name: x, namespace: schemas}\n"
	for text, want := range map[string]string{
		"kind: User\nspec: {roles: [viewer]}":                                                                         "spec.id",
		"kind: User\nspec: {id: 'two words'}":                                                                         "spec.id",
		"kind: User\nspec: {id: 'system:admin'}":                                                                      "belong to the cluster itself",
		"kind: User\nspec: {id: a, roles: viewer}":                                                                    "spec.roles",
		"kind: User\nspec: {id: a, roles: ['']}":                                                                      "spec.roles[0]",
		"kind: User\nspec: {id: a, roles: [{name: b}]}":                                                               "spec.roles[0].until",
		"kind: User\nspec: {id: a, roles: [{name: b, until: soon}]}":                                                  "spec.roles[0].until",
		"kind: User\nspec: {id: a, roles: [{name: b, until: 2026-12-01T18:00:00}]}":                                   "spec.roles[0].until",
		"kind: User\nspec: {id: a, roles: [{name: b, unti: 2026-12-01T18:00:00Z}]}":                                   "spec.roles[0].until",
		"kind: User\nspec: {id: a, teams: [{id: b, until: 2026-12-01T18:00:00Z, c: 1}]}":                              "spec.teams[0]",
		"kind: User\nspec: {id: a, admin: true}":                                                                      "admin",
		"kind: Team\nspec: {id: a, permissions: {actions: [nothing]}}":                                                "spec.permissions.actions",
		"kind: Team\nspec: {id: a, permissions: {plugins: [{custom: [1]}]}}":                                          "spec.permissions.plugins[0].name",
		"kind: Role\nspec: {permissions: {resources: [{clusters: [a], namespaces: [b], resources: [], verbs: [c]}]}}": "spec.permissions.resources[0].resources",
	} {
		if err := c.Apply(t, []byte(head+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, good := range []string{
		"kind: Team\nspec: {id: a, permissions: {plugins: [{name: azure, custom: [1, {a: [b]}, text, true]}]}}\n", // any JSON
		"kind: User\nspec: {id: a, roles: [viewer, {name: oncall, until: 2026-12-01T18:00:00Z}], teams: [b, {id: c, until: '2026-12-01T18:00:00.5+01:00'}]}\n",
	} {
		if err := c.Apply(t, []byte(head+good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
