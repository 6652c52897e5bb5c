package fleet

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

func TestEveryReplicaRunsWhatIsDesired(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	active(t, b, "echo")
	put(t, b, "echo", "sha256:2")
	p := active(t, a, "echo")
	if p.Serve.Digest != "sha256:2" || len(p.Earlier) != 1 || p.Earlier[0].Digest != "sha256:1" || p.By != ada.User || p.Method != "dev" || len(p.Replicas) != 2 {
		t.Errorf("%+v", p)
	}
	if err := a.Rollback(t.Context(), ada, "echo", "", 0); err != nil {
		t.Fatal(err)
	}
	if p = active(t, b, "echo"); p.Serve.Digest != "sha256:1" || p.Earlier[0].Digest != "sha256:2" {
		t.Errorf("rolled back: %+v", p)
	}
	if err := b.Remove(t.Context(), ada, "echo", p.Revision); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*registry{ra, rb} {
		until(t, "the removal", func() bool {
			return strings.HasSuffix(r.done(), "echo=sha256:1, echo=sha256:2, echo=sha256:1, echo removed")
		})
	}
	if _, err := a.Plugin(t.Context(), "echo", ""); host.KindOf(err) != host.NotFound {
		t.Errorf("after the removal: %v", err)
	}
}

// A replica that starts has what is desired when Start returns, also what an
// administrator approved in comparison with a version that it never ran.
func TestANewReplicaStartsWithWhatIsDesired(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	put(t, a, "echo", "sha256:1")
	put(t, a, "echo", "sha256:2")
	put(t, a, "gitops", "sha256:3")
	put(t, a, "gitops", "sha256:4", withCanary)
	late := newRegistry()
	start(t, s, "b", late)
	if got := late.done(); !strings.Contains(got, "echo=sha256:2") || strings.Contains(got, "echo=sha256:1") || !strings.Contains(got, "gitops=sha256:3, gitops=sha256:4 canary") &&
		!(strings.Index(got, "gitops=sha256:3") < strings.Index(got, "gitops=sha256:4 canary")) {
		t.Errorf("the new replica did %s", got)
	}
}

func TestActiveIsNotSaidBeforeEveryFreshReplicaIsDone(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a := start(t, s, "a", ra)
	start(t, s, "b", rb)
	rb.edit(func() { rb.hold = make(chan struct{}) })
	put(t, a, "echo", "sha256:1")
	until(t, "replica a", func() bool { return ra.done() != "" })
	until(t, "replica a to report", func() bool {
		p := describeOf(t, a, "echo")
		return p.Replicas[0].Phase == Done && p.Replicas[1].Phase == Applying
	})
	if p := describeOf(t, a, "echo"); p.State != Progressing || !strings.Contains(p.Because, "replica b") {
		t.Errorf("while b works: %s, %s", p.State, p.Because)
	}
	s.mu.Lock()
	s.stale["b"] = true
	s.mu.Unlock()
	if p := describeOf(t, a, "echo"); p.State != Active {
		t.Errorf("b is not fresh: %s, %s", p.State, p.Because)
	}
	s.mu.Lock()
	s.stale["b"] = false
	s.reports["c"] = nil // has just started
	s.mu.Unlock()
	rb.edit(func() { close(rb.hold); rb.hold = nil })
	until(t, "replica b", func() bool { return rb.done() != "" })
	until(t, "replica c alone to be missing", func() bool { return strings.Contains(describeOf(t, a, "echo").Because, "replica c") })
}

