package telemetry

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// producer hands the registry's metrics to OpenTelemetry under the names that they have
// there: http.server.request.duration in s for http_server_request_duration_seconds.
// There is one list of metrics, so what is scraped and what is sent agree.
func producer(r *prometheus.Registry) metric.Producer {
	named := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := r.Gather()
		for _, f := range families {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					l.Name = new(labelName(f.GetName(), l.GetName()))
				}
			}
		}
		return families, err
	})
	return units{bridge.NewMetricProducer(bridge.WithGatherer(named))}
}

// labelName is a label's name as an attribute. Those of semantic conventions have a name
// there, the others stand below bulkhead.
func labelName(metric, label string) string {
	if !strings.HasPrefix(metric, "bulkhead_") && !strings.HasPrefix(metric, "http_") {
		return label // of the Go runtime or the process
	}
	if label == "error_source" || strings.HasPrefix(label, "http_") {
		return strings.Replace(strings.ReplaceAll(label, "_", "."), "status.code", "status_code", 1)
	}
	return "bulkhead." + label
}

// metricName is the name and the unit (UCUM) of a metric.
func metricName(name string) (_, unit string) {
	name = strings.TrimSuffix(name, "_total")
	for suffix, u := range map[string]string{"_seconds": "s", "_bytes": "By"} {
		if short, ok := strings.CutSuffix(name, suffix); ok {
			name, unit = short, u
		}
	}
	return strings.ReplaceAll(name, "_", "."), unit
}

// units names metrics and their units.
type units struct{ metric.Producer }

func (u units) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := u.Producer.Produce(ctx)
	for i := range scopes {
		scopes[i].Scope = instrumentation.Scope{Name: "github.com/seed-a3fb47d6/bulkhead"}
		for k := range scopes[i].Metrics {
			m := &scopes[i].Metrics[k]
			m.Name, m.Unit = metricName(m.Name)
		}
	}
	return scopes, err
}
