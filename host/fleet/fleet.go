package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Store is the shared store; *state.Store implements and documents it.
type Store interface {
	Desired() ([]state.Desired, <-chan struct{})
	PutDesired(ctx context.Context, d state.Desired, expect int64) (state.Desired, error)
	RemoveDesired(ctx context.Context, name string, expect int64) error
	Report(json.RawMessage) error
	Fleet(context.Context) (*state.Fleet, error)
	Replica() string
	Gaps() uint64
}

// Registry is the plugins of this replica; *plugin.Registry implements and documents
// it.
type Registry interface {
	Swap(context.Context, plugin.Swap) (*plugin.Report, error)
	Check(context.Context, plugin.Swap) (*plugin.Report, error)
	Approve(ctx context.Context, name, digest string) (*plugin.Report, error)
	Promote(name string) error
	Remove(ctx context.Context, name string) error
	Verify(ctx context.Context, name string) error
	Suspend(name string)
	Retain(origin plugin.Origin, names []string)
	Status() []plugin.Status
	Changed() <-chan struct{}
}

// Packages is what this replica's configuration says of plugins that are installed by
// reference. Errors are of the type *artifact.Refusal.
type Packages interface {
	// Package returns how a reference is fetched and verified for a plugin of this name.
	Package(name, reference string) (artifact.Package, error)
	// Resolve fetches and verifies it, also one of a catalogue, as artifact.Store does.
	Resolve(ctx context.Context, name, reference, digest string) (*artifact.Artifact, error)
	// Catalogs fetches and verifies the catalogues.
	Catalogs(ctx context.Context) []*artifact.Catalog
	// StopUnverified reports whether a plugin that runs and is not verified any more stops.
	StopUnverified() bool
}

// Config is what a Fleet is made of. Every field is required.
type Config struct {
	Store    Store
	Registry Registry
	Packages Packages
	Logger   *slog.Logger
}

// Fleet keeps this replica at what is desired, and changes that for all of them. It is
// safe for concurrent use.
type Fleet struct {
	Config
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{}

	// After a gap in which the others may have gone on without this replica, what it does
	// not have yet is held: it is not served.
	gaps  atomic.Uint64 // of the store, which held is about; stored after whole
	whole atomic.Bool   // nothing is held

	mu    sync.Mutex
	names map[string]*work
	// policy counts calls of Recheck.
	policy uint64
	// approvals is what this replica does about versions of its configuration file.
	approvals map[string]*work
	held      map[string]bool
	settled   chan struct{} // closed when a name's work ends
}

// work is what this replica does about one name.
type work struct {
	busy     bool
	revision int64 // of the description that was worked on last
	spec     *spec // that is in force here; nil before the first
	phase    Phase
	step     string
	reason   string
	retry    time.Time // when to try again; zero: when something changes

	policy     uint64    // Fleet.policy when it was verified last
	recheck    time.Time // when to verify again what could not be reached; zero: at once
	unverified string    // why what runs does not pass; empty: it does
	stopped    bool      // therefore
}

// Phase is how far a replica is with a description.
type Phase string

// The phases. The zero value is a replica that has not begun.
const (
	Applying Phase = "applying"
	Done     Phase = "done"    // it runs what is desired
	Failing  Phase = "failed"  // it could not; what ran before goes on
	Refused  Phase = "refused" // the name belongs to this replica's configuration file
)

// applyTimeout bounds how long this replica works on a description. Then it has failed,
// for now, and says so.
const applyTimeout = 3 * time.Minute

// retryAfter is when a module that could not be fetched or verified is tried again.
const retryAfter = 20 * time.Second

// New returns a Fleet that has not begun.
func New(c Config) *Fleet {
	f := &Fleet{Config: c, wake: make(chan struct{}, 1), names: map[string]*work{}, approvals: map[string]*work{}, settled: make(chan struct{})}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.gaps.Store(c.Store.Gaps())
	f.whole.Store(true)
	return f
}

// Start applies what is desired now, and returns when each name is done or has failed,
// or ctx ends; then it follows what is desired until Close. A plugin that fails keeps
// the host from nothing: it is reported.
func (f *Fleet) Start(ctx context.Context) {
	for {
		f.pass(time.Now())
		f.mu.Lock()
		busy, settled := false, f.settled
		for _, w := range f.names {
			busy = busy || w.busy
		}
		f.mu.Unlock()
		if !busy {
			break
		}
		select {
		case <-settled:
			continue
		case <-ctx.Done():
		}
		break
	}
	list, _ := f.Store.Desired()
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	f.Registry.Retain(plugin.API, names)
	f.running.Go(f.follow)
}

// Close stops following. What runs goes on.
func (f *Fleet) Close() {
	f.stop()
	f.running.Wait()
}

