package plugin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/adapter"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// mode is what an attempt does besides swapping.
type mode struct {
	dry     bool
	again   bool        // although nothing has changed
	back    bool        // to what served before, so that consent was given
	over    *Generation // if this one serves still; nil: whatever does
	failure *Failure    // of over, for Status
}

// attempt is one swap on its way.
type attempt struct {
	*Registry
	swap   Swap
	mode   mode
	report *Report
	slot   *slot // nil in a dry run of a name that is not there
	// broker and base are the registry's of the moment, unless Prepare gives others.
	broker  *capability.Broker
	base    *Limits
	release func() // ends the hold on what the broker uses; g's, once g is linked

	wasm    []byte
	g       *Generation
	code    *sandbox.Admitted
	waiting *Waiting // if the outcome is Waits
}

func (r *Registry) attempt(ctx context.Context, s Swap, m mode) (*Report, error) {
	a := &attempt{Registry: r, swap: s, mode: m, report: &Report{Name: s.Name, DryRun: m.dry}}
	ctx, done, err := r.task(ctx)
	if err == nil {
		defer done()
		err = a.step(StepCheck, func() error { return a.begin(ctx) })
		if err == nil && (m.back || m.again) {
			if err = a.step(StepVerify, func() error { return r.policy(s.Origin, &a.swap.Config) }); err != nil {
				a.end()
			}
		}
	} else {
		err = &StepError{s.Name, StepCheck, err}
	}
	if err == nil {
		defer a.end()
		err = a.run(ctx)
	}
	if err != nil {
		a.failed(err)
	}
	if !m.dry {
		r.swapped(a.report, err)
	}
	return a.report, err
}

// swapped tells Options.Swapped how an attempt went.
func (r *Registry) swapped(report *Report, err error) {
	if r.options.Swapped != nil {
		r.options.Swapped(report, err)
	}
}

func (a *attempt) failed(err error) {
	a.report.Outcome = Failed
	a.fail(err)
}

// task makes ctx end with the registry. done is to be called, unless there is an error.
func (r *Registry) task(ctx context.Context) (_ context.Context, done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, errClosed
	}
	r.tasks.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.ctx, func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(nil); r.tasks.Done() }, nil
}

// step takes one step and reports it. Its error is a *StepError.
func (a *attempt) step(step Step, do func() error) error {
	began := time.Now()
	err := do()
	if e, ok := errors.AsType[*StepError](err); ok {
		step = e.Step
		err = e.Err
	}
	a.report.Steps = append(a.report.Steps, StepTime{step, host.Duration(time.Since(began))})
	if err != nil {
		return &StepError{a.swap.Name, step, err}
	}
	return nil
}

// begin checks what can be checked without the module, and takes the name's turn.
func (a *attempt) begin(ctx context.Context) error {
	a.mu.Lock()
	if a.base == nil {
		base := a.limits
		a.broker, a.base = a.Registry.broker, &base
	}
	if a.options.Hold != nil { // under the lock that SetBroker takes
		a.release = a.options.Hold(a.broker)
	}
	a.mu.Unlock()
	err := a.check(ctx)
	if err != nil && a.release != nil {
		a.release()
	}
	return err
}

func (a *attempt) check(ctx context.Context) error {
	s := &a.swap
	if err := checkName(s.Name); err != nil {
		return host.E(host.Invalid, "", "name: %w", err)
	}
	if s.Origin != File && s.Origin != API {
		return host.E(host.Invalid, "", "origin: %q is neither %s nor %s", s.Origin, File, API)
	}
	if len(s.Config.Config) == 0 {
		s.Config.Config = json.RawMessage("{}")
	}
	if !json.Valid(s.Config.Config) {
		return host.E(host.Invalid, "", "config: is not valid JSON")
	}
	var bad config.Problems
	s.Config.Check(&bad, a.broker.Catalog(), *a.base)
	if s.Canary != nil {
		s.Canary.check(bad.At("canary"))
	}
	if err := bad.Err(); err != nil {
		return host.E(host.Invalid, "", "%w", err)
	}
	for {
		a.mu.Lock()
		a.slot = a.Registry.slot(s.Name)
		if a.slot == nil && !a.mode.dry {
			a.slot = a.take(s.Name, s.Origin)
		}
		slot := a.slot
		a.mu.Unlock()
		if slot == nil {
			return nil
		}
		select {
		case slot.turn <- struct{}{}:
		case <-ctx.Done():
			a.slot = nil
			return context.Cause(ctx)
		}
		a.mu.Lock()
		gone := a.Registry.slot(s.Name) != slot
		err := slot.claim(s.Origin, a.mode.dry)
		a.mu.Unlock()
		switch {
		case gone: // it was removed meanwhile
			<-slot.turn
		case err != nil:
			<-slot.turn
			a.slot = nil
			return err
		default:
			return nil
		}
	}
}

