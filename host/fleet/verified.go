package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Recheck has every plugin of the store that runs here verified again, under what the
// configuration says now: call it when that has changed, or may have, as the content of a
// key file. One that does not pass is reported as failed and is not started again;
// whether it runs on is what Packages.StopUnverified says. One that passes again is as
// before. Recheck does not wait for the result.
func (f *Fleet) Recheck() {
	f.mu.Lock()
	f.policy++
	for _, w := range f.names {
		w.recheck = time.Time{}
	}
	f.mu.Unlock()
	f.nudge()
}

// nudge lets a pass look.
func (f *Fleet) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// unchecked reports whether what runs under the name of w has to be verified again. It
// needs f.mu.
func (f *Fleet) unchecked(w *work, now time.Time) bool {
	return w.policy != f.policy && w.phase != Refused && !now.Before(w.recheck)
}

// recheck verifies what runs under a name, or tries to start what was stopped. It needs f.mu.
func (f *Fleet) recheck(w *work, d state.Desired) {
	if w.stopped {
		w.spec = nil
		f.begin(w, d)
		return
	}
	name, policy := d.Name, f.policy
	f.start(w, func() {
		ctx, cancel := context.WithTimeout(f.ctx, applyTimeout)
		defer cancel()
		err := f.Registry.Verify(ctx, name)
		if f.ctx.Err() != nil {
			return
		}
		// Where neither its source nor a copy can be read, nothing is known of its signature.
		reached := !errors.Is(err, artifact.ErrUnreachable) || errors.Is(err, artifact.ErrUnsigned)
		stop := err != nil && reached && f.Packages.StopUnverified()
		if stop {
			f.Registry.Suspend(name)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		w.recheck = time.Time{}
		if reached {
			w.policy = policy
		} else {
			w.recheck = time.Now().Add(retryAfter)
		}
		f.checked(name, w, err, stop)
	})
}

// checked records the result of a recheck. It needs f.mu.
func (f *Fleet) checked(name string, w *work, err error, stopped bool) {
	w.stopped = stopped
	if err == nil {
		if w.unverified != "" {
			f.Logger.Info("a plugin is verified again", "plugin", name)
		}
		w.unverified = ""
		return
	}
	now := "it runs on, and is not started again"
	if stopped {
		now = "it was stopped"
	}
	if e, ok := errors.AsType[*plugin.StepError](err); ok {
		err = e.Err // the report has name and step
	}
	w.unverified = text(err) + "; " + now
	f.Logger.Error("a plugin that runs is not verified any more", "plugin", name, "error", err, "now", now)
}
