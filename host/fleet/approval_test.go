package fleet

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// A record of consent goes when no replica, also none that is away, has the plugin in its
// configuration file; what may still be used stays.
func TestApprovalsThatNothingCanUseAreRemoved(t *testing.T) {
	s, r := newShared(), newRegistry()
	f := start(t, s, "a", r)
	day := time.Now()
	for _, name := range []string{"gone", "recent", "away", "here"} {
		d := state.Desired{Name: approvalOf + name, Spec: json.RawMessage(`{"consent":"c"}`)}
		if _, err := (seen{s, "a"}).PutDesired(t.Context(), d, 0); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		d = s.desired[d.Name]
		if d.At = day.Add(-25 * time.Hour); name == "recent" {
			d.At = day.Add(-23 * time.Hour)
		}
		s.desired[d.Name] = d
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.reports["b"], s.stale["b"] = json.RawMessage(`{"away":{"origin":"file"}}`), true
	s.mu.Unlock()
	r.edit(func() { r.names["here"] = &plugin.Status{Name: "here", Origin: plugin.File} })
	until(t, "the report of here", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(string(s.reports["a"]), `"here"`)
	})
	left := func() string {
		var names []string
		list, _ := seen{s, "a"}.Desired()
		for _, d := range list {
			names = append(names, strings.TrimPrefix(d.Name, approvalOf))
		}
		return strings.Join(names, " ")
	}
	s.mu.Lock()
	s.reports["c"] = json.RawMessage(`not JSON`)
	s.mu.Unlock()
	if err := f.collectApprovals(t.Context(), day); err != nil || left() != "away gone here recent" {
		t.Errorf("with a replica of which nothing is known: %v, left %q", err, left())
	}
	s.mu.Lock()
	delete(s.reports, "c")
	s.mu.Unlock()
	if err := f.collectApprovals(t.Context(), day); err != nil || left() != "away here recent" {
		t.Errorf("%v, left %q", err, left())
	}
}
