package monitoring

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// receive starts the collector's receiver for OTLP.
func receive(t *testing.T, grpc, http string) (*consumertest.TracesSink, *consumertest.MetricsSink) {
	t.Helper()
	f := otlpreceiver.NewFactory()
	config := f.CreateDefaultConfig()
	given := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"grpc": map[string]any{"endpoint": grpc}, "http": map[string]any{"endpoint": http}}})
	if err := given.Unmarshal(config); err != nil {
		t.Fatal(err)
	}
	traces, metrics := &consumertest.TracesSink{}, &consumertest.MetricsSink{}
	settings, nop := receivertest.NewNopSettings(f.Type()), componenttest.NewNopHost()
	ofTraces, err := f.CreateTraces(t.Context(), settings, config, traces)
	if err != nil {
		t.Fatal(err)
	}
	ofMetrics, err := f.CreateMetrics(t.Context(), settings, config, metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []interface {
		Shutdown(context.Context) error
	}{ofTraces, ofMetrics} {
		t.Cleanup(func() { _ = r.Shutdown(context.Background()) })
	}
	if err := ofTraces.Start(context.Background(), nop); err != nil {
		t.Fatal(err)
	}
	if err := ofMetrics.Start(context.Background(), nop); err != nil {
		t.Fatal(err)
	}
	return traces, metrics
}

// span is a span with its attributes as text.
type span struct {
	ptrace.Span
	attributes map[string]string
}

func spans(sink *consumertest.TracesSink) (list []span) {
	for _, traces := range sink.AllTraces() {
		for _, rs := range traces.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					a := map[string]string{}
					for k, v := range s.Attributes().All() {
						a[k] = v.AsString()
					}
					list = append(list, span{s, a})
				}
			}
		}
	}
	return list
}

// path is the names of the spans from the root to s.
func path(list []span, s span) string {
	name := s.Name()
	for _, p := range list {
		if p.SpanID() == s.ParentSpanID() {
			return path(list, p) + " > " + name
		}
	}
	return name
}

func TestACollectorTakesTheTraceOfARequest(t *testing.T) {
	grpc, http := freePort(t), freePort(t)
	for _, c := range []struct{ protocol, endpoint string }{{"grpc", "http://" + grpc}, {"http/protobuf", "http://" + http}} {
		t.Run(c.protocol, func(t *testing.T) {
			traces, metrics := receive(t, grpc, http)
			kubeconfig := "./absent"
			if c.protocol == "grpc" {
				kubeconfig = cluster(t)
			}
			h := startHost(t, kubeconfig, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+c.protocol,
				"OTEL_BSP_SCHEDULE_DELAY=200", "OTEL_METRIC_EXPORT_INTERVAL=500", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
			var id string
			if c.protocol == "grpc" {
				eventually(t, "an answer of the cluster", func() bool {
					var status int
					status, _, id = h.do("GET", "/api/gitops/helm-releases?cluster=dev&namespace=default&secret=hunter2", "", nil)
					return status == 200
				})
			} else {
				_, _, id = h.do("GET", "/api/echo/echo?secret=hunter2", "", map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
			}
			var list []span
			eventually(t, "the request's span", func() bool {
				list = spans(traces)
				return slices.ContainsFunc(list, func(s span) bool { return s.attributes["bulkhead.request.id"] == id })
			})
			root := list[slices.IndexFunc(list, func(s span) bool { return s.attributes["bulkhead.request.id"] == id })]
			list = slices.DeleteFunc(list, func(s span) bool { return s.TraceID() != root.TraceID() })
			got := map[string]map[string]string{}
			for _, s := range list {
				got[path(list, s)] = s.attributes
				for k, v := range s.attributes {
					if strings.Contains(v, "hunter2") || strings.Contains(v, "ada@") {
						t.Errorf("%s of %s is %q", k, s.Name(), v)
					}
				}
			}
			check := func(path, key, value string) {
				t.Helper()
				if a, ok := got[path]; !ok || key != "" && a[key] != value {
					t.Errorf("%s of %q is %q, want %q; there are %q", key, path, a[key], value, slices.Sorted(maps.Keys(got)))
				}
			}
			if c.protocol == "grpc" {
				in, call := "GET /api/gitops/helm-releases", " > bulkhead.plugin.call"
				check(in, "http.response.status_code", "200")
				check(in+" > bulkhead.authenticate", "", "")
				check(in+" > bulkhead.decide", "bulkhead.question", "route")
				check(in+call, "bulkhead.plugin", "gitops")
				check(in+call+" > bulkhead.capability.call", "k8s.cluster.name", "dev")
				check(in+call+" > bulkhead.capability.call > bulkhead.decide", "bulkhead.question", "capability")
				check(in+call+" > bulkhead.capability.call > GET", "http.response.status_code", "200")
			} else {
				check("GET /api/echo/echo > bulkhead.plugin.call", "bulkhead.version", "0.1.0")
				if root.ParentSpanID().IsEmpty() && root.Links().Len() == 1 {
					if link := root.Links().At(0).TraceID().String(); link != "4bf92f3577b34da6a3ce929d0e0e4736" {
						t.Errorf("the caller's trace is %s", link)
					}
				} else {
					t.Errorf("a client's traceparent: parent %v, %d links", root.ParentSpanID(), root.Links().Len())
				}
			}
			eventually(t, "the metrics", func() bool {
				names := map[string]bool{}
				for _, m := range metrics.AllMetrics() {
					for _, rm := range m.ResourceMetrics().All() {
						service, _ := rm.Resource().Attributes().Get("service.name")
						environment, _ := rm.Resource().Attributes().Get("deployment.environment.name")
						for _, sm := range rm.ScopeMetrics().All() {
							for _, metric := range sm.Metrics().All() {
								names[service.AsString()+"/"+environment.AsString()+" "+metric.Name()] = true
							}
						}
					}
				}
				return names["bulkhead/test http.server.request.duration"] && names["bulkhead/test bulkhead.plugin.call.duration"] && names["bulkhead/test bulkhead.state.age"]
			})
		})
	}
}
