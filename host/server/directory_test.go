package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// rbac is what the host needs to read the directory from a cluster, taken from
// the page that tells operators so.
func rbac(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "../directory/README.md"), "```yaml\n# rbac.yaml\n")
	text, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("host/directory/README.md has no rbac.yaml")
	}
	return text
}

// People, teams and roles of a real cluster count as those of files do, and
// whoever is taken away is nobody at once.
func TestCustomResourcesSayWhoMayDoWhat(t *testing.T) {
	c := clustertest.Start(t)
	if err := c.Apply(t, directory.CRDs()); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t, []byte(rbac(t))); err != nil {
		t.Fatal(err)
	}
	apply := func(text string) {
		t.Helper()
		if err := c.Apply(t, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(kind, name, spec string) string {
		return fmt.Sprintf("apiVersion: bulkhead.internal/v1\nkind: %s\nmetadata: {name: %s, namespace: bulkhead}\nspec: %s\n---\n", kind, name, spec)
	}
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "bulkhead.yaml", strings.Replace(read(t, w.dir+"/bulkhead.yaml"),
		"directory: {files: ./directory}", "directory: {files: ./directory, clusters: [{name: dev, namespaces: [bulkhead], replaceShippedRoles: [bulkhead]}]}", 1))
	apply(entry("Role", "operator", `{permissions: {actions: ["gitops:*"], plugins: [{name: gitops}]}}`) +
		entry("Team", "payments", `{id: payments, permissions: {actions: ["echo:*"], plugins: [{name: echo}]}}`) +
		entry("User", "cas", `{id: cas@example.com, roles: [operator], teams: [payments], profile: {fullName: Cas Cade}}`))
	w.open(t)
	var cas *actor
	eventually(t, "cas to be known", func() bool {
		return w.anonymous(t).post("/auth/login", map[string]string{"user": "cas@example.com"}).status == 200
	})
	cas = w.as(t, "cas")
	if got := cas.get("/auth/me"); !strings.Contains(got.body, `"teams":["payments"]`) || !strings.Contains(got.body, "Cas Cade") {
		t.Errorf("cas is %v", got)
	}
	expect(t, cas.get("/api/echo/echo"), 200, "by the team")
	expect(t, cas.post("/api/gitops/helm-uninstall", "{}"), 400, "by the role")
	expect(t, w.as(t, "vic").get("/api/echo/echo"), 200, "somebody of a file")

	apply(entry("Role", "viewer", `{permissions: {actions: ["gitops:*.read"], plugins: [{name: gitops}]}}`))
	eventually(t, "the shipped role to be replaced", func() bool { return w.as(t, "vic").get("/api/echo/echo").status == 403 })

	apply(entry("User", "vic", `{id: vic@example.com, roles: [admin]}`) + entry("User", "dot", `{id: dot@example.com, roles: [nosuch]}`))
	ada := w.as(t, "ada")
	var status struct {
		Clusters []struct{ Entries int }
		Problems []directory.Problem
	}
	eventually(t, "two problems", func() bool {
		ada.get("/api/admin/directory").json(t, &status)
		return len(status.Problems) == 2
	})
	for i, want := range []string{`dev/bulkhead/dot: User dot@example.com: there is no usable role "nosuch"`, "dev/bulkhead/vic: User vic@example.com: the id is also used by people.yaml:"} {
		if got := status.Problems[i].String(); !strings.HasPrefix(got, want) {
			t.Errorf("problem %q, want %q", got, want)
		}
	}
	expect(t, w.as(t, "vic").get("/api/admin/directory"), 403, "a viewer whom a custom resource would make an admin")
	if got := w.anonymous(t).get("/readyz"); got.status != 200 || !strings.Contains(got.body, `"directory":"degraded"`) {
		t.Errorf("readiness: %v", got)
	}

	conn, refused := cas.dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	if err := c.Delete(t, []byte(entry("User", "cas", "{id: cas@example.com}"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err == nil || !strings.Contains(err.Error(), "4403") {
		t.Errorf("the socket of a removed user ended with %v", err)
	}
	eventually(t, "cas to be nobody", func() bool { return cas.get("/auth/me").status == 401 })
}

func TestADirectoryClusterMustBeListedWithNamespaces(t *testing.T) {
	w := prepare(t, "")
	good := read(t, w.dir+"/bulkhead.yaml")
	for clusters, want := range map[string]string{
		"[{name: nowhere, namespaces: [a]}]":                           `directory.clusters[0].name: "nowhere" is not the name of a cluster in clusters`,
		"[{name: dev}]":                                                "directory.clusters[0].namespaces: is required",
		"[{name: dev, namespaces: ['*']}]":                             "directory.clusters[0].namespaces[0]",
		"[{name: dev, namespaces: [a, a]}]":                            "directory.clusters[0].namespaces[1]",
		"[{name: dev, namespaces: [a]}, {name: dev, namespaces: [b]}]": "directory.clusters[1].name",
		"[{name: dev, namespaces: [a], replaceShippedRoles: [a, b]}]":  `directory.clusters[0].replaceShippedRoles[1]: "b" must be one of namespaces`,
		"[{name: dev, namespaces: [a], labels: x}]":                    "labels",
	} {
		w.write(t, "bulkhead.yaml", strings.Replace(good, "{files: ./directory}", "{files: ./directory, clusters: "+clusters+"}", 1))
		if _, err := Load(w.dir+"/bulkhead.yaml", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", clusters, err, want)
		}
	}
}

// A cluster that never comes holds the start up for a moment and no longer.
func TestADirectoryClusterThatIsAwayDoesNotKeepTheHostFromStarting(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", strings.Replace(read(t, w.dir+"/bulkhead.yaml"),
		"directory: {files: ./directory}", "directory: {files: ./directory, clusters: [{name: dev, namespaces: [bulkhead]}]}", 1))
	w.open(t)
	expect(t, w.as(t, "eve").get("/api/echo/echo"), 200, "somebody of a file")
	if got := w.anonymous(t).get("/readyz"); got.status != 200 || !strings.Contains(got.body, `"directory":"degraded"`) {
		t.Errorf("readiness: %v", got)
	}
	if got := w.as(t, "ada").get("/api/admin/directory"); !strings.Contains(got.body, `"known":false`) {
		t.Errorf("directory: %v", got)
	}
}
