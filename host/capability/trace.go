package capability

import (
	"context"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// span begins the span of a capability call.
func (g *Granted) span(ctx context.Context, capability string) (context.Context, *trace.Span) {
	ctx, span := trace.Start(ctx, "bulkhead.capability.call")
	if span != nil {
		span.String("bulkhead.plugin", g.plugin)
		span.String("bulkhead.capability", capability)
	}
	return ctx, span
}

// describe adds what a call is for. Names of objects are not in it.
func describe(span *trace.Span, c *host.CapabilityCall) {
	if span == nil {
		return
	}
	span.String("bulkhead.verb", c.Verb)
	span.String("bulkhead.resource", c.Resource)
	span.String("k8s.cluster.name", c.Cluster)
	span.String("k8s.namespace.name", c.Namespace)
}

// Source is who caused the failure of a call with this outcome, "" if it did not fail: an
// answer of the upstream with an error status is the upstream's.
func Source(resp *abi.Response, err error) string {
	switch {
	case err != nil:
		return ErrorFrame(err).Origin.String()
	case resp != nil && resp.Status >= 400:
		return abi.OriginUpstream.String()
	}
	return ""
}

func ended(span *trace.Span, resp *abi.Response, err error) {
	if span == nil {
		return
	}
	if source := Source(resp, err); source != "" {
		span.String("error.source", source)
		span.Fail(source)
	}
	span.End()
}
