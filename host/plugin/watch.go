package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// watchEvery is how often a new generation is compared with the one it replaced.
const watchEvery = time.Second

// watch compares g, which serves s or is its canary, with what served before, until it
// is rolled back, replaced or promoted, or its time is over. It needs r.mu.
func (r *Registry) watch(s *slot, g, before *Generation) {
	if r.closed || before == nil {
		return
	}
	rules := g.rules()
	base, canary := before.counters.read(), s.live.Load().canary == g
	if rules.Watch < 0 && (!canary || s.live.Load().rule.PromoteAfter == 0) {
		return
	}
	r.tasks.Go(func() { // Close has not begun to wait: r.closed is not set
		t := time.NewTicker(r.every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-r.ctx.Done():
				return
			}
			r.mu.Lock()
			rules := g.rules() // which a reload may have changed
			r.mu.Unlock()
			l := s.live.Load()
			if l == nil || canary && l.canary != g || !canary && l.serving != g {
				return
			}
			old := base
			if canary {
				old = before.counters.read().since(base)
			}
			now := g.counters.read()
			worse := ""
			if rules.Watch >= 0 {
				worse = rules.worse(&old, &now)
			}
			age := host.Duration(time.Since(g.since))
			switch {
			case worse != "":
				r.regressed(s, g, canary, worse)
				return
			case canary && l.rule.PromoteAfter > 0 && age >= l.rule.PromoteAfter:
				r.mu.Lock()
				if l := s.live.Load(); l != nil && l.canary == g {
					r.promoted(s, l)
				}
				r.mu.Unlock()
				return
			case !canary && age >= rules.Watch:
				return
			}
		}
	})
}

// rules needs Registry.mu.
func (g *Generation) rules() Regression { return g.config.Rollout.withDefaults().Regression }

// What is not counted as a difference.
const (
	errorSlack   = 0.02
	latencySlack = 20 * time.Millisecond
	fuelSlack    = 100_000
)

// worse says by what now is worse than old; empty: by nothing, or too few calls tell.
func (r *Regression) worse(old, now *counts) string {
	if least := uint64(r.Calls); old.calls < least || now.calls < least {
		return ""
	}
	if a, b := old.errorRate(), now.errorRate(); r.Errors > 0 && b > a*r.Errors && b-a > errorSlack {
		return fmt.Sprintf("%.1f of 100 calls fail, %.1f did before", 100*b, 100*a)
	}
	if a, b := old.p99(), now.p99(); r.Latency > 0 && float64(b) > float64(a)*r.Latency && b-a > latencySlack {
		return fmt.Sprintf("99 of 100 calls take up to %v, %v before", b.Round(time.Millisecond), a.Round(time.Millisecond))
	}
	if a, b := old.fuelPerCall(), now.fuelPerCall(); r.Fuel > 0 && b > a*r.Fuel && b-a > fuelSlack {
		return fmt.Sprintf("a call takes %.0f instructions, %.0f before", b, a)
	}
	return ""
}

// regressed rolls back from g.
func (r *Registry) regressed(s *slot, g *Generation, canary bool, worse string) {
	g.log.Warn("a plugin got worse and is rolled back", "generation", g.number, "version", g.manifest.Version, "because", worse)
	r.swapped(&Report{Name: s.name, Outcome: Failed, Plugin: g.manifest.Name, Version: g.manifest.Version, Digest: g.digest},
		&StepError{s.name, StepWatch, errors.New(worse)})
	r.mu.Lock()
	failure := &Failure{Step: StepWatch, Reason: "rolled back: " + worse, At: time.Now(), Source: g.config.Source, Digest: g.digest}
	if canary {
		defer r.mu.Unlock()
		if l := s.live.Load(); l != nil && l.canary == g {
			r.dropCanary(s, l)
			s.failed = failure
		}
		return
	}
	var back *Swap
	if l := s.live.Load(); l != nil && l.serving == g && len(s.record.Earlier) > 0 {
		back = &Swap{Config: s.record.Earlier[0].Config, Origin: s.origin}
	}
	r.mu.Unlock()
	if back == nil {
		return
	}
	// An error is logged and in Status.
	_, _ = r.attempt(context.Background(), *back, mode{back: true, over: g, failure: failure})
}