func (f *Fleet) follow() {
	collected := time.Now() // a fleet that starts has not reported what it has
	for f.ctx.Err() == nil {
		_, desired := f.Store.Desired()
		registry := f.Registry.Changed()
		now := time.Now()
		next := f.pass(now)
		if now.Sub(collected) >= time.Hour {
			collected = now
			if err := f.collectApprovals(f.ctx, now); err != nil && f.ctx.Err() == nil {
				f.Logger.Warn("approvals that are no longer used were not removed", "error", err)
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-desired:
		case <-registry:
		case <-f.wake:
		case <-timer.C:
		case <-f.ctx.Done():
		}
		timer.Stop()
	}
}

// pass begins what is to be done, reports, and returns how long there is nothing more
// to do by itself.
func (f *Fleet) pass(now time.Time) time.Duration {
	next := time.Minute
	gaps := f.Store.Gaps() // before the list, which has what was written until then
	list, _ := f.Store.Desired()
	wanted := map[string]bool{}
	f.mu.Lock()
	// Under the lock: the status of a name whose work has ended is from after that.
	status := statusByName(f.Registry.Status())
	for _, d := range list {
		if name, ok := strings.CutPrefix(d.Name, approvalOf); ok {
			f.approve(name, d, status[name], now)
			continue
		}
		wanted[d.Name] = true
		w := f.names[d.Name]
		if w == nil {
			w = &work{}
			f.names[d.Name] = w
		}
		if w.busy {
			continue
		}
		switch st := status[d.Name]; {
		case w.revision != d.Revision,
			w.phase == Refused && (st.Origin != plugin.File || !serves(st) && st.Waiting == nil),
			!w.retry.IsZero() && !now.Before(w.retry):
			f.begin(w, d)
		case f.unchecked(w, now):
			f.recheck(w, d)
		case w.phase == Done:
			f.diverged(w, d, st)
		}
		for _, at := range []time.Time{w.retry, w.recheck} {
			if !at.IsZero() {
				next = min(next, max(time.Second, at.Sub(now)))
			}
		}
	}
	f.hold(gaps, list)
	for name, w := range f.names {
		if !wanted[name] && !w.busy && now.After(w.retry) {
			f.remove(name, w, status[name])
		}
	}
	report := f.report(status)
	f.mu.Unlock()
	f.send(report)
	return next
}

func statusByName(list []plugin.Status) map[string]plugin.Status {
	out := make(map[string]plugin.Status, len(list))
	for _, st := range list {
		out[st.Name] = st
	}
	return out
}

// generation returns the generation of st in this state, nil if there is none.
func generation(st plugin.Status, state plugin.State) *plugin.GenerationStatus {
	for i := range st.Generations {
		if st.Generations[i].State == state {
			return &st.Generations[i]
		}
	}
	return nil
}

func serves(st plugin.Status) bool { return generation(st, plugin.Serving) != nil }

// start runs work on a name by itself. It needs f.mu.
func (f *Fleet) start(w *work, do func()) {
	w.busy = true
	f.running.Go(func() {
		do()
		f.mu.Lock()
		w.busy = false
		close(f.settled)
		f.settled = make(chan struct{})
		f.mu.Unlock()
		f.nudge()
	})
}

// begin applies d. It needs f.mu.
func (f *Fleet) begin(w *work, d state.Desired) {
	before := w.spec
	if w.stopped { // it does not serve, so what is in force is nothing
		before = nil
	}
	w.revision, w.phase, w.step, w.reason, w.retry = d.Revision, Applying, "", "", time.Time{}
	w.policy, w.recheck = f.policy, time.Time{}
	f.start(w, func() {
		ctx, cancel := context.WithTimeout(f.ctx, applyTimeout)
		defer cancel()
		s, err := parse(d.Spec)
		if err == nil {
			err = f.apply(ctx, d.Name, before, s)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if err == nil {
			w.phase, w.spec, w.unverified, w.stopped = Done, s, "", false
			return
		}
		if f.ctx.Err() != nil {
			return
		}
		w.spec = nil // what is in force is not known
		w.phase, w.step, w.reason = Failing, string(plugin.StepCheck), text(err)
		if e, ok := errors.AsType[*plugin.StepError](err); ok {
			w.step, w.reason = string(e.Step), text(e.Err)
			switch {
			case e.Step == plugin.StepCheck && host.KindOf(e.Err) == host.Conflict:
				w.phase = Refused
			case e.Step == plugin.StepFetch, e.Step == plugin.StepVerify, // another configuration or signature may come
				ctx.Err() != nil:
				w.retry = time.Now().Add(retryAfter)
			}
		}
		f.Logger.Error("a plugin is not what is desired", "plugin", d.Name, "revision", d.Revision, "step", w.step, "error", err)
	})
}

// maxReason bounds a sentence in a report, in bytes.
const maxReason = 400

func text(err error) string {
	s := err.Error()
	if e, ok := errors.AsType[*host.Error](err); ok && e.Kind != host.Internal {
		s = e.Public()
		if e.Detail != "" {
			s += ": " + e.Detail
		}
	}
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// apply makes this replica run s. before is what was in force, nil if that is not
// known.
func (f *Fleet) apply(ctx context.Context, name string, before, s *spec) error {
	switch {
	case before != nil && before.Serve.same(&s.Serve) && (before.Canary == nil) == (s.Canary == nil) &&
		(s.Canary == nil || before.Canary.same(&s.Canary.version)):
		// Only what concerns neither: rules of a canary are told below.
	case before != nil && before.Serve.same(&s.Serve) && before.Canary == nil:
	case before != nil && before.Canary != nil && before.Canary.same(&s.Serve):
		if err := f.Registry.Promote(name); err == nil {
			break
		}
		fallthrough // it may have been promoted or dropped here meanwhile
	default:
		if err := f.swap(ctx, name, &s.Serve, nil); err != nil {
			return err
		}
	}
	if s.Canary != nil {
		return f.swap(ctx, name, &s.Canary.version, &s.Canary.Rule)
	}
	return nil
}

// swap makes v serve name, or its canary. The store holds only what an administrator
// approved, compared with what ran then; a replica that runs something else, or nothing
// yet, approves its own comparison.
func (f *Fleet) swap(ctx context.Context, name string, v *version, rule *plugin.Canary) error {
	c, err := v.config(name, f.Packages)
	if err != nil {
		return err
	}
	swap := plugin.Swap{Config: c, Origin: plugin.API, Canary: rule, Consent: v.Consent}
	report, err := f.Registry.Swap(ctx, swap)
	if e, ok := errors.AsType[*plugin.StepError](err); ok && e.Step == plugin.StepCompare && swap.Consent != "" {
		swap.Consent = ""
		report, err = f.Registry.Swap(ctx, swap)
	}
	if err == nil && report.Outcome == plugin.Waits {
		_, err = f.Registry.Approve(ctx, name, report.Comparison.Digest)
	}
	return err
}

// remove ends what is no longer desired. It needs f.mu.
func (f *Fleet) remove(name string, w *work, st plugin.Status) {
	if st.Origin != plugin.API {
		delete(f.names, name)
		return
	}
	f.start(w, func() {
		err := f.Registry.Remove(f.ctx, name)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err == nil || host.KindOf(err) == host.NotFound {
			delete(f.names, name)
			return
		}
		f.Logger.Error("a plugin is not removed", "plugin", name, "error", err)
		w.phase, w.reason, w.retry = Failing, text(err), time.Now().Add(retryAfter)
	})
}

// diverged notices that the plugins of this replica changed by themselves: a canary was
// promoted after its time, or a version got worse and was rolled back. All replicas
// are to follow. It needs f.mu.
func (f *Fleet) diverged(w *work, d state.Desired, st plugin.Status) {
	serving, canary := generation(st, plugin.Serving), generation(st, plugin.IsCanary)
	s := *w.spec
	because := ""
	switch {
	case serving == nil:
		return
	case s.Canary != nil && canary == nil && serving.Digest == s.Canary.Digest:
		because = "the canary was promoted after its time"
		_ = s.promote()
	case s.Canary != nil && canary == nil && serving.Digest == s.Serve.Digest && s.Canary.Digest != s.Serve.Digest:
		because = "the canary was rolled back"
		s.Canary = nil
	case s.Canary == nil && serving.Digest != s.Serve.Digest && len(s.Earlier) > 0 && serving.Digest == s.Earlier[0].Digest:
		because = "it was rolled back"
		_ = s.rollBack("")
	default:
		return
	}
	if st.Failed != nil {
		because += ": " + st.Failed.Reason
	}
	s.Because = because
	f.start(w, func() {
		text, err := json.Marshal(&s)
		if err == nil {
			_, err = f.Store.PutDesired(f.ctx, state.Desired{Name: d.Name, Spec: text, Uploads: s.uploads(), By: hostItself, Method: hostItself}, d.Revision)
		}
		switch {
		case err == nil:
			f.Logger.Warn("what is desired of a plugin changes for all replicas", "plugin", d.Name, "because", because)
			f.mu.Lock()
			w.spec = &s // as it is here already
			f.mu.Unlock()
		case host.KindOf(err) == host.Conflict: // another came first; the watch brings it
		default:
			f.Logger.Error("what a plugin was changed to here is not desired of all replicas yet", "plugin", d.Name, "error", err)
			f.mu.Lock()
			w.retry = time.Now().Add(retryAfter)
			f.mu.Unlock()
		}
	})
}

// hostItself is who changes what is desired without an administrator.
const hostItself = "host"

func sortedKeys[V any](m map[string]V) []string { return sorted(maps.Keys(m)) }
