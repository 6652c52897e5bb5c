package directory

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// held is a cluster whose objects the test sets. The real one is tested in
// host/cluster and host/server.
type held struct {
	name string

	mu      sync.Mutex
	objects map[string]Object
	known   bool
	problem error
	version int
	changed chan struct{}
}

func newHeld(name string) *held {
	return &held{name: name, objects: map[string]Object{}, known: true, changed: make(chan struct{})}
}

func (h *held) Cluster() string { return h.name }

func (h *held) Objects() ([]Object, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.objects)), h.known
}

func (h *held) Problem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

func (h *held) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *held) edit(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *held) put(kind, namespace, name string, spec map[string]any) {
	h.edit(func() {
		h.version++
		h.objects[kind+namespace+name] = Object{
			Namespace: namespace, Name: name, UID: kind + namespace + name, Version: string(rune('0' + h.version)),
			Content: map[string]any{
				"apiVersion": apiVersion, "kind": kind, "spec": spec,
				"metadata": map[string]any{"name": name, "namespace": namespace, "generation": int64(1)},
			},
		}
	})
}

func user(id string, roles ...any) map[string]any { return map[string]any{"id": id, "roles": roles} }

func openWith(t *testing.T, content map[string]string, sources ...Source) *Directory {
	t.Helper()
	d, err := Open(t.Context(), Config{Kinds: kinds, Dir: newFiles(t, content).dir, Base: []byte(shipped), Clusters: sources, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func problems(d *Directory) (out []string) {
	for _, p := range d.Problems() {
		out = append(out, p.String())
	}
	return out
}

func TestFilesAndClustersAreOneDirectory(t *testing.T) {
	dev, prod := newHeld("dev"), newHeld("prod")
	dev.put("Team", "bulkhead", "shop", map[string]any{
		"id": "shop@example.com",
		"permissions": map[string]any{
			"plugins":   []any{map[string]any{"name": "azure", "custom": []any{map[string]any{"limit": int64(3), "share": 0.5, "on": true, "none": nil}}}},
			"resources": []any{map[string]any{"clusters": []any{"dev"}, "namespaces": []any{"shop"}, "resources": []any{"pods"}, "verbs": []any{"get"}}},
		}})
	prod.put("User", "people", "cas", map[string]any{"id": "cas@example.com", "roles": []any{"viewer"}, "teams": []any{"shop@example.com", "payments@example.com"}})
	d := openWith(t, map[string]string{"people.yaml": people}, dev, prod)
	if got := problems(d); len(got) > 0 {
		t.Fatalf("problems: %q", got)
	}
	cas, ok := d.Person("cas@example.com")
	if !ok || !slices.Equal(cas.Teams, []string{"payments@example.com", "shop@example.com"}) {
		t.Errorf("cas is %+v, %v", cas, ok)
	}
	got := origins(d.Match(kube("cas@example.com", "get", "pods", "dev", "shop")))
	for _, want := range []string{"team shop@example.com", "team payments@example.com"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("what matched, %q, lacks %q", got, want)
		}
	}
	for _, m := range d.Match(route("cas@example.com", "azure", "group.read")).Matched {
		if m.Plugin != nil && m.From.ID == "shop@example.com" && string(m.Plugin.Custom[0]) != `{"limit":3,"none":null,"on":true,"share":0.5}` {
			t.Errorf("the custom permission became %s", m.Plugin.Custom[0])
		}
	}
	change(t, d, func() { prod.edit(func() { clear(prod.objects) }) })
	if _, ok := d.Person("cas@example.com"); ok {
		t.Error("a user whose custom resource was deleted is still known")
	}
}

// Origin: kobs merged all Teams with the same id, so that any user who could create
// a Team could give rights to an existing one.
func TestDuplicatesAreReportedAndNotMerged(t *testing.T) {
	dev, prod := newHeld("dev"), newHeld("prod")
	dev.put("Team", "a", "payments", map[string]any{"id": "payments@example.com", "permissions": map[string]any{"actions": []any{"*"}}})
	dev.put("User", "a", "dan", user("dan@example.com", "viewer"))
	prod.put("User", "b", "dan", user("dan@example.com", "viewer"))
	prod.put("User", "b", "eli", user("eli@example.com", "viewer"))
	for _, sources := range [][]Source{{dev, prod}, {prod, dev}} {
		d := openWith(t, map[string]string{"people.yaml": people}, sources...)
		if _, ok := d.Person("dan@example.com"); ok {
			t.Error("one of two with the same id counts")
		}
		if _, ok := d.Person("eli@example.com"); !ok {
			t.Error("a duplicate hides another user")
		}
		for _, m := range d.Match(route("ann@example.com", "gitops", "helm.uninstall")).Matched {
			if m.From.Kind == host.FromTeam && m.Action != "" {
				t.Errorf("the team of a file was merged with a cluster's: %+v", m)
			}
		}
		want := []string{
			"dev/a/dan: User dan@example.com: the id is also used by prod/b/dan; neither is used",
			"dev/a/payments: Team payments@example.com: the id is also used by people.yaml:2; a file takes precedence over a custom resource",
			"prod/b/dan: User dan@example.com: the id is also used by dev/a/dan; neither is used",
		}
		if got := problems(d); !slices.Equal(got, want) {
			t.Errorf("problems:\n%s", strings.Join(got, "\n"))
		}
	}
}

// A custom resource cannot restore rights that a file removes, even if the file's
// entry is invalid.
func TestABrokenFileEntryKeepsCustomResourcesOut(t *testing.T) {
	dev := newHeld("dev")
	dev.put("User", "a", "ann", user("ann@example.com", "viewer"))
	for name, text := range map[string]string{
		"unknown key": head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, disable: true}\n",
		"beside spec": head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com}\ndisabled: true\n",
		"metadata":    head + "kind: User\nmetadata: {name: ann, label: a}\nspec: {id: ann@example.com, disabled: true}\n",
		"no name":     head + "kind: User\nmetadata: {}\nspec: {id: ann@example.com, disabled: true}\n",
		"kind":        head + "kind: user\nmetadata: {name: ann}\nspec: {id: ann@example.com, disabled: true}\n",
		"version":     "apiVersion: v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, disabled: true}\n",
		"not YAML":    head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, disabled: [true}\n",
	} {
		d := openWith(t, map[string]string{"a.yaml": text}, dev)
		if p, ok := d.Person("ann@example.com"); ok {
			t.Errorf("%s: ann is %+v", name, p)
		}
		if got := strings.Join(problems(d), "\n"); !strings.Contains(got, "dev/a/ann: User ann@example.com: a file has an invalid entry with this id") {
			t.Errorf("%s: problems:\n%s", name, got)
		}
	}
}

