package plugin

import (
	"context"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Prepared is a swap that has taken every step but the last. It holds its name's turn
// until it is published or discarded, one of which the caller must do once.
type Prepared struct {
	attempt *attempt
	publish bool // the step is left: it is neither unchanged nor waits for consent
	done    func()
}

// Prepare is Swap up to where the plugin could serve, with the broker and the limits for
// what a plugin's own leave open that it is to have. So several plugins can be replaced
// all or none. On error nothing has changed.
func (r *Registry) Prepare(ctx context.Context, s Swap, b *capability.Broker, base Limits) (*Prepared, error) {
	ctx, done, err := r.task(ctx)
	if err != nil {
		return nil, &StepError{s.Name, StepCheck, err}
	}
	a := &attempt{Registry: r, swap: s, report: &Report{Name: s.Name}, broker: b, base: &base}
	p := &Prepared{attempt: a, done: done}
	if err = a.step(StepCheck, func() error { return a.begin(ctx) }); err == nil {
		p.publish, err = a.prepare(ctx)
		if err != nil {
			a.end()
		}
	}
	if err != nil { // for the caller to report, who refuses more than this plugin
		done()
		a.report.Outcome = Failed
		r.swapped(a.report, err)
		return nil, err
	}
	return p, nil
}

// Report is how the swap went so far. The outcome is empty if it is to be published.
func (p *Prepared) Report() *Report { return p.attempt.report }

// Publish makes the plugin serve. The error and the report are those of Swap.
func (p *Prepared) Publish(ctx context.Context) (*Report, error) {
	a := p.attempt
	if !p.publish {
		a.conclude()
		p.Discard()
		if a.report.Outcome == Waits {
			a.resume(ctx, a.swap.Name)
		}
		return a.report, nil
	}
	defer p.Discard()
	err := a.step(StepPublish, func() error { return a.publish(ctx) })
	if err != nil {
		a.failed(err)
	}
	a.swapped(a.report, err)
	return a.report, err
}

// Discard gives up what is not published.
func (p *Prepared) Discard() {
	p.attempt.end()
	p.done()
}
