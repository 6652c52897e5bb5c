package server

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/telemetry"
)

// listenMetrics takes the listener of the metrics, if there is to be one.
func (b *base) listenMetrics(address string) (err error) {
	if address == "" {
		return nil
	}
	if b.metricsListener, err = net.Listen("tcp", address); err != nil {
		return err
	}
	b.closing(func(context.Context) error { _ = b.metricsListener.Close(); return nil })
	b.metrics = telemetry.New(Version(), b.telemetry)
	return nil
}

// MetricsAddress is where metrics are served, nil if they are not.
func (s *Server) MetricsAddress() net.Addr {
	if s.metricsListener == nil {
		return nil
	}
	return s.metricsListener.Addr()
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
			t.Plugins = append(t.Plugins, telemetry.Plugin{Name: p.Name, Version: g.Version, State: string(g.State), Leases: g.Leases, MemoryBytes: g.Memory})
		}
	}
	policy := rt.policy.Status()
	t.Policy, t.Records = rt.policy.Revision(), records("decisions", policy.Log)
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
		source := ""
		if e.Err != nil {
			source = capability.ErrorFrame(e.Err).Origin.String()
		} else if e.Response != nil && e.Response.Status >= http.StatusBadRequest {
			source = "upstream"
		}
		b.metrics.CapabilityCall(e.Plugin, e.Capability, source, e.Took)
		if also != nil {
			also(ctx, e)
		}
	}
}
