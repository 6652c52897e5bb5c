package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// watched is two namespaces with users who may list and watch in one, in both and in none.
type watched struct {
	set      *cluster.Set
	cluster  *clustertest.Cluster
	one, all *host.Impersonation
	a, b     string
	resource string
}

// watching makes a resource of its own for the test, so that others share no watch of it.
func watching(t *testing.T, shared bool) *watched {
	t.Helper()
	c := clustertest.Start(t)
	n := fmt.Sprintf("%s%d", strings.ToLower(strings.NewReplacer("/", "", "_", "").Replace(t.Name()))[4:], time.Now().UnixNano()%1e6)
	if len(n) > 40 {
		n = n[len(n)-40:]
	}
	w := &watched{
		cluster: c, a: n + "-a", b: n + "-b", resource: n + "s",
		one: &host.Impersonation{User: n + "-one@example.com"}, all: &host.Impersonation{User: n + "-all@example.com"},
	}
	w.apply(t, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.watched.example.com}
spec:
  group: watched.example.com
  names: {plural: %[1]ss, kind: K%[1]s}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s-a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s-b}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s-watch}
rules: [{apiGroups: [watched.example.com], resources: ["%[1]ss"], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s-watch}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s-watch}
subjects:
  - {kind: User, name: %[1]s-all@example.com}
  - {kind: ServiceAccount, name: bulkhead, namespace: bulkhead-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: watch, namespace: %[1]s-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s-watch}
