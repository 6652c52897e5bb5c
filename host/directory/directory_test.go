package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shipped = `
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: viewer}
spec: {permissions: {actions: ["*:*.read"], plugins: [{name: "*"}]}}
`

const people = `
apiVersion: bulkhead.internal/v1
kind: Team
metadata: {name: payments}
spec:
  id: payments@example.com
  permissions:
    plugins: [{name: azure, custom: [{resources: [containerinstances], verbs: [get]}]}]
    resources: [{clusters: [dev], namespaces: [shop, "shop-*"], resources: [pods, pods/exec], verbs: ["*"]}]
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec:
  id: ann@example.com
  roles: [viewer]
  teams: [payments@example.com]
  profile: {fullName: Ann Lee}
  permissions: {actions: ["gitops:helm.upgrade"]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ben}
spec: {id: ben@example.com, disabled: true, roles: [viewer]}
`

// files is a directory of files that the test edits.
type files struct {
	t   *testing.T
	dir string
}

func newFiles(t *testing.T, content map[string]string) files {
	f := files{t, t.TempDir()}
	for name, text := range content {
		f.write(name, text)
	}
	return f
}

func (f files) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f files) open() *Directory {
	f.t.Helper()
	d, err := Open(f.t.Context(), Config{Kinds: kinds, Dir: f.dir, Base: []byte(shipped)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { d.Close() })
	return d
}

// change runs edit and waits until d has another revision.
func change(t *testing.T, d *Directory, edit func()) {
	t.Helper()
	changed := d.Changed()
	edit()
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatal("the change was not seen")
	}
}

// reread makes d read its files as often as a change needs, in a synctest bubble.
func reread(d *Directory) {
	_ = d.reload()
	time.Sleep(lookAgain)
	_ = d.reload()
}

func route(user host.UserID, plugin, action string) *host.Question {
	return &host.Question{
		Principal: &host.Principal{User: user},
		Route:     host.Route{Plugin: plugin, Action: host.Action(plugin + ":" + action)},
	}
}

// kinds are as the host's own: resource permissions cover calls of a cluster alone.
var kinds = capability.NewCatalog(
	&capability.Kind{Name: "kube", Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb }},
	&capability.Kind{Name: "exec", Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), "create" }},
	&capability.Kind{Name: "helm", Permission: func(c *host.CapabilityCall) (resource, verb string) { return "releases.helm.sh", c.Verb }},
	&capability.Kind{Name: "azure"},
)

func kube(user host.UserID, verb, resource, cluster, namespace string) *host.Question {
	q := route(user, "pods", "list.read")
	q.Capability = &host.CapabilityCall{
		Name: "kube", Verb: verb, Resource: resource, Cluster: cluster, Namespace: namespace,
	}
	return q
}

// origins lists what matched as "kind id what".
func origins(m host.Matching) []string {
	out := []string{}
	for _, x := range m.Matched {
		what := x.Action
		switch {
		case x.Plugin != nil:
			what = "plugin " + x.Plugin.Name
		case x.Resource != nil:
			what = "resources " + strings.Join(x.Resource.Resources, ",")
		}
		out = append(out, fmt.Sprintf("%s %s %s", x.From.Kind, x.From.ID, what))
	}
	return out
}

