package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Origin is who says what a name runs. A name belongs to one of them.
type Origin string

const (
	File Origin = "file" // the configuration file
	API  Origin = "api"  // the shared store, through administration
)

// Swap is what a name is to run. It is whole: the plugin gets nothing that it leaves out,
// in particular no grants, whatever serves the name now.
type Swap struct {
	Config
	Origin Origin
	// Canary is instead of Config.Rollout.Canary. Nil: that one, and if that is nil too,
	// the new generation serves everybody at once.
	Canary *Canary
	// Consent is the Comparison.Digest that an administrator has approved; empty: none.
	Consent string
}

func (s *Swap) canary() *Canary {
	if s.Canary != nil {
		return s.Canary
	}
	return s.Rollout.Canary
}

// Step is one of the steps of a swap, in this order. None changes what serves, up to
// StepPublish.
type Step string

const (
	StepCheck     Step = "check"      // the name, the configuration, whose name it is
	StepFetch     Step = "fetch"      // the module's bytes
	StepVerify    Step = "verify"     // digest and signature
	StepAdmission Step = "admission"  // manifest and code can be read and are within limits
	StepCompile   Step = "compile"    // in a child, if the cache lacks the code
	StepGrants    Step = "grants"     // what the manifest requests against what is granted
	StepCompare   Step = "comparison" // with the generation that serves: more needs consent
	StepTemplate  Step = "template"   // link, start
	StepHealth    Step = "health"     // the plugin's own answer to whether it works
	StepPublish   Step = "publish"
	// StepWatch comes after a swap: a version that had been published was rolled back.
	StepWatch Step = "watch"
)