// claim makes the name the origin's, unless it is the other's. It needs Registry.mu.
func (s *slot) claim(o Origin, dry bool) error {
	if s.origin != o && (s.live.Load() != nil || s.waiting != nil) {
		if s.origin == File {
			return host.E(host.Conflict, "", "the name belongs to the configuration file; change it there, or take another name")
		}
		return host.E(host.Conflict, "", "the name belongs to the API; remove the plugin there first, or take another name")
	}
	if !dry {
		s.origin, s.removed = o, false
	}
	return nil
}

// end gives back what the attempt holds, and the turn.
func (a *attempt) end() {
	if a.code != nil {
		a.code.Close()
	}
	if a.g != nil && a.g.module != nil { // which was not published
		a.g.unhold()
		<-a.g.gone
	}
	if a.release != nil {
		a.release()
	}
	if a.slot != nil {
		<-a.slot.turn
		a.mu.Lock()
		if s := a.slot; s.live.Load() == nil && len(s.alive) == 0 && s.failed == nil && s.waiting == nil {
			s.removed = true // the name was taken for this attempt, which is given up
		}
		a.forget(a.slot)
		a.mu.Unlock()
	}
}

// fail records a failure for Status.
func (a *attempt) fail(err error) {
	e, ok := errors.AsType[*StepError](err)
	if !ok || a.mode.dry {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.Registry.slot(a.swap.Name)
	if s == nil || a.slot == nil && e.Step == StepCheck && s.live.Load() != nil {
		return // a refusal that says nothing about the name
	}
	s.failed = &Failure{Step: e.Step, Reason: e.Err.Error(), At: time.Now(), Source: a.swap.Source, Digest: a.report.Digest}
	a.tell(Transition{Name: a.swap.Name, Refused: a.report.Digest, Err: e})
	a.log.Warn("a plugin was not replaced", "plugin", a.swap.Name, "step", string(e.Step), "error", e.Err)
	a.notify()
}

func (a *attempt) run(ctx context.Context) error {
	publish, err := a.prepare(ctx)
	switch {
	case err != nil:
		return err
	case a.mode.dry && publish:
		a.report.Outcome = Passed
		return nil
	case a.mode.dry:
		return nil
	case !publish:
		a.conclude()
		return nil
	}
	return a.step(StepPublish, func() error { return a.publish(ctx) })
}

// prepare takes the steps before StepPublish, and reports whether that one is to follow.
func (a *attempt) prepare(ctx context.Context) (publish bool, err error) {
	if err := a.step(StepFetch, func() error { return a.fetch(ctx) }); err != nil {
		return false, err
	}
	if err := a.step(StepVerify, a.verify); err != nil {
		return false, err
	}
	if a.known() && a.unchanged() {
		return false, nil
	}
	if err := a.step(StepAdmission, func() error { return a.admit(ctx) }); err != nil {
		return false, err
	}
	if a.unchanged() {
		return false, nil
	}
	if err := a.step(StepCompile, func() error { return explain(a.code.Compile(ctx), a.g.manifest) }); err != nil {
		return false, err
	}
	if err := a.step(StepGrants, a.grant); err != nil {
		return false, err
	}
	waits := false
	if err := a.step(StepCompare, func() (err error) { waits, err = a.compare(); return err }); err != nil || waits {
		return false, err
	}
	if err := a.step(StepTemplate, func() error { return a.template(ctx) }); err != nil {
		return false, err
	}
	if err := a.step(StepHealth, func() error { return a.g.health(ctx) }); err != nil {
		return false, err
	}
	return true, nil
}

func (a *attempt) fetch(ctx context.Context) (err error) {
	c := &a.swap.Config
	most := max(0, c.Limits.Over(*a.base).Module.WithDefaults().ModuleBytes)
	// What Fetch verifies, or warns of because it cannot, passes it each time, under the
	// policy of now.
	if !c.Verification.Required() && !c.Verification.Unsigned {
		if a.wasm = a.keep.get(c.Digest, most); a.wasm != nil {
			return nil
		}
	}
	fetch := a.options.Fetch
	if fetch == nil {
		fetch = ReadFile
	}
	a.wasm, err = fetch(ctx, c, most)
	if err == nil && len(a.wasm) > most {
		err = tooLarge(c.Source, most)
	}
	return err
}

func (a *attempt) verify() error {
	a.report.Digest = digestOf(a.wasm)
	if want := a.swap.Digest; want != "" && want != a.report.Digest {
		return host.E(host.Unprocessable, "", "digest: the module has %s, the configuration says %s", a.report.Digest, want)
	}
	// A manifest that cannot be read is refused at admission.
	if m, err := manifestOf(a.wasm); err == nil && !a.swap.Verification.Names(m.Name, a.swap.Name) {
		return host.E(host.Unprocessable, "", "verification.plugin: what was signed is the plugin %q, and not %q; if that is meant, name it there",
			m.Name, cmp.Or(a.swap.Verification.Plugin, a.swap.Name))
	}
	return nil
}

// known makes the candidate without looking at the module, if what serves is the same
// one, whose manifest is known.
func (a *attempt) known() bool {
	serving := a.Get(a.swap.Name)
	if serving == nil || serving.digest != a.report.Digest || a.mode.again {
		return false
	}
	a.report.Plugin, a.report.Version = serving.manifest.Name, serving.manifest.Version
	a.candidate(serving.manifest)
	return true
}

func (a *attempt) candidate(m *manifest.Manifest) {
	c := a.swap.Config
	limits := c.Limits.Over(*a.base).resolve(m.Limits)
	a.g = &Generation{
		name: c.Name, manifest: m, digest: a.report.Digest, config: c, limits: limits,
		routes: newRoutes(c.Name, m.Routes), people: a.people, shares: newShares(limits.Instances),
		broker: a.broker, called: a.options.Called, counted: a.options.Counted, log: a.log.With("plugin", c.Name),
	}
}

// admit reads the manifest and has a child check and rewrite the code.
func (a *attempt) admit(ctx context.Context) error {
	m, err := manifestOf(a.wasm)
	if err != nil {
		return fmt.Errorf("%s: %w", a.swap.Source, err)
	}
	a.report.Plugin, a.report.Version = m.Name, m.Version
	a.candidate(m)
	if a.g.ui, err = manifest.ExtractUI(a.wasm, m); err != nil {
		return fmt.Errorf("%s: %w", a.swap.Source, err)
	}
	a.code, err = a.options.Sandbox.Admit(ctx, a.wasm, a.g.name, a.g.limits.sandbox())
	return explain(err, m)
}

// unchanged reports whether the name has what is asked for already.
func (a *attempt) unchanged() bool {
	if a.slot == nil || a.mode.again {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.slot.live.Load()
	if l == nil {
		return false
	}
	switch {
	case l.canary != nil && l.canary.same(a.g) && a.swap.canary() != nil && reflect.DeepEqual(l.rule, *a.swap.canary()):
		a.report.Generation = l.canary.number
	case l.serving.same(a.g):
		a.report.Generation = l.serving.number
	default:
		return false
	}
	a.report.Outcome = Unchanged
	return true
}

// conclude does what an attempt leaves to do that publishes nothing.
func (a *attempt) conclude() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slot.failed = nil
	if a.report.Outcome == Waits {
		a.slot.waiting = a.waiting
		a.log.Warn("a plugin waits for an administrator's consent", "plugin", a.swap.Name, "version", a.waiting.Version, "more", a.waiting.Comparison.More)
	} else {
		a.slot.waiting = nil
		a.stay()
	}
	a.notify()
}

// stay makes the name stay with what it has, with what the entry says of its rollout and
// verification. It needs a.mu, and the name's turn.
func (a *attempt) stay() {
	s := a.slot
	l := s.live.Load()
	if l == nil {
		return
	}
	g := l.serving
	switch {
	case l.canary != nil && l.canary.number == a.report.Generation:
		g = l.canary
	case l.canary != nil:
		a.show(s, &live{serving: l.serving})
	}
	if g.number != a.report.Generation || reflect.DeepEqual(g.config, a.swap.Config) {
		return
	}
	g.config = a.swap.Config
	if v := s.record.Serving; v != nil && g == l.serving && v.Config.Digest == g.digest {
		kept := *v
		kept.Config = g.config
		kept.Config.Digest, kept.Config.Rollout.Canary = g.digest, nil
		s.record.Serving = &kept
		a.save(s)
	}
}

// same reports whether other would do the same.
func (g *Generation) same(other *Generation) bool {
	return g.digest == other.digest && g.broker == other.broker && reflect.DeepEqual(g.limits, other.limits) &&
		bytes.Equal(g.config.Config, other.config.Config) && reflect.DeepEqual(g.config.Grants, other.config.Grants)
}

// grant holds what the manifest requests against what is granted.
func (a *attempt) grant() (err error) {
	g := a.g
	if g.denied, err = consent(a.broker.Catalog(), g.manifest, g.config.Grants); err != nil {
		return err
	}
	grants := asked(g.manifest, g.config.Grants)
	if g.granted, err = a.broker.Grant(g.name, grants); err != nil {
		return err
	}
	for name := range g.config.Grants {
		if _, ok := grants[name]; !ok {
			a.report.Warnings = append(a.report.Warnings, fmt.Sprintf("the plugin does not ask for capability %q; its grant gives nothing", name))
			g.log.Warn("the plugin does not ask for a capability that it is granted; the grant gives nothing", "capability", name)
		}
	}
	slices.Sort(a.report.Warnings)
	if g.manifest.ABI != "" {
		g.adapter, err = adapter.New(g.manifest, g.name, g.config.Config)
		return err
	}
	g.start = abi.AppendStart(nil, &abi.Start{ABI: abi.Version, Instance: g.name, Config: g.config.Config, Denied: g.denied})
	return nil
}

// compare compares the candidate with what serves, and reports whether it has to wait
// for consent.
func (a *attempt) compare() (waits bool, err error) {
	serving := a.before()
	c := compare(a.broker.Catalog(), serving, a.g)
	a.report.Comparison = c
	if serving != nil && !a.mode.back && older(a.g.manifest, serving.manifest) {
		a.report.Warnings = append(a.report.Warnings, fmt.Sprintf("version %s is older than %s, which serves: this goes back", c.To, c.From))
		a.log.Warn("an older version of a plugin is to replace a newer one", "plugin", a.swap.Name, "version", c.To, "serves", c.From, "source", a.swap.Source)
	}
	if a.mode.dry || a.mode.back || len(c.needs(a.swap.Origin, serving, a.g)) == 0 || c.Digest == a.swap.Consent {
		return false, nil
	}
	if a.swap.Consent != "" {
		return false, host.E(host.Conflict, "", "consent: is for another module or other grants; what is to be approved is %s", c.Digest)
	}
	// The bytes are kept, so that what is approved is what was compared.
	if err := a.keep.put(a.g.digest, a.wasm); err != nil {
		return false, err
	}
	a.report.Outcome = Waits
	swap := a.swap
	swap.Digest = a.g.digest
	a.waiting = &Waiting{Since: time.Now(), Version: a.g.manifest.Version, Digest: a.g.digest, Comparison: c, swap: swap}
	return true, nil
}

// before is the generation to compare the candidate with: the one that serves, or, after
// a restart, a description of the one that served; nil: none.
func (a *attempt) before() *Generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g := a.Get(a.swap.Name); g != nil || a.slot == nil || a.slot.record.Serving == nil {
		return g
	}
	c := a.slot.record.Serving.Config
	limits := c.Limits.Over(a.limits)
	m, err := manifestOf(a.keep.get(c.Digest, max(0, limits.Module.WithDefaults().ModuleBytes)))
	if err != nil {
		return nil
	}
	return &Generation{name: c.Name, manifest: m, digest: c.Digest, config: c, limits: limits.resolve(m.Limits)}
}

