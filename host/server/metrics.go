package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/telemetry"
)

// openTelemetry takes the listener of the metrics, if there is to be one, and begins to
// send traces and metrics, if the environment says so.
func (b *base) openTelemetry(ctx context.Context, address string) (err error) {
	m := telemetry.New(telemetry.Build{Version: Version(), Commit: Commit()}, b.telemetry)
	if address != "" {
		if b.metricsListener, err = net.Listen("tcp", address); err != nil {
			return config.At("metrics", err)
		}
		b.closing(func(context.Context) error { _ = b.metricsListener.Close(); return nil })
	}
	if b.export, err = telemetry.OpenExport(ctx, Version(), m, b.log); err != nil {
		return err
	}
	if address != "" || b.export.Metrics() {
		b.metrics = m
	}
	b.closing(func(ctx context.Context) error {
		if err := b.export.Close(ctx); err != nil {
			b.log.Warn("the last traces or metrics could not be sent", "error", err)
		}
		return nil
	})
	return nil
}

// MetricsAddress is where metrics are served, nil if they are not.
func (s *Server) MetricsAddress() net.Addr {
	if s.metricsListener == nil {
		return nil
	}
	return s.metricsListener.Addr()
}

func (b *base) countCall(ctx context.Context, m plugin.Measured) {
	b.metrics.PluginCall(ctx, telemetry.PluginCall{
		Plugin: m.Plugin, Version: m.Version, Route: m.Route, Source: m.Source, Queued: m.Queued, Took: m.Took, Fuel: m.Fuel,
	})
}

func (b *base) countSwap(r *plugin.Report, err error) {
	step, took := "", time.Duration(0)
	if failed, ok := errors.AsType[*plugin.StepError](err); ok {
		step = string(failed.Step)
	}
	for _, s := range r.Steps {
		took += time.Duration(s.Took)
	}
	b.metrics.Swap(r.Name, string(r.Outcome), step, took)
}

// decided ends the span of a decision.
func decided(span *trace.Span, q *host.Question, d *host.Decision) {
	if span == nil {
		return
	}
	question := "route"
	if q.Capability != nil {
		question = "capability"
	}
	span.String("bulkhead.question", question)
	span.String("bulkhead.action", string(q.Route.Action))
	span.Bool("bulkhead.allow", d.Allow)
	span.Bool("bulkhead.cached", d.Cached)
	span.String("bulkhead.reason", d.Reason.Code)
	span.String("bulkhead.decision.id", d.ID)
	span.End()
}

// openMetrics serves the metrics until Close.
func (s *Server) openMetrics(context.Context) error {
	if s.metricsListener == nil {
		return nil
	}
	srv := s.newServer(s.metrics.Handler(s.metricsListener.Addr()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(s.metricsListener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the listener of metrics failed", "error", err)
		}
	}()
	s.closing(func(context.Context) error {
		err := srv.Close() // a scrape or profile that is cut off is asked for again
		<-done
		return err
	})
	return nil
}

// telemetry is what the host has now.
func (b *base) telemetry() telemetry.State {
	rt := b.pin()
	defer b.unpin(rt)
	if rt == nil {
		return telemetry.State{}
	}
	t := telemetry.State{Checks: map[string]bool{}, Degraded: map[string]bool{}, Clusters: map[string]bool{}, Sessions: b.sessions.Count()}
	for name, err := range b.checks() {
		t.Checks[name] = err == nil
	}
	for name, err := range b.degraded() {
		t.Degraded[name] = err != nil
	}
	for _, c := range rt.clusters.Ready() {
		t.Clusters[c.Name] = c.Ready
	}
	for _, p := range b.plugins.Status() {
		for _, g := range p.Generations {
			t.Plugins = append(t.Plugins, telemetry.Plugin{Name: p.Name, Version: g.Version, State: string(g.State), Leases: g.Leases, MemoryBytes: g.Memory,
				Instances: g.Instances, Idle: g.Idle, ColdStarts: g.ColdStarts, Restores: g.Restores})
		}
	}
	policy := rt.policy.Status()
	t.Policy, t.Records = rt.policy.Revision(), append(records("decisions", policy.Log), b.export.Records()...)
	t.StoreAge, t.StoreGaps, t.Started = b.state.Age(), b.state.Gaps(), time.Duration(b.took.Load())
	var kept *audit.Status
	kept, t.AuditLost = b.trail.Status()
	t.Records = append(t.Records, records("audit", kept)...)
	return t
}

func records(log string, s *audit.Status) (list []telemetry.Records) {
	if s == nil {
		return nil
	}
	for name, d := range s.Destinations {
		list = append(list, telemetry.Records{Log: log, Destination: name, Written: d.Written, Lost: d.Dropped, Waiting: d.Waiting})
	}
	return list
}

// observed counts capability calls, and tells also, if it is not nil.
func (b *base) observed(also func(context.Context, *capability.Exchange)) func(context.Context, *capability.Exchange) {
	if b.metrics == nil {
		return also
	}
	return func(ctx context.Context, e *capability.Exchange) {
		b.metrics.CapabilityCall(ctx, e.Plugin, e.Capability, capability.Source(e.Response, e.Err), e.Took)
		if also != nil {
			also(ctx, e)
		}
	}
}
