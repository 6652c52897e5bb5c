package helm

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

func TestChangesOfReleasesAreThoseOfTheirNewestRevisions(t *testing.T) {
	record := func(revision int, status string) {
		t.Helper()
		text := fmt.Sprintf(`{"name":"followed","namespace":"shop","version":%d,"info":{"status":%q,"last_deployed":"2026-01-02T03:04:05Z"},
			"config":{"password":"hunter2"},"chart":{"metadata":{"name":"demo","version":"1.0.%d"}}}`, revision, status, revision)
		plant(t, key{"shop", "followed", revision}, packed(gzipped(t, []byte(text))))
	}
	record(1, "superseded")
	eve := someone(t, clustertest.Editor, host.Obligations{})
	ask := func(cursor string) (c changesShown, shown string) {
		t.Helper()
		eve.must("GET helm://dev/shop?changes=true&wait=20&cursor="+url.QueryEscape(cursor), "", &c)
		for _, r := range c.Releases {
			if r.Name == "followed" {
				shown += fmt.Sprint(r.Revision, r.Status, " ", r.Chart, r.Version, " ")
			}
		}
		for _, r := range c.Removed {
			if r.Name == "followed" {
				shown += "removed"
			}
		}
		return c, shown
	}
	until := func(c changesShown, want string) changesShown {
		t.Helper()
		for range 20 { // other tests change releases of the namespace, too
			next, shown := ask(c.Cursor)
			if shown == want {
				return next
			}
			if shown != "" || next.Complete {
				t.Fatalf("got %q, complete: %v, want %q", shown, next.Complete, want)
			}
			c = next
		}
		t.Fatalf("nothing, want %q", want)
		return c
	}
	c, shown := ask("")
	if !c.Complete || shown != "1superseded demo1.0.1 " {
		t.Fatalf("at first %q, %+v", shown, c)
	}
	plant(t, key{"shop", "followed", 7}, []byte("damaged")) // is left out, as in a list
	record(2, "deployed")
	c = until(c, "2deployed demo1.0.2 ")
	remove := func(revision int) {
		t.Helper()
		if err := clustertest.Start(t).Delete(t, fmt.Appendf(nil, "{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: shop}}", key{"shop", "followed", revision}.secret())); err != nil {
			t.Fatal(err)
		}
	}
	remove(2)
	c = until(c, "1superseded demo1.0.1 ")
	remove(1)
	until(c, "removed")
}

func TestChangesOfReleasesNeedTheRightToListSecrets(t *testing.T) {
	for name, user := range map[string]*host.Impersonation{"nobody": clustertest.Nobody} {
		if err := someone(t, user, host.Obligations{}).call("GET helm://dev/shop?changes=true", "", nil); host.KindOf(err) != host.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := someone(t, clustertest.Editor, host.Obligations{Namespaces: []string{"bank"}}).call("GET helm://dev/shop?changes=true", "", nil); host.KindOf(err) != host.Forbidden {
		t.Errorf("in another namespace than policy permits: %v", err)
	}
	for _, bad := range []string{"GET helm://dev?changes=1", "GET helm://dev?changes=true&limit=5", "GET helm://dev?changes=true&wait=21"} {
		if err := someone(t, clustertest.Editor, host.Obligations{}).call(bad, "", nil); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
