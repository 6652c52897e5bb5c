package directory

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// byHand opens a directory that reads its files only when the test tells it to.
func byHand(t *testing.T, f files) *Directory {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := Open(ctx, Config{Kinds: kinds, Dir: f.dir, Base: []byte(shipped)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.done.Wait()
	return d
}

func TestAHalfWrittenFileChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t, map[string]string{"people.yaml": people})
		d := byHand(t, f)
		// The first half lists no ann; the disabled ben would be back without its end.
		f.write("people.yaml", strings.Replace(people[strings.LastIndex(people, "---"):], "disabled: true, ", "", 1))
		for range 3 { // however often it is looked at
			_ = d.reload()
		}
		if _, ok := d.Person("ann@example.com"); !ok || d.Revision() != 1 {
			t.Fatalf("ann is dropped, revision %d", d.Revision())
		}
		if p, _ := d.Person("ben@example.com"); !p.Disabled || d.pause() != lookAgain {
			t.Fatalf("ben is %+v, the next look in %v", p, d.pause())
		}
		time.Sleep(lookAgain - 1)
		f.write("people.yaml", people+"---\n"+head+"kind: User\nmetadata: {name: cas}\nspec: {id: cas}\n")
		_ = d.reload()
		if d.Revision() != 1 {
			t.Error("what was written meanwhile counts at once")
		}
		time.Sleep(lookAgain)
		_ = d.reload()
		if _, ok := d.Person("cas"); !ok || d.Revision() != 2 {
			t.Errorf("once it is whole: %v, revision %d", ok, d.Revision())
		}
		f.write("people.yaml", people)
		_ = d.reload()
		f.write("people.yaml", people+"---\n"+head+"kind: User\nmetadata: {name: cas}\nspec: {id: cas}\n")
		_ = d.reload()
		if d.Revision() != 2 || d.pause() == lookAgain || d.Degraded() != nil {
			t.Errorf("a change that was taken back: revision %d, %v", d.Revision(), d.Degraded())
		}
	})
}

// An entry may move from one file to another.
func TestFilesThatChangeTogetherApplyTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t, map[string]string{"a.yaml": people, "b.yaml": ""})
		d := byHand(t, f)
		f.write("a.yaml", "")
		_ = d.reload()
		time.Sleep(lookAgain)
		f.write("b.yaml", people)
		reread(d)
		if _, ok := d.Person("ann@example.com"); !ok || d.Revision() != 2 {
			t.Errorf("ann is known: %v, revision %d", ok, d.Revision())
		}
	})
}

func TestFilesThatKeepChangingAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t, map[string]string{"people.yaml": people})
		d := byHand(t, f)
		if err := os.Rename(f.dir, f.dir+"-away"); err != nil {
			t.Fatal(err)
		}
		since := time.Now().UTC().Format(time.RFC3339)
		_ = d.reload()
		time.Sleep(time.Minute)
		_ = d.reload()
		if err := d.Degraded(); err == nil || !strings.Contains(err.Error(), "directory.files: since "+since+" the last state stays in force") || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("vanished: %v", err)
		}
		if err := os.Rename(f.dir+"-away", f.dir); err != nil {
			t.Fatal(err)
		}
		if _ = d.reload(); d.Degraded() != nil {
			t.Errorf("back, unchanged: %v", d.Degraded())
		}
		for i := range 60 {
			f.write("people.yaml", people+fmt.Sprint("# ", i, "\n"))
			_ = d.reload()
			if over := time.Duration(i) * 100 * time.Millisecond; (d.Degraded() != nil) != (over >= patience) {
				t.Fatalf("after %v of changes: %v", over, d.Degraded())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if reread(d); d.Degraded() != nil || d.Revision() != 2 {
			t.Errorf("at rest: %v, revision %d", d.Degraded(), d.Revision())
		}
	})
}

// Otherwise a writer of custom resources in a namespace could widen or break the
// role of all viewers or administrators.
func TestACustomResourceReplacesAShippedRoleOnlyFromAListedNamespace(t *testing.T) {
	wide := map[string]any{"permissions": map[string]any{"actions": []any{"*"}}}
	for name, spec := range map[string]map[string]any{"wide": wide, "broken": {"nosuchkey": true}} {
		for _, c := range []struct {
			cluster, namespace string
			replaces           bool
		}{{"dev", "people", true}, {"dev", "other", false}, {"prod", "people", false}} {
			source := newHeld(c.cluster)
			source.put("Role", c.namespace, "viewer", spec)
			source.put("Role", c.namespace, "own", wide)
			source.put("User", c.namespace, "ann", user("ann", "viewer"))
			source.put("User", c.namespace, "ben", user("ben", "own"))
			d, err := Open(t.Context(), Config{Kinds: kinds, Base: []byte(shipped), Clusters: []Source{source}, Replace: map[string][]string{"dev": {"people"}}})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			may := func(user host.UserID, action string) bool {
				return slices.ContainsFunc(d.Match(route(user, "gitops", action)).Matched, func(m *host.Matched) bool { return m.Action != "" })
			}
			isShipped := may("ann", "helm.read") && !may("ann", "helm.upgrade")
			refused := strings.Contains(strings.Join(problems(d), "\n"), c.namespace+"/viewer: Role viewer: the role ships with the host")
			if isShipped == c.replaces || refused == c.replaces || !may("ben", "helm.upgrade") {
				t.Errorf("%s in %s/%s: the role is the shipped one: %t; problems %q", name, c.cluster, c.namespace, isShipped, problems(d))
			}
		}
	}
}

// A permission with an empty list covers nothing, even if the question names no
// dimension.
func TestAnEmptyListOfPatternsCoversNothing(t *testing.T) {
	for name, d := range map[string]dimension{"not named": {}, "named": {"dev", true}, "named and empty": {"", true}} {
		none, all := newPatterns(nil), newPatterns([]string{"*"})
		if d.coveredBy(&none) || !d.coveredBy(&all) {
			t.Errorf("%s: by none %t, by all %t", name, d.coveredBy(&none), d.coveredBy(&all))
		}
	}
}