// A replica that was cut off does not serve, once it is back, what the others may have
// gone on from: it waits for its own swap, says so, and serves what failed nowhere else.
func TestAReplicaThatIsBackDoesNotServeWhatIsNotDesired(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	for _, name := range []string{"echo", "gitops", "old"} {
		put(t, a, name, "sha256:1")
		active(t, b, name)
	}
	hold := make(chan struct{})
	rb.edit(func() { rb.hold = hold })
	put(t, a, "echo", "sha256:2") // an upgrade in good order
	until(t, "b to begin", func() bool { return b.Problem() != nil })
	if err := b.Behind("echo"); err != nil {
		t.Errorf("during an upgrade: %v", err)
	}
	s.back("b")
	for name, behind := range map[string]bool{"echo": true, "gitops": false, "old": false, "absent": false} {
		if err := b.Behind(name); (err != nil) != behind || behind && host.KindOf(err) != host.Unavailable {
			t.Errorf("%s, before the replica looks: %v", name, err)
		}
	}
	put(t, a, "fresh", "sha256:1") // wakes b, too
	if err := a.Remove(t.Context(), ada, "old", 0); err != nil {
		t.Fatal(err)
	}
	s.back("b")
	until(t, "b to look", func() bool {
		p := b.Problem()
		return p != nil && strings.Contains(p.Error(), "echo: this replica was cut off") && strings.Contains(p.Error(), "fresh: ")
	})
	if err := b.Behind("fresh"); err == nil {
		t.Error("a plugin that it does not have yet")
	}
	if p := describeOf(t, a, "echo"); p.State == Active {
		t.Error("active is said meanwhile")
	}
	if err := a.Behind("echo"); err != nil {
		t.Errorf("the other replica: %v", err)
	}
	rb.edit(func() {
		rb.hold = nil
		rb.fails["sha256:2"] = &plugin.StepError{Name: "echo", Step: plugin.StepHealth, Err: errors.New("it answers 500")}
	})
	close(hold)
	active(t, a, "fresh")
	until(t, "b to be done", func() bool { return b.Behind("echo") == nil && b.Behind("fresh") == nil && b.Behind("old") == nil })
	if p := b.Problem(); p == nil || !strings.Contains(p.Error(), "echo: health: it answers 500") {
		t.Errorf("what failed: %v", p)
	}
	if got := rb.done(); !strings.Contains(got, "old removed") {
		t.Errorf("b did %s", got)
	}
}

// What a replica reports of an earlier description says nothing of a later one, although
// the module is the same.
func TestActiveIsOfTheDescriptionThatIsDesired(t *testing.T) {
	done := Running{Origin: plugin.API, Revision: 7, Phase: Done, Digest: "sha256:1"}
	for revision, want := range map[int64]State{7: Active, 8: Progressing} {
		p := Plugin{Name: "echo", Origin: plugin.API, Revision: revision, Serve: &Version{Digest: "sha256:1"}, Replicas: []OnReplica{{Replica: "a", Fresh: true, Running: done}}}
		if p.judge(); p.State != want {
			t.Errorf("revision %d: %s, %s", revision, p.State, p.Because)
		}
	}
}

// A replica that has not begun what is desired compares nothing with what it runs still.
func TestAComparisonWaitsForWhatIsDesired(t *testing.T) {
	s := newShared()
	a, b := start(t, s, "a", newRegistry()), start(t, s, "b", newRegistry())
	put(t, a, "echo", "sha256:1")
	active(t, b, "echo")
	a.Close() // it follows nothing from here on
	put(t, b, "echo", "sha256:2")
	if report, err := a.Check(t.Context(), "echo", &Request{Digest: "sha256:3"}); !errors.Is(err, host.ErrShutdown) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A replica that cannot run a version says at which step and why; the next version is
// not in its way.
func TestAFailureIsReportedAndDoesNotBlockTheRepair(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a := start(t, s, "a", ra)
	b := start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	active(t, a, "echo")
	rb.edit(func() {
		rb.fails["sha256:2"] = &plugin.StepError{Name: "echo", Step: plugin.StepHealth, Err: errors.New("it answers 500")}
	})
	put(t, a, "echo", "sha256:2")
	until(t, "the failure", func() bool { return describeOf(t, a, "echo").State == Failed })
	p := describeOf(t, a, "echo")
	if p.Because != "replica b: health: it answers 500" || b.Problem() == nil || a.Problem() != nil {
		t.Errorf("%s; %v; %v", p.Because, b.Problem(), a.Problem())
	}
	if err := tryPut(t, b, "echo", "sha256:2"); err == nil || !strings.Contains(err.Error(), "health: it answers 500") {
		t.Errorf("tried on the replica where it fails: %v", err)
	}
	put(t, b, "echo", "sha256:3")
	active(t, a, "echo")
	if b.Problem() != nil {
		t.Error(b.Problem())
	}
}