// StepError is why a swap changed nothing.
type StepError struct {
	Name string // of the plugin
	Step Step
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("plugin %q: %s: %v", e.Name, e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// Outcome is what came of a swap.
type Outcome string

const (
	Published Outcome = "published" // it serves everybody
	InCanary  Outcome = "canary"    // it serves the users of its canary
	Waits     Outcome = "waiting"   // for consent; nothing of it runs
	Unchanged Outcome = "unchanged" // it serves already
	Passed    Outcome = "passed"    // of Check: it would be published, or be a canary
	Failed    Outcome = "failed"
)

// Report is how a swap went.
type Report struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	DryRun  bool    `json:"dryRun,omitempty"`
	Plugin  string  `json:"plugin,omitempty"` // by its manifest, as far as that was read
	Version string  `json:"version,omitempty"`
	Digest  string  `json:"digest,omitempty"`
	// Source is the pinned reference that the module came from; empty if it is an upload
	// or as the configuration file says.
	Source string `json:"source,omitempty"`
	// Generation is the number of the one that was published.
	Generation uint64      `json:"generation,omitempty"`
	Steps      []StepTime  `json:"steps"` // that were begun
	Comparison *Comparison `json:"comparison,omitempty"`
	Warnings   []string    `json:"warnings,omitempty"`
}

// StepTime is how long a step took.
type StepTime struct {
	Step Step          `json:"step"`
	Took host.Duration `json:"took"`
}

// Failure is the last attempt that failed.
type Failure struct {
	Step   Step      `json:"step"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Source string    `json:"source,omitempty"`
	Digest string    `json:"digest,omitempty"` // as far as it was known
}

// Waiting is a version that waits for consent. Nothing of it runs.
type Waiting struct {
	Since      time.Time   `json:"since"`
	Version    string      `json:"version"`
	Digest     string      `json:"digest"` // of the module
	Comparison *Comparison `json:"comparison"`
	swap       Swap
}

// maxAlive is how many generations of a name have memory at a time. Another swap ends
// the sessions of the oldest that drains, and waits for its calls.
const maxAlive = 3

// Swap replaces what serves s.Name, or begins to serve it, or makes it a canary. On
// error nothing has changed; the error is a *StepError, and the report says which steps
// were taken. Where Comparison.More needs a consent that s lacks, nothing has changed
// either, the outcome is Waits, and Approve goes on. Swaps of one name take turns.
func (r *Registry) Swap(ctx context.Context, s Swap) (*Report, error) {
	report, err := r.attempt(ctx, s, mode{})
	if report.Outcome == Waits {
		r.resume(ctx, s.Name)
	}
	return report, err
}

// resume serves what name served before the host was restarted, if it serves nothing.
// What waits for consent instead goes on waiting. A failure is logged and in Status.
func (r *Registry) resume(ctx context.Context, name string) {
	r.mu.Lock()
	s := r.slot(name)
	if s == nil || s.live.Load() != nil || s.record.Serving == nil {
		r.mu.Unlock()
		return
	}
	again := Swap{Config: s.record.Serving.Config, Origin: s.origin}
	r.mu.Unlock()
	_, _ = r.attempt(ctx, again, mode{back: true})
}

// Check is Swap up to the health call. It publishes nothing, and does not wait for
// consent.
func (r *Registry) Check(ctx context.Context, s Swap) (*Report, error) {
	return r.attempt(ctx, s, mode{dry: true})
}

// Renew replaces the generation that serves name by one of the same module and
// configuration, with the broker and the limits of now. The code is not compiled again.
func (r *Registry) Renew(ctx context.Context, name string) (*Report, error) {
	r.mu.Lock()
	s, g := r.slot(name), r.Get(name)
	if g == nil {
		r.mu.Unlock()
		return nil, unknownName(name)
	}
	again := Swap{Config: g.config, Origin: s.origin}
	r.mu.Unlock()
	again.Rollout.Canary = nil
	return r.attempt(ctx, again, mode{again: true})
}

// Approve goes on with the version of name that waits for consent. digest is that of
// its comparison, as the administrator saw it.
func (r *Registry) Approve(ctx context.Context, name, digest string) (*Report, error) {
	r.mu.Lock()
	s := r.slot(name)
	if s == nil || s.waiting == nil {
		r.mu.Unlock()
		return nil, &StepError{name, StepCompare, host.E(host.NotFound, "", "no version waits for consent")}
	}
	swap, want := s.waiting.swap, s.waiting.Comparison.Digest
	r.mu.Unlock()
	if digest != want {
		return nil, &StepError{name, StepCompare, host.E(host.Conflict, "", "consent: is for another module or other grants; what waits is %s", want)}
	}
	swap.Consent = digest
	return r.attempt(ctx, swap, mode{})
}

func unknownName(name string) error {
	return &StepError{name, StepCheck, host.E(host.NotFound, "", "the plugin does not exist")}
}

// remember makes g the version that serves, for the time after a restart too, and the
// one before it one that can be rolled back to, unless it is bad. It needs Registry.mu.
func (s *slot) remember(g, bad *Generation) {
	v := version{Config: g.config, Origin: s.origin, Version: g.manifest.Version, Since: g.since}
	v.Config.Digest, v.Config.Rollout.Canary = g.digest, nil
	old := s.record.Serving
	s.record.Serving = &v
	if old != nil && (bad == nil || old.Config.Digest != bad.digest) {
		s.record.Earlier = append([]version{*old}, s.record.Earlier...)
	}
	seen := map[string]bool{v.Config.Digest: true}
	s.record.Earlier = slices.DeleteFunc(s.record.Earlier, func(e version) bool {
		defer func() { seen[e.Config.Digest] = true }()
		return seen[e.Config.Digest]
	})
	s.record.Earlier = s.record.Earlier[:min(len(s.record.Earlier), maxHistory)]
}

// Promote makes the canary of name serve everybody.
func (r *Registry) Promote(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(name)
	if s == nil {
		return unknownName(name)
	}
	l := s.live.Load()
	if l == nil || l.canary == nil {
		return &StepError{name, StepCheck, host.E(host.Conflict, "", "there is no canary to promote")}
	}
	r.promoted(s, l)
	return nil
}

// promoted makes the canary of l, which is what serves s, serve everybody. It needs
// r.mu.
func (r *Registry) promoted(s *slot, l *live) {
	s.remember(l.canary, nil)
	r.show(s, &live{serving: l.canary})
	r.save(s)
	r.watch(s, l.canary, l.serving)
	l.canary.log.Info("canary promoted", "generation", l.canary.number, "version", l.canary.manifest.Version)
}

// Rollback goes back to a version that served before and is kept: the one with that
// digest, or the last one if digest is empty. A canary is dropped, and that is all if
// digest is empty. Nothing is fetched.
func (r *Registry) Rollback(ctx context.Context, name, digest string) (*Report, error) {
	r.mu.Lock()
	s := r.slot(name)
	var l *live
	if s != nil {
		l = s.live.Load()
	}
	if l == nil {
		r.mu.Unlock()
		return nil, unknownName(name)
	}
	if l.canary != nil && (digest == "" || digest == l.serving.digest) {
		defer r.mu.Unlock()
		return r.dropCanary(s, l), nil
	}
	k := slices.IndexFunc(s.record.Earlier, func(v version) bool {
		return digest == "" && v.Config.Digest != l.serving.digest || v.Config.Digest == digest
	})
	if k < 0 {
		r.mu.Unlock()
		return nil, &StepError{name, StepFetch, host.E(host.NotFound, "", "no earlier version is kept that could be rolled back to")}
	}
	back := Swap{Config: s.record.Earlier[k].Config, Origin: s.origin}
	r.mu.Unlock()
	return r.attempt(ctx, back, mode{back: true})
}

// dropCanary leaves everybody on what serves. It needs r.mu.
func (r *Registry) dropCanary(s *slot, l *live) *Report {
	r.show(s, &live{serving: l.serving})
	g := l.serving
	g.log.Info("canary dropped", "generation", l.canary.number, "version", l.canary.manifest.Version)
	return &Report{Name: s.name, Outcome: Published, Plugin: g.manifest.Name, Version: g.manifest.Version, Digest: g.digest, Generation: g.number}
}

// Remove stops serving name and frees the name. Its sessions stay until they end or
// their drain deadline passes. A swap of the name that is under way ends first.
func (r *Registry) Remove(ctx context.Context, name string) error {
	ctx, done, err := r.task(ctx)
	if err != nil {
		return &StepError{name, StepCheck, err}
	}
	defer done()
	s := r.slot(name)
	if s == nil {
		return unknownName(name)
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return &StepError{name, StepCheck, context.Cause(ctx)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.failed, s.waiting, s.removed, s.record = nil, nil, true, record{}
	r.show(s, nil)
	r.save(s)
	<-s.turn
	r.forget(s)
	r.log.Info("plugin removed", "plugin", name)
	return nil
}
