package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// background is a session of Caller.Outlive that the test ends.
type background struct {
	*clustertest.Authority
	ctx    context.Context
	end    context.CancelCauseFunc
	closed chan struct{}
}

func (b *background) Context() context.Context { return b.ctx }
func (b *background) Close()                   { close(b.closed) }

// logout ends the session as a logout does.
func (b *background) logout() {
	b.Lose(host.ErrLoggedOut)
	b.end(host.ErrLoggedOut)
}

// asyncCall makes a request as a user whose operations may outlive it.
func (s *stage) asyncCall(h *Helm, user host.UserID, request, body string) (*abi.Response, *background, error) {
	s.t.Helper()
	b := &background{Authority: &clustertest.Authority{}, closed: make(chan struct{})}
	b.ctx, b.end = context.WithCancelCause(context.Background())
	s.t.Cleanup(func() { b.end(nil) })
	s.user, s.outlive = user, func(string, *host.Question) (capability.Session, error) { return b, nil }
	defer func() { s.user, s.outlive = "", nil }()
	resp, err := s.callOn(s.t.Context(), h, s.auth, request, body)
	return resp, b, err
}

func stateOf(t *testing.T, resp *abi.Response, err error) (s state) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(resp.Body, &s); err != nil || (s.Status == inProgressState) != (resp.Status == 202) {
		t.Fatalf("%d %s: %v", resp.Status, resp.Body, err)
	}
	return s
}

func TestAnOperationInTheBackgroundIsFollowedOnAnyReplica(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	other := s.replica(filepath.Dir(chartDir(s)))
	s.fresh("async")
	resp, b, err := s.asyncCall(s.helm, "eve", "POST async/upgrade?async=true", upgrade("hooked", "a: 1"))
	begun := stateOf(t, resp, err)
	if begun.Status != inProgressState || !operationRE.MatchString(begun.ID) || begun.Action != actUpgrade || begun.User != "eve" {
		t.Errorf("begun %+v", begun)
	}
	follow := "GET async/operation?wait=20&id=" + begun.ID
	resp, _, err = s.asyncCall(s.helm, "eve", follow, "")
	if here := stateOf(t, resp, err); here.Status != succeeded || !strings.Contains(string(here.Result), `"revision":1`) || len(here.Progress) != 1 ||
		here.Progress[0] != (step{"create", "configmaps", "shop", "async", 201}) {
		t.Errorf("here: %+v", here)
	}
	<-b.closed
	resp, err = s.call(t.Context(), follow, "")
	if here := stateOf(t, resp, err); here.Status != succeeded || here.Result != nil {
		t.Errorf("another user sees %+v", here)
	}
	resp, err = s.callOn(t.Context(), other, s.auth, follow, "")
	if there := stateOf(t, resp, err); there.Status != succeeded || there.Release == nil || there.Release.Revision != 1 || there.User != "eve" {
		t.Errorf("there: %+v", there)
	}
	resp, _, err = s.asyncCall(s.helm, "eve", "DELETE async?async=true", "")
	gone := stateOf(t, resp, err)
	s.helm.running.Wait()
	resp, err = s.callOn(t.Context(), other, s.auth, "GET async/operation?id="+gone.ID, "")
	if there := stateOf(t, resp, err); there.Status != succeeded {
		t.Errorf("an uninstallation, there: %+v", there)
	}
	if _, err := s.callOn(t.Context(), other, s.auth, "GET async/operation?id=upgrade."+strings.Repeat("A", 26), ""); host.KindOf(err) != host.NotFound {
		t.Errorf("an unknown operation: %v", err)
	}
	if _, err := s.call(t.Context(), "POST async/upgrade?async=true", upgrade("hooked", "")); host.KindOf(err) != host.Unprocessable {
		t.Errorf("a caller whose work cannot outlive it: %v", err)
	}
	s.must("POST async/upgrade", upgrade("hooked", "a: 1")) // the refused one holds nothing
}

func TestAnOperationInTheBackgroundIsCancelledByItsOwnerOrALogout(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	other := s.replica(filepath.Dir(chartDir(s)))
	for i, c := range []struct {
		how  string
		h    *Helm // where it is cancelled; nil: by a logout
		want string
	}{{"here", s.helm, canceled}, {"on another replica", other, canceled}, {"by a logout", nil, failedState}} {
		t.Run(c.how, func(t *testing.T) {
			r := fmt.Sprint("cancelled-", i)
			s.fresh(r)
			s.must("POST "+r+"/upgrade", upgrade("hooked", "a: 1"))
			resp, b, err := s.asyncCall(s.helm, "eve", "POST "+r+"/upgrade?async=true", upgrade("hooked", "hook: pre-upgrade"))
			begun := stateOf(t, resp, err)
			s.pending(r)
			if _, err := s.call(t.Context(), "POST "+r+"/upgrade", upgrade("hooked", "a: 2")); host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "upgrade by eve since ") {
				t.Errorf("beside it: %v", err)
			}
			cancel := "DELETE " + r + "/operation?id=" + begun.ID
			for _, h := range []*Helm{s.helm, other} {
				if _, _, err := s.asyncCall(h, "ann", cancel, ""); host.KindOf(err) != host.Forbidden {
					t.Errorf("cancelled by another user: %v", err)
				}
			}
			if c.h == nil {
				b.logout()
			} else if resp, _, err := s.asyncCall(c.h, "eve", cancel, ""); stateOf(t, resp, err).Status != c.want {
				t.Errorf("cancelled: %s", resp.Body)
			}
			<-b.closed
			for _, h := range []*Helm{s.helm, other} {
				resp, err := s.callOn(t.Context(), h, s.auth, "GET "+r+"/operation?id="+begun.ID, "")
				if got := stateOf(t, resp, err); got.Status != c.want || got.Error == nil && c.want == failedState {
					t.Errorf("afterwards: %+v", got)
				}
			}
			if got := s.statuses(r); got != "deployed failed" {
				t.Errorf("the revisions are %q", got)
			}
			s.must("POST "+r+"/upgrade", upgrade("hooked", "a: 3"))
		})
	}
}

// A call that is refused before it begins does not hold the release.
func TestARefusedOperationHoldsNothing(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	s.fresh("refused-slot")
	s.helm.slots = newSlots(1, 1, 0)
	if err := s.helm.slots.acquire(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.call(t.Context(), "POST refused-slot/upgrade", upgrade("hooked", "a: 1")); host.KindOf(err) != host.Limited {
			t.Errorf("got %v", err)
		}
	}
	s.helm.slots.release("x")
	s.must("POST refused-slot/upgrade", upgrade("hooked", "a: 1"))
}
