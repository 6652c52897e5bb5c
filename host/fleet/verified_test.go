package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
)

// withdraw makes what name runs pass no more, or pass again, and has it verified again.
func (r *registry) withdraw(f *Fleet, name string, err error) {
	r.mu.Lock()
	r.unverified[name] = err
	r.mu.Unlock()
	f.Recheck()
}

var errSigner = &artifact.Refusal{Origin: "oci://hub/echo", Step: artifact.StepSignature, Text: "it has no valid signature"}

func TestWhatIsNotVerifiedAnyMoreIsSaidAndRunsOn(t *testing.T) {
	s, r := newShared(), newRegistry()
	f := start(t, s, "a", r)
	put(t, f, "echo", "v1")
	put(t, f, "other", "v1")
	active(t, f, "echo")
	active(t, f, "other")
	before := r.done()
	r.withdraw(f, "echo", errSigner)
	var p Plugin
	until(t, "echo to be reported", func() bool { p = describeOf(t, f, "echo"); return p.State == Failed })
	if !strings.Contains(p.Because, "verify: ") || !strings.Contains(p.Because, "no valid signature; it runs on, and is not started again") {
		t.Errorf("because %q", p.Because)
	}
	if err := f.Problem(); err == nil || !strings.HasPrefix(err.Error(), "echo: verify: ") || strings.Contains(err.Error(), "other") {
		t.Errorf("the problem is %v", err)
	}
	r.withdraw(f, "echo", nil)
	active(t, f, "echo")
	active(t, f, "other")
	if err := f.Problem(); err != nil || r.done() != before {
		t.Errorf("%v; swaps are %s", err, r.done())
	}
}

func TestWhatIsNotVerifiedAnyMoreStopsIfSoConfigured(t *testing.T) {
	s, r, allowed := newShared(), newRegistry(), &packages{}
	allowed.stop.Store(true)
	f := startWith(t, s, "a", r, allowed)
	put(t, f, "echo", "v1")
	active(t, f, "echo")
	r.withdraw(f, "echo", errSigner)
	until(t, "echo to be stopped", func() bool { return strings.Contains(fmt.Sprint(f.Problem()), "it was stopped") })
	if r.serving("echo") != "" || !strings.HasSuffix(r.done(), "echo suspended") {
		t.Errorf("it serves; swaps are %s", r.done())
	}
	r.withdraw(f, "echo", nil)
	active(t, f, "echo")
	if got := r.serving("echo"); got != "v1" {
		t.Errorf("it serves %q again", got)
	}
}

// An administrator who has signed what was stopped installs the same again.
func TestWhatWasStoppedServesOnceItIsInstalledAgain(t *testing.T) {
	s, r, allowed := newShared(), newRegistry(), &packages{}
	allowed.stop.Store(true)
	f := startWith(t, s, "a", r, allowed)
	put(t, f, "echo", "v1")
	active(t, f, "echo")
	r.withdraw(f, "echo", errSigner)
	until(t, "echo to be stopped", func() bool { return strings.Contains(fmt.Sprint(f.Problem()), "it was stopped") })
	put(t, f, "echo", "v1")
	active(t, f, "echo")
	if got := r.serving("echo"); got != "v1" {
		t.Errorf("it serves %q", got)
	}
}

// Who cannot reach a registry knows nothing of a signature: nothing stops.
func TestWhatCannotBeReachedIsNotStopped(t *testing.T) {
	s, r, allowed := newShared(), newRegistry(), &packages{}
	allowed.stop.Store(true)
	f := startWith(t, s, "a", r, allowed)
	put(t, f, "echo", "v1")
	active(t, f, "echo")
	r.withdraw(f, "echo", fmt.Errorf("the registry: %w", artifact.ErrUnreachable))
	until(t, "echo to be reported", func() bool { return f.Problem() != nil })
	if r.serving("echo") != "v1" {
		t.Error("it was stopped")
	}
	// Without a registry, a copy on disk that is not signed by who counts is enough.
	defer func() {
		r.withdraw(f, "echo", fmt.Errorf("the registry: %w; the copy: %w", artifact.ErrUnreachable, errSigner))
		until(t, "echo to be stopped", func() bool { return strings.Contains(fmt.Sprint(f.Problem()), "it was stopped") })
	}()
	f.mu.Lock()
	again := !f.names["echo"].recheck.IsZero() && f.names["echo"].policy != f.policy
	f.mu.Unlock()
	if !again {
		t.Error("it is not verified again")
	}
}

// What is being swapped in while the rules change was verified under which of them is not
// known: it is verified again.
func TestWhatIsSwappedInMeanwhileIsVerifiedAgain(t *testing.T) {
	s, r := newShared(), newRegistry()
	f := start(t, s, "a", r)
	put(t, f, "echo", "v1")
	active(t, f, "echo")
	hold := make(chan struct{})
	r.edit(func() { r.hold = hold })
	put(t, f, "echo", "v2")
	until(t, "the swap to begin", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.names["echo"].busy })
	r.withdraw(f, "echo", errSigner)
	close(hold)
	until(t, "echo to be reported", func() bool {
		return strings.Contains(fmt.Sprint(f.Problem()), "no valid signature")
	})
}