// template links and starts the candidate.
func (a *attempt) template(ctx context.Context) error {
	if err := a.room(ctx); err != nil {
		return err
	}
	g := a.g
	g.number = a.loads.Add(1)
	g.routes.digest, g.routes.generation = g.digest, g.number
	module, err := a.code.Link(ctx, g.spec())
	if err != nil {
		return explain(err, g.manifest)
	}
	g.module = module
	release := a.release
	a.release = nil
	g.begin(func() error {
		err := module.Close(context.Background())
		if release != nil {
			release()
		}
		a.dropped(g)
		return err
	})
	return nil
}

// room waits until the candidate is one of maxAlive.
func (a *attempt) room(ctx context.Context) error {
	for !a.mode.dry {
		a.mu.Lock()
		if len(a.slot.alive) < maxAlive {
			a.mu.Unlock()
			return nil
		}
		l := a.slot.live.Load()
		k := slices.IndexFunc(a.slot.alive, func(g *Generation) bool { return l == nil || g != l.serving && g != l.canary })
		oldest := a.slot.alive[k]
		a.mu.Unlock()
		oldest.log.Info("sessions end so that the plugin can be replaced again", "generation", oldest.number, "sessions", oldest.leases())
		oldest.force(host.ErrSwapped)
		timer := time.NewTimer(oldest.Timeout() + forcedWait)
		select {
		case <-oldest.gone:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
			return host.E(host.Unavailable, "", "%d generations are alive, and calls of generation %d do not end; try again", maxAlive, oldest.number)
		}
	}
	return nil
}

