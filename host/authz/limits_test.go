package authz

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// still is a cluster whose entries never change.
type still []directory.Object

func (still) Cluster() string                       { return "dev" }
func (s still) Objects() ([]directory.Object, bool) { return s, true }
func (still) Problem() error                        { return nil }
func (still) Changed() <-chan struct{}              { return nil }

func listed(name string, roles ...any) directory.Object {
	return directory.Object{Namespace: "people", Name: name, UID: name, Version: "1", Content: map[string]any{
		"apiVersion": "bulkhead.internal/v1", "kind": "User", "spec": map[string]any{"id": name, "roles": roles},
	}}
}

// No answer outlives the membership that it came from, whether it was kept or
// would be found again, and nobody else's is decided anew.
func TestADecisionEndsWithTheMembershipThatItCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour)
		d, err := directory.Open(t.Context(), directory.Config{Base: policies.Roles(), Kinds: new(all.Config).Catalog(), Clusters: []directory.Source{still{
			listed("ann", "viewer", map[string]any{"name": "editor", "until": until.Format(time.RFC3339)}),
			listed("ben", "editor"),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		e, err := Open(t.Context(), Config{Directory: d})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		decide := func(user host.UserID, allow, cached bool) {
			t.Helper()
			if got := e.Decide(t.Context(), ask(user, "gitops", "helm.upgrade")); got.Allow != allow || got.Cached != cached {
				t.Errorf("%v before its end %s: allowed %t, cached %t (%s)", time.Until(until), user, got.Allow, got.Cached, got.Reason.Code)
			}
		}
		decide("ann", true, false)
		decide("ben", true, false)
		time.Sleep(time.Until(until) - 1)
		synctest.Wait()
		decide("ann", true, true)
		changed := d.Changed()
		time.Sleep(1)
		<-changed
		decide("ann", false, false)
		decide("ben", true, true)
	})
}