subjects: [{kind: User, name: %[1]s-one@example.com}]
`, n))
	config := cluster.Config{Name: "dev", Kubeconfig: c.HostKubeconfig}
	if shared {
		config.SharedWatches = []string{w.resource + ".watched.example.com"}
	}
	set, err := cluster.Open(t.Context(), []cluster.Config{config}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	w.set = set
	return w
}

func (w *watched) apply(t *testing.T, text string) {
	t.Helper()
	if err := w.cluster.Apply(t, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// put makes or changes an object.
func (w *watched) put(t *testing.T, namespace, name, value string) {
	t.Helper()
	w.apply(t, w.object(namespace, name, value))
}

func (w *watched) object(namespace, name, value string) string {
	return fmt.Sprintf("{apiVersion: watched.example.com/v1, kind: K%s, metadata: {name: %s, namespace: %s}, value: %q}",
		strings.TrimSuffix(w.resource, "s"), name, namespace, value)
}

func (w *watched) ask(ctx context.Context, user *host.Impersonation, auth host.Authority, with cluster.Watch) (*cluster.Changes, error) {
	with.Group, with.Version, with.Resource = "watched.example.com", "v1", w.resource
	if with.Limit == 0 {
		with.Limit = 1 << 20
	}
	return w.set.Watch(ctx, "dev", user, auth, &with)
}

// until asks again until the changes have what is wanted, and returns them.
func (w *watched) until(t *testing.T, user *host.Impersonation, with cluster.Watch, want string) *cluster.Changes {
	t.Helper()
	with.Wait = time.Second
	var last string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		c, err := w.ask(t.Context(), user, &clustertest.Authority{}, with)
		if err != nil {
			last = err.Error()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if last = shown(c); last == want {
			return c
		}
		if !c.Complete {
			continue // asked from the same cursor again
		}
	}
	t.Fatalf("got %q, want %q", last, want)
	return nil
}

// shown is "complete a/x=1 -b/y": the value of each object, a minus for a deleted one.
func shown(c *cluster.Changes) string {
	var parts []string
	if c.Complete {
		parts = append(parts, "complete")
	}
	for _, x := range c.List {
		ns := x.Namespace[strings.LastIndex(x.Namespace, "-")+1:]
		if x.Deleted {
			parts = append(parts, "-"+ns+"/"+x.Name)
			continue
		}
		var o struct {
			Value    string
			Metadata struct{ ManagedFields []any }
		}
		if err := json.Unmarshal(x.Object, &o); err != nil || o.Metadata.ManagedFields != nil {
			parts = append(parts, "?")
		}
		parts = append(parts, ns+"/"+x.Name+"="+o.Value)
	}
	return strings.Join(parts, " ")
}

func TestViewersShareTheHostsWatchAndSeeWhatTheyMayList(t *testing.T) {
	w := watching(t, true)
	w.put(t, w.a, "x", "1")
	w.put(t, w.b, "v", "1")
	first := w.until(t, w.all, cluster.Watch{}, "complete a/x=1 b/v=1")
	of := w.until(t, w.one, cluster.Watch{}, "complete a/x=1")
	w.until(t, w.all, cluster.Watch{Within: func(ns string) bool { return ns == w.b }}, "complete b/v=1")
	w.until(t, w.all, cluster.Watch{Collection: cluster.Collection{Namespace: w.b}}, "complete b/v=1")
	for what, c := range map[string]cluster.Collection{"all namespaces": {}, "one": {Namespace: w.a}} {
		if _, err := w.ask(t.Context(), clustertest.Nobody, &clustertest.Authority{}, cluster.Watch{Collection: c}); host.KindOf(err) != host.Forbidden {
			t.Errorf("a user without rights watches %s: %v", what, err)
		}
	}
	if _, err := w.ask(t.Context(), w.one, &clustertest.Authority{}, cluster.Watch{Collection: cluster.Collection{Namespace: w.b}}); host.KindOf(err) != host.Forbidden {
		t.Errorf("a user watches a namespace without the right: %v", err)
	}
	if n := w.set.Watches(); n != 1 {
		t.Errorf("%d watches are open", n)
	}

	w.put(t, w.b, "v", "2")
	w.until(t, w.all, cluster.Watch{Cursor: first.Cursor}, "b/v=2")
	w.put(t, w.a, "x", "2")
	w.until(t, w.all, cluster.Watch{Cursor: first.Cursor}, "b/v=2 a/x=2")
	w.until(t, w.one, cluster.Watch{Cursor: of.Cursor}, "a/x=2")
	w.until(t, w.one, cluster.Watch{Cursor: first.Cursor}, "complete a/x=2") // a cursor of other rights

	own := 0
	for _, e := range w.cluster.Audit(t) {
		if e.Verb == "watch" && e.ObjectRef.Resource == w.resource {
			if e.ImpersonatedUser != nil {
				t.Errorf("%s watched", e.ImpersonatedUser.Username)
			}
			own++
		}
	}
	if own > 1 { // the line is written when the watch ends, at some audit levels
		t.Errorf("the host watched %d times", own)
	}
}

func TestACursorResumesAndSaysWhatWasDeleted(t *testing.T) {
	w := watching(t, true)
	for _, name := range []string{"k", "l", "m"} {
		w.put(t, w.a, name, "1")
	}
	c := w.until(t, w.one, cluster.Watch{Limit: 1}, "complete a/k=1")
	var rest []string
	for c.More {
		c = w.until(t, w.one, cluster.Watch{Limit: 1, Cursor: c.Cursor}, fmt.Sprintf("a/%c=1", 'l'+rune(len(rest))))
		rest = append(rest, shown(c))
	}
	if !slices.Equal(rest, []string{"a/l=1", "a/m=1"}) {
		t.Errorf("the pages are %q", rest)
	}
	if err := w.cluster.Delete(t, []byte(w.object(w.a, "l", "1"))); err != nil {
		t.Fatal(err)
	}
	w.until(t, w.one, cluster.Watch{Cursor: c.Cursor}, "-a/l")
	w.until(t, w.one, cluster.Watch{Cursor: "no cursor"}, "complete a/k=1 a/m=1")
	w.until(t, w.one, cluster.Watch{Cursor: "1/x"}, "complete a/k=1 a/m=1") // long forgotten
}

func TestWithoutSharingTheWatchIsTheUsersOwn(t *testing.T) {
	w := watching(t, false)
	w.put(t, w.a, "x", "1")
	w.until(t, w.all, cluster.Watch{}, "complete a/x=1")
	w.until(t, w.one, cluster.Watch{Collection: cluster.Collection{Namespace: w.a}}, "complete a/x=1")
	if _, err := w.ask(t.Context(), w.one, &clustertest.Authority{}, cluster.Watch{}); host.KindOf(err) != host.Forbidden {
		t.Errorf("all namespaces without the right: %v", err)
	}
	w.set.Close()
	seen := map[string]bool{}
	w.cluster.Audited(t, "watches of both users", func(e clustertest.Event) bool {
		if e.Verb == "watch" && e.ObjectRef.Resource == w.resource && e.ImpersonatedUser != nil {
			seen[e.ImpersonatedUser.Username] = true
		}
		return seen[w.one.User] && seen[w.all.User]
	})
}

func TestAUsersOwnWatchEndsWithTheAuthority(t *testing.T) {
	w := watching(t, false)
	auth := &clustertest.Authority{}
	if _, err := w.ask(t.Context(), w.all, auth, cluster.Watch{}); err != nil {
		t.Fatal(err)
	}
	if n := w.set.Watches(); n != 1 {
		t.Fatalf("%d watches are open", n)
	}
	auth.Lose(host.ErrLoggedOut)
	for deadline := time.Now().Add(10 * time.Second); w.set.Watches() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watch goes on after the logout")
		}
	}
	if _, err := w.ask(t.Context(), w.all, auth, cluster.Watch{}); err == nil {
		t.Error("a session without authority watches")
	}
}

func TestARightThatIsWithdrawnHidesTheObjects(t *testing.T) {
	w := watching(t, true)
	w.put(t, w.a, "x", "1")
	c := w.until(t, w.one, cluster.Watch{}, "complete a/x=1")
	if err := w.cluster.Delete(t, fmt.Appendf(nil, "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: watch, namespace: %s}}", w.a)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		_, err := w.ask(t.Context(), w.one, &clustertest.Authority{}, cluster.Watch{Cursor: c.Cursor})
		if host.KindOf(err) == host.Forbidden && err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still visible: %v", err)
		}
	}
}