func TestAUserHasThePermissionsOfTheirEntryRolesAndTeams(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": people}).open()
	ann, ok := d.Person("ann@example.com")
	if !ok || ann.Name != "Ann Lee" || !slices.Equal(ann.Roles, []string{"viewer"}) ||
		!slices.Equal(ann.Teams, []string{"payments@example.com"}) || ann.Disabled {
		t.Errorf("ann is %+v, %t", ann, ok)
	}
	for _, c := range []struct {
		q    *host.Question
		want []string
	}{
		{route("ann@example.com", "gitops", "helm.upgrade"), []string{
			"user ann@example.com gitops:helm.upgrade", "role viewer plugin *",
			"team payments@example.com resources pods,pods/exec",
		}},
		{route("ann@example.com", "azure", "groups.read"), []string{
			"role viewer *:*.read", "role viewer plugin *", "team payments@example.com plugin azure",
			"team payments@example.com resources pods,pods/exec",
		}},
		{kube("ann@example.com", "delete", "pods", "dev", "shop-2"), []string{
			"role viewer *:*.read", "role viewer plugin *", "team payments@example.com resources pods,pods/exec",
		}},
		{kube("ann@example.com", "delete", "pods", "prod", "shop"), []string{"role viewer *:*.read", "role viewer plugin *"}},
	} {
		if got := origins(d.Match(c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%v: matched %q, want %q", c.q.Route.Action, got, c.want)
		}
	}
	m := d.Match(route("ann@example.com", "azure", "groups.read"))
	if got := string(m.Matched[2].Plugin.Custom[0]); got != `{"resources":["containerinstances"],"verbs":["get"]}` {
		t.Errorf("custom is %s", got)
	}
}

func TestUnknownDisabledAndUnlistedUsersHaveNoPermissions(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": people}).open()
	for _, user := range []host.UserID{"", "ben@example.com", "eve@example.com"} {
		q := route(user, "gitops", "helm.read")
		q.Principal.Roles = []string{"viewer"} // what a principal claims counts for nothing
		m := d.Match(q)
		if len(m.Matched) != 0 || len(m.Roles) != 0 || m.Revision != 1 {
			t.Errorf("%q has %q, roles %v, revision %d", user, origins(m), m.Roles, m.Revision)
		}
	}
	if m := d.Match(&host.Question{}); len(m.Matched) != 0 {
		t.Error("a question without a principal matched")
	}
}

func TestAnEmptyDimensionOfACallMeansAll(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": people + `
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: cat}
spec:
  id: cat
  permissions:
    resources:
      - {clusters: ["*"], namespaces: ["*"], resources: [nodes], verbs: [list]}
      - {clusters: ["*"], namespaces: ["?", "team-*"], resources: ["*"], verbs: ["*"]}
`}).open()
	matches := func(q *host.Question) int {
		n := 0
		for _, m := range d.Match(q).Matched {
			if m.Resource != nil {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name string
		q    *host.Question
		want int
	}{
		{"a permitted namespace", kube("ann@example.com", "list", "pods", "dev", "shop"), 1},
		{"all namespaces with some permitted", kube("ann@example.com", "list", "pods", "dev", ""), 0},
		{"no cluster", kube("ann@example.com", "list", "pods", "", "shop"), 0},
		{"a path without a resource", kube("ann@example.com", "get", "", "dev", "shop"), 0},
		{"all namespaces with all permitted", kube("cat", "list", "nodes", "dev", ""), 1},
		{"a namespace by its prefix", kube("cat", "list", "pods", "dev", "team-7"), 1},
		{"another verb", kube("cat", "delete", "nodes", "dev", ""), 0},
	} {
		if got := matches(c.q); got != c.want {
			t.Errorf("%s: %d resource permissions matched, want %d", c.name, got, c.want)
		}
	}
	q := route("ann@example.com", "gitops", "helm.read")
	for _, c := range []struct {
		resource host.Resource
		want     int
	}{{nil, 1}, {host.Resource{"cluster": "dev"}, 1}, {host.Resource{"cluster": "prod"}, 0}, {host.Resource{"namespace": ""}, 0}} {
		q.Resource = c.resource
		if got := matches(q); got != c.want {
			t.Errorf("a route naming %v: %d matched, want %d", c.resource, got, c.want)
		}
	}
}

func TestTargetsOfCapabilityCalls(t *testing.T) {
	d := newFiles(t, map[string]string{"people.yaml": `
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec:
  id: ann
  permissions:
    resources:
      - {clusters: [dev], namespaces: [shop], resources: [pods/exec], verbs: [create]}
      - {clusters: [dev], namespaces: [shop], resources: [releases.helm.sh], verbs: [history]}
      - {clusters: [dev], namespaces: [shop], resources: [applications.argoproj.io], verbs: [get]}
`}).open()
	for _, c := range []struct {
		call host.CapabilityCall
		want bool
	}{
		{host.CapabilityCall{Name: "exec", Verb: "get", Resource: "pods", Subresource: "exec"}, true},
		{host.CapabilityCall{Name: "exec", Verb: "create", Resource: "pods", Subresource: "attach"}, false},
		{host.CapabilityCall{Name: "helm", Verb: "history", Object: "web"}, true},
		{host.CapabilityCall{Name: "helm", Verb: "rollback", Object: "web"}, false},
		{host.CapabilityCall{Name: "kube", Verb: "get", Resource: "applications", Group: "argoproj.io"}, true},
		{host.CapabilityCall{Name: "kube", Verb: "get", Resource: "applications"}, false},
		{host.CapabilityCall{Name: "azure", Verb: "get", Resource: "applications", Group: "argoproj.io"}, false},
	} {
		c.call.Cluster, c.call.Namespace = "dev", "shop"
		q := &host.Question{Principal: &host.Principal{User: "ann"}, Capability: &c.call}
		if got := len(d.Match(q).Matched); got != map[bool]int{true: 1}[c.want] {
			t.Errorf("%s %s %s: %d permissions match", c.call.Name, c.call.Verb, c.call.GroupResource(), got)
		}
	}
}

func TestTheHostsOwnActionsMustBeNamed(t *testing.T) {
	for pattern, want := range map[string]bool{
		"*": true, "admin:*": true, "admin:audit.read": true, "*:*.read": false, "*:*": false, "adm*:*": false,
	} {
		if got := actionCovered("admin:audit.read", pattern); got != want {
			t.Errorf("%q covers admin:audit.read: %t", pattern, got)
		}
	}
}

func TestAMissingDirectoryNamesTheField(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		_, err := Open(t.Context(), Config{Kinds: kinds, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "directory") || !strings.Contains(err.Error(), "files") || host.KindOf(err) != host.Invalid {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

func TestABrokenBaseIsAnError(t *testing.T) {
	for _, base := range []string{"a: [", people, shipped + "---" + shipped} {
		if _, err := Open(t.Context(), Config{Kinds: kinds, Dir: t.TempDir(), Base: []byte(base)}); err == nil {
			t.Errorf("opened over %q", base)
		}
	}
}

func TestEditsAreDetected(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": people})
	d := f.open()
	edits := []struct {
		name string
		edit func()
		want string
	}{
		{"written in place", func() { f.write("people.yaml", strings.Replace(people, "Ann Lee", "Ann One", 1)) }, "Ann One"},
		{"renamed over", func() {
			f.write(".people.tmp", strings.Replace(people, "Ann Lee", "Ann Two", 1))
			if err := os.Rename(filepath.Join(f.dir, ".people.tmp"), filepath.Join(f.dir, "people.yaml")); err != nil {
				t.Error(err)
			}
		}, "Ann Two"},
		{"moved to another file", func() {
			f.write("other.yml", strings.Replace(people, "Ann Lee", "Ann Three", 1))
			if err := os.Remove(filepath.Join(f.dir, "people.yaml")); err != nil {
				t.Error(err)
			}
		}, "Ann Three"},
	}
	for i, e := range edits {
		change(t, d, e.edit)
		// An edit of two steps may be detected as two changes.
		for p, _ := d.Person("ann@example.com"); p.Name != e.want; p, _ = d.Person("ann@example.com") {
			change(t, d, func() {})
		}
		if d.Revision() < uint64(i+2) {
			t.Errorf("%s: revision %d", e.name, d.Revision())
		}
	}
}

func TestAVolumeUpdateIsDetected(t *testing.T) {
	dir := t.TempDir()
	version := func(name, text string) {
		f := files{t, filepath.Join(dir, name)}
		if err := os.Mkdir(f.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f.write("people.yaml", text)
		if err := os.Symlink(name, filepath.Join(dir, "..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", people)
	if err := os.Symlink("..data/people.yaml", filepath.Join(dir, "people.yaml")); err != nil {
		t.Fatal(err)
	}
	d := files{t, dir}.open()
	if _, ok := d.Person("ann@example.com"); !ok {
		t.Fatalf("ann is missing: %v", d.Problems())
	}
	change(t, d, func() { version("..2", strings.Replace(people, "ann@", "anna@", 1)) })
	if _, ok := d.Person("anna@example.com"); !ok {
		t.Error("anna is missing")
	}
	if _, ok := d.Person("ann@example.com"); ok {
		t.Error("ann is still there")
	}
}

func TestAChangeOfAFileIsOneRevision(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": people, "empty.yaml": "# nothing\n"})
	d := byHand(t, f)
	for range 3 {
		if err := d.reload(); err != nil {
			t.Fatal(err)
		}
	}
	if d.Revision() != 1 {
		t.Errorf("revision is %d after nothing changed", d.Revision())
	}
}

func TestTheLastStateStaysInForceWhileTheDirectoryIsUnreadable(t *testing.T) {
	synctest.Test(t, testADirectoryThatGoesAwayStaysInForceAndComesBack)
}

func testADirectoryThatGoesAwayStaysInForceAndComesBack(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": people})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the test reloads by hand
	d, err := Open(ctx, Config{Kinds: kinds, Dir: f.dir, Base: []byte(shipped)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.done.Wait()
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	reread(d)
	if _, ok := d.Person("ann@example.com"); !ok || d.Revision() != 1 {
		t.Error("ann was forgotten")
	}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reread(d)
	if _, ok := d.Person("ann@example.com"); ok || d.Revision() != 2 {
		t.Error("ann outlived her entry")
	}
}

// Otherwise the shipped role would replace the narrowed one of the file.
func TestAFileThatCannotBeReadStaysInForce(t *testing.T) {
	synctest.Test(t, testAFileThatCannotBeReadStaysInForce)
}

func testAFileThatCannotBeReadStaysInForce(t *testing.T) {
	const narrow = head + "kind: Role\nmetadata: {name: viewer}\nspec: {permissions: {actions: ['pods:list.read']}}\n"
	f := newFiles(t, map[string]string{"people.yaml": people, "roles.yaml": narrow})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the test reloads by hand
	d, err := Open(ctx, Config{Kinds: kinds, Dir: f.dir, Base: []byte(shipped)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.done.Wait()
	read := func() bool {
		return slices.ContainsFunc(d.Match(route("ann@example.com", "gitops", "helm.read")).Matched, func(m *host.Matched) bool { return m.Action != "" })
	}
	path := filepath.Join(f.dir, "roles.yaml")
	if err := errors.Join(os.Remove(path), os.Symlink("nowhere", path)); err != nil {
		t.Fatal(err)
	}
	reread(d)
	if p := problems(d); read() || len(p) != 1 || !strings.HasPrefix(p[0], "roles.yaml: cannot be read") {
		t.Errorf("the role is the shipped one: %t; problems %q", read(), p)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reread(d)
	if !read() || d.Degraded() != nil {
		t.Errorf("without the file the role is the shipped one: %t, %v", read(), d.Degraded())
	}
}

func TestHammerQuestionsDuringChanges(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": people})
	d := f.open()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := d.Match(route("ann@example.com", "gitops", "helm.upgrade"))
				// Odd revisions list ann in the team, even ones do not.
				if teams := int(m.Revision % 2); m.Revision < last || len(m.Teams) != teams {
					t.Errorf("revision %d after %d has teams %v", m.Revision, last, m.Teams)
					return
				}
				last = m.Revision
			}
		})
	}
	without := strings.Replace(people, "teams: [payments@example.com]", "teams: []", 1)
	for i := range 6 {
		text := []string{without, people}[i%2]
		change(t, d, func() {
			f.write(".next", text)
			if err := os.Rename(filepath.Join(f.dir, ".next"), filepath.Join(f.dir, "people.yaml")); err != nil {
				t.Error(err)
			}
		})
	}
	close(stop)
	readers.Wait()
}