func TestAnInvalidResourceIsSkippedAndReported(t *testing.T) {
	dev := newHeld("dev")
	dev.put("User", "a", "bad", map[string]any{"id": "two words"})
	dev.put("User", "a", "worse", nil)
	dev.put("User", "a", "good", user("good@example.com", "viewer", "nowhere"))
	d := openWith(t, nil, dev)
	if _, ok := d.Person("good@example.com"); !ok {
		t.Error("a bad entry hides a good one")
	}
	got := strings.Join(problems(d), "\n")
	for _, want := range []string{
		"dev/a/bad: spec.id has a space", "dev/a/worse: spec.id is missing",
		`dev/a/good: User good@example.com: there is no usable role "nowhere"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("problems lack %q:\n%s", want, got)
		}
	}
	if d.Degraded() == nil {
		t.Error("the directory does not say that it is incomplete")
	}
}

func TestAnUnreachableClusterKeepsItsLastEntries(t *testing.T) {
	dev := newHeld("dev")
	dev.known, dev.problem = false, errors.New("connection refused")
	d := openWith(t, nil, dev)
	if d.Degraded() == nil || d.Sources()[0].Known {
		t.Fatalf("a cluster that was never read: %+v, %v", d.Sources(), d.Degraded())
	}
	change(t, d, func() {
		dev.edit(func() { dev.known, dev.problem = true, nil })
		dev.put("User", "a", "ann", user("ann@example.com", "viewer"))
	})
	if _, ok := d.Person("ann@example.com"); !ok || d.Degraded() != nil {
		t.Fatalf("once it was read: %v, %+v", ok, d.Sources())
	}
	dev.edit(func() { dev.problem = errors.New("no route to host") })
	for deadline := time.Now().Add(20 * time.Second); d.Degraded() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not say that the cluster is away")
		}
	}
	if _, ok := d.Person("ann@example.com"); !ok {
		t.Error("the last known entries are gone")
	}
	if s := d.Sources()[0]; s.Problem != "no route to host" || s.Objects != 1 || s.Since.IsZero() {
		t.Errorf("status: %+v", s)
	}
}

func TestADirectoryMayConsistOfClustersOnly(t *testing.T) {
	dev := newHeld("dev")
	dev.put("User", "a", "ann", user("ann@example.com", "viewer"))
	d, err := Open(t.Context(), Config{Kinds: kinds, Base: []byte(shipped), Clusters: []Source{dev}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if p, ok := d.Person("ann@example.com"); !ok || !slices.Equal(p.Roles, []string{"viewer"}) {
		t.Errorf("got %+v, %v", p, ok)
	}
}
