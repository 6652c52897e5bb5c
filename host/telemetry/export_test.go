package telemetry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// collector is the HTTP side of OTLP. The test with a real collector is in
// examples/kubernetes/testdata/monitoring.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []string
	metrics map[string]string // names and units
	labels  []string
	refuse  bool
}

func newCollector(t *testing.T) *collector {
	c := &collector{metrics: map[string]string{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, _ := io.ReadAll(body)
	if r.URL.Path == "/v1/traces" {
		m := &tracepb.ExportTraceServiceRequest{}
		_ = proto.Unmarshal(data, m)
		for _, rs := range m.ResourceSpans {
			for _, s := range rs.ScopeSpans {
				for _, span := range s.Spans {
					c.spans = append(c.spans, span.Name)
				}
			}
		}
		return
	}
	m := &metricspb.ExportMetricsServiceRequest{}
	_ = proto.Unmarshal(data, m)
	for _, rm := range m.ResourceMetrics {
		for _, s := range rm.ScopeMetrics {
			for _, metric := range s.Metrics {
				c.metrics[metric.Name] = metric.Unit
				for _, p := range metric.GetExponentialHistogram().GetDataPoints() {
					for _, a := range p.Attributes {
						c.labels = append(c.labels, a.Key)
					}
				}
			}
		}
	}
}

func export(t *testing.T, m *Metrics) *Export {
	t.Helper()
	e, err := OpenExport(t.Context(), "v1", m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNothingIsSentUnlessConfigured(t *testing.T) {
	e := export(t, nil)
	if e != nil || e.Tracer() != nil || e.Records() != nil || e.Metrics() || e.Close(t.Context()) != nil {
		t.Errorf("%+v", e)
	}
	newCollector(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	if e := export(t, nil); e != nil {
		t.Errorf("with none: %+v", e)
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if e := export(t, nil); e != nil {
		t.Errorf("disabled: %+v", e)
	}
}

func TestAVariableThatCannotBeUsedIsRefused(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "ftp://x",
		"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_TRACES_SAMPLER_ARG": "NaN", "OTEL_RESOURCE_ATTRIBUTES": "no-pair",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(variable, value)
			_, err := OpenExport(t.Context(), "v1", New(Build{}, func() State { return State{} }), slog.New(slog.DiscardHandler))
			if err == nil || !strings.HasPrefix(err.Error(), variable+": ") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTracesAndMetricsAreSentUnderTheirNames(t *testing.T) {
	c := newCollector(t)
	m := New(Build{"v1", ""}, func() State { return State{Plugins: []Plugin{{Name: "echo", Version: "1"}}} })
	e := export(t, m)
	ctx, span := e.Tracer().Request(httptest.NewRequest("GET", "/", nil), nil)
	m.Request(ctx, "GET", "/x", 200, time.Millisecond)
	m.PluginCall(ctx, PluginCall{Plugin: "echo", Version: "1", Route: "echo", Source: "plugin"})
	_, child := trace.Start(ctx, "child")
	child.End()
	span.End()
	body := scraped(t, m, "/metrics", func(r *http.Request) {
		r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	}).Body.String()
	if want := `# {trace_id="` + trace.ID(ctx) + `"} 0.001`; trace.ID(ctx) == "" || !strings.Contains(body, want) {
		t.Errorf("no exemplar %s in\n%s", want, body)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.spans, "child") || len(c.spans) != 2 {
		t.Errorf("spans %q", c.spans)
	}
	for name, unit := range map[string]string{
		"http.server.request.duration": "s", "bulkhead.plugin.call.duration": "s", "bulkhead.plugin.memory": "By", "bulkhead.plugin.fuel": "", "go.goroutines": "",
	} {
		if got, ok := c.metrics[name]; !ok || got != unit {
			t.Errorf("%s in %q, %v; want %q", name, got, ok, unit)
		}
	}
	for _, name := range []string{"http.request.method", "http.route", "http.response.status_code", "error.source", "bulkhead.plugin", "bulkhead.route"} {
		if !slices.Contains(c.labels, name) {
			t.Errorf("no attribute %s in %q", name, c.labels)
		}
	}
	if r := e.Records()[0]; r.Written != 2 || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
}

func TestACollectorThatRefusesIsCountedAndDoesNotHinder(t *testing.T) {
	c := newCollector(t)
	c.refuse = true
	e := export(t, New(Build{}, func() State { return State{} }))
	_, span := e.Tracer().Request(httptest.NewRequest("GET", "/", nil), nil)
	span.End()
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the time for an end is over"))
	_ = e.Close(t.Context())
	if r := e.Records()[0]; r.Written != 0 || r.Lost != 1 {
		t.Errorf("%+v", r)
	}
	if err := e.Close(ended); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