// forcedWait is how long, after their time limit, calls of a generation may take to
// return.
const forcedWait = 5 * time.Second

// dropped is called when g has given its memory back.
func (r *Registry) dropped(g *Generation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(g.name)
	if s == nil {
		return
	}
	if k := slices.Index(s.alive, g); k >= 0 {
		s.alive = slices.Delete(s.alive, k, k+1)
		g.log.Info("a replaced plugin is gone", "generation", g.number, "version", g.manifest.Version)
		r.notify()
		r.forget(s)
	}
}

// publish makes the candidate serve.
func (a *attempt) publish(ctx context.Context) error {
	if err := a.keep.put(a.g.digest, a.wasm); err != nil {
		return fmt.Errorf("the module cannot be kept: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil { // the last moment to be cancelled
		return context.Cause(ctx)
	}
	g, s := a.g, a.slot
	old := s.live.Load()
	if over := a.mode.over; over != nil && (old == nil || old.serving != over) {
		return host.E(host.Conflict, "", "another version was published meanwhile")
	}
	next := &live{serving: g}
	a.report.Outcome = Published
	if rule := a.swap.canary(); rule != nil && old != nil && !a.mode.again && !a.mode.back {
		next = &live{serving: old.serving, canary: g, rule: *rule}
		a.report.Outcome = InCanary
	}
	a.report.Generation = g.number
	g.since = time.Now()
	s.alive = append(s.alive, g)
	s.failed = a.mode.failure
	if !a.mode.back {
		s.waiting = nil
	}
	if next.serving == g {
		s.remember(g, a.mode.over)
	}
	a.show(s, next)
	a.save(s)
	if old != nil && !a.mode.back && !a.mode.again {
		a.watch(s, g, old.serving)
	}
	a.g = nil
	g.log.Info("plugin published", "outcome", string(a.report.Outcome), "version", g.manifest.Version, "digest", g.digest,
		"generation", g.number, "capabilities", g.granted.Names(), "took", a.report.took())
	return nil
}

func (r *Report) took() (sum time.Duration) {
	for _, s := range r.Steps {
		sum += time.Duration(s.Took)
	}
	return sum.Round(time.Millisecond)
}

// show makes next what serves the name, and retires what served and does not any more.
// It needs r.mu.
func (r *Registry) show(s *slot, next *live) {
	old := s.live.Swap(next)
	c := Transition{Name: s.name}
	if next != nil {
		c.Serving, c.Canary = versionOf(next.serving), versionOf(next.canary)
	}
	if old != nil {
		c.Before = versionOf(old.serving)
	}
	r.tell(c)
	if old != nil {
		for _, g := range []*Generation{old.serving, old.canary} {
			if g != nil && (next == nil || g != next.serving && g != next.canary) {
				g.retire(time.Duration(g.config.Rollout.withDefaults().Drain))
			}
		}
	}
	r.notify()
}
