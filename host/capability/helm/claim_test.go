package helm

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

func TestAClaimThatIsNotRenewedEndsItsOperation(t *testing.T) {
	b := &bridge{request: &request{namespace: "shop", release: "web", cluster: "dev"}, permit: &capability.Permit{}}
	if err := b.fenced(); err != nil {
		t.Errorf("without a claim: %v", err)
	}
	b.claimed, b.at = true, time.Now().Add(-fenceAfter+time.Minute)
	if err := b.fenced(); err != nil {
		t.Errorf("with one: %v", err)
	}
	b.at = time.Now().Add(-fenceAfter)
	if err := b.fenced(); host.KindOf(err) != host.Unavailable {
		t.Errorf("with one that is not renewed: %v", err)
	}
	b.renewed(time.Now().Add(-time.Hour)) // older than what is known
	if err := b.fenced(); err == nil {
		t.Error("an older renewal counts")
	}
	b.renewed(time.Now())
	if err := b.fenced(); err != nil {
		t.Errorf("renewed: %v", err)
	}
	if fenceAfter >= claimLife || renewEvery*3 > fenceAfter {
		t.Error("an operation has to stop before others take its release over, and not for one slow renewal")
	}
}

// A claim that is neither renewed nor old is watched first, by the watcher's own clock.
func TestARecordThatNobodyRenewsIsTakenOver(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	s.fresh("watched")
	s.must("POST watched/upgrade", upgrade("hooked", "a: 1"))
	for _, clock := range []time.Duration{0, 3 * time.Minute} { // of the host that is gone, ahead
		s.set("watched", release.StatusPendingInstall, &claim{ID: "gone", Action: actUpgrade, User: "ann@example.com", Since: time.Now().Add(clock)})
		began := time.Now()
		resp, err := s.call(t.Context(), "POST watched/upgrade", upgrade("hooked", "a: 2"))
		if err != nil || !strings.Contains(string(resp.Body), "its host is gone") || time.Since(began) < claimLife {
			t.Errorf("after %v: %s, %v", time.Since(began), resp.Body, err)
		}
		if got := s.statuses("watched"); strings.Contains(got, "pending") || !strings.HasSuffix(got, "deployed") {
			t.Errorf("the revisions are %q", got)
		}
	}
}

func TestAnOperationThatWasTakenOverWritesNothingMore(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	s.fresh("late")
	s.must("POST late/upgrade", upgrade("hooked", "a: 1"))
	mine := s.records()
	mine.claim = &claim{ID: "mine", Action: actUpgrade, User: "eve@example.com", Since: time.Now()}
	var stopped error
	mine.stop = func(err error) { stopped = err }
	rel, err := mine.newest(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	secret := key{"shop", "late", 1}.secret()
	rel.Info.Status = release.StatusPendingUpgrade
	if err := mine.Update(secret, rel); err != nil {
		t.Fatal(err)
	}
	other := s.records()
	for range 2 { // its own host renews the claim between two writes
		if held, err := other.renew(t.Context(), key{"shop", "late", 1}, "mine", true, func(*claim) {}); held == nil || err != nil {
			t.Fatalf("renewed %v, %v", held, err)
		}
		if err := mine.Update(secret, rel); err != nil || stopped != nil {
			t.Fatalf("after a renewal: %v, %v", err, stopped)
		}
	}
	taken, h, err := other.readHead(t.Context(), key{"shop", "late", 1}, true, newBudget(maxRelease))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.fail(key{"shop", "late", 1}, taken, h.version, "taken over"); err != nil {
		t.Fatal(err)
	}
	if held, err := other.renew(t.Context(), key{"shop", "late", 1}, "mine", true, func(*claim) {}); held != nil || err != nil {
		t.Errorf("the claim is still held: %v", err)
	}
	rel.Info.Status = release.StatusDeployed
	if err := mine.Update(secret, rel); host.KindOf(err) != host.Conflict || stopped == nil {
		t.Errorf("a write after that: %v, stopped %v", err, stopped)
	}
	if got := s.statuses("late"); got != "failed" {
		t.Errorf("the revisions are %q", got)
	}
}

func TestAnUninstallationAndAnUpgradeExcludeEachOther(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	other := s.replica(filepath.Dir(chartDir(s)))
	s.fresh("either")
	for round := range 4 {
		s.must("POST either/upgrade", upgrade("hooked", "a: 1"))
		var wait sync.WaitGroup
		errs := make([]error, 2)
		wait.Go(func() { _, errs[0] = s.call(t.Context(), "DELETE either", "") })
		wait.Go(func() {
			time.Sleep(time.Duration(round) * 40 * time.Millisecond)
			_, errs[1] = s.callOn(t.Context(), other, s.auth, "POST either/upgrade", upgrade("hooked", fmt.Sprint("a: ", round)))
		})
		wait.Wait()
		for _, err := range errs {
			if err != nil && host.KindOf(err) != host.Conflict {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if got := s.statuses("either"); strings.Contains(got, "pending") || strings.Contains(got, "uninstalling") {
			t.Errorf("round %d: the revisions are %q (%v)", round, got, errs)
		}
	}
}
