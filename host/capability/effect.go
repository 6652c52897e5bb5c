package capability

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// effect is the audit of one call that changes something.
type effect struct {
	*audit.Effect
	outlives bool // the work goes on after the call; see Permit.Done
}

// begin records the intent of a call that changes something, or that it is refused with
// err. The context that it returns has the call's correlation: requests for a change have
// the id of the effect, others that of the user's request.
func (g *Granted) begin(ctx context.Context, p *Permit, err error) (context.Context, error) {
	if p == nil {
		return ctx, err
	}
	changes := p.Call.Effect.Normal() == host.EffectChange
	trail := g.broker.trail
	if err != nil {
		if changes {
			trail.Refuse(ctx, p.event(), audit.Outcome{Result: audit.Refused, Err: err})
		}
		return ctx, err
	}
	p.Correlation = &host.Correlation{ID: p.Caller.RequestID}
	if changes && trail != nil {
		x, err := trail.Begin(ctx, p.event())
		if err != nil {
			g.logger(p.Caller).ErrorContext(ctx, "a change is refused because it cannot be recorded", "plugin", g.plugin, "capability", p.Call.Name, "error", err)
			return ctx, err
		}
		p.effect, p.Correlation.ID = &effect{Effect: x}, x.ID()
		if err := g.ended(ctx, p.Caller); err != nil { // while the record was written
			p.returned(nil, err)
			return ctx, err
		}
	}
	return host.WithCorrelation(ctx, p.Correlation), nil
}

func (p *Permit) event() *audit.Event {
	c := p.Caller
	return &audit.Event{
		Kind: audit.KindCapability, Action: c.Route.Action, Target: p.Call.String(), Call: &p.Call, Principal: c.Principal,
		For: p.Obligations.Impersonate, Reason: c.Reason, Decision: p.Decision, Revision: p.revision, Route: c.Route,
	}
}

// returned records the outcome of a call that has returned, unless its work goes on.
func (p *Permit) returned(resp *abi.Response, err error) {
	if p.effect == nil || p.effect.outlives && err == nil {
		return
	}
	p.Done(resp, err)
}

// Done records the outcome of work that goes on after the call of the plugin; see Outlive.
// Only the first outcome of a call counts.
func (p *Permit) Done(resp *abi.Response, err error) {
	if p.effect == nil {
		return
	}
	o := audit.Outcome{Err: err, Upstream: p.Correlation}
	if resp != nil {
		o.Status = resp.Status
	}
	if err == nil && o.Status >= http.StatusBadRequest {
		o.Result = audit.Failure
	}
	p.effect.End(o)
}

// spliced records how a stream ended. A stream that the host ended had its effect until
// then.
func (p *Permit) spliced(err error) {
	if p.effect == nil {
		return
	}
	o := audit.Outcome{Err: err, Upstream: p.Correlation}
	if c := host.EndCauseOf(err); c != nil {
		o = audit.Outcome{Result: audit.Success, Upstream: p.Correlation, Details: map[string]any{"cause": c.Name}}
	}
	p.effect.End(o)
}

// notSpliced records that a stream was closed before it began.
func (p *Permit) notSpliced() {
	if p.effect != nil {
		p.effect.End(audit.Outcome{Result: audit.Failure, Upstream: p.Correlation, Details: map[string]any{"cause": "not_begun"}})
	}
}
