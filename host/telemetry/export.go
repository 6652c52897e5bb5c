package telemetry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// Export sends traces and metrics to a collector. What it sends is said by the variables
// of OpenTelemetry (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables):
// OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, … It is safe for concurrent use.
type Export struct {
	tracer  *trace.Tracer
	spans   *counted
	metrics bool
	stop    []func(context.Context) error
}

// signal is traces or metrics, of which OTEL_… variables speak.
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// of returns the variable of the signal, or else the one of all signals, with its name.
func (s signal) of(name string) (variable, value string) {
	variable = "OTEL_EXPORTER_OTLP_" + string(s) + "_" + name
	if value = os.Getenv(variable); value == "" {
		variable = "OTEL_EXPORTER_OTLP_" + name
		value = os.Getenv(variable)
	}
	return variable, value
}

// wanted reports whether the signal is to be sent, and by which protocol. Without
// OTEL_…_EXPORTER, a signal is sent if there is an endpoint to send it to.
func (s signal) wanted() (protocol string, err error) {
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return "", nil
	}
	at, endpoint := s.of("ENDPOINT")
	exporter := "OTEL_" + string(s) + "_EXPORTER"
	switch name := os.Getenv(exporter); {
	case name == "none", name == "" && endpoint == "":
		return "", nil
	case name != "" && name != "otlp":
		return "", fmt.Errorf("%s: %q is not otlp or none", exporter, name)
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("%s: %q is not a URL of http or https", at, endpoint)
	}
	at, protocol = s.of("PROTOCOL")
	if protocol = cmp.Or(protocol, "http/protobuf"); protocol != "http/protobuf" && protocol != "grpc" {
		return "", fmt.Errorf("%s: %q is not http/protobuf or grpc", at, protocol)
	}
	return protocol, nil
}

var samplers = []string{"", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}

// checkSampler refuses what the SDK would replace by its default: every request.
func checkSampler() error {
	name, arg := os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG")
	if !slices.Contains(samplers, name) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not one of %s", name, strings.Join(samplers[1:], ", "))
	}
	if !strings.HasSuffix(name, "traceidratio") {
		return nil
	}
	if ratio, err := strconv.ParseFloat(arg, 64); arg != "" && (err != nil || !(ratio >= 0 && ratio <= 1)) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a number from 0 to 1", arg)
	}
	return nil
}

// OpenExport begins to send what the environment says, for a host of this version. It
// returns nil if that is nothing. An error names the variable.
func OpenExport(ctx context.Context, version string, m *Metrics, log *slog.Logger) (_ *Export, err error) {
	forTraces, err := traces.wanted()
	forMetrics, errMetrics := metrics.wanted()
	if err := cmp.Or(err, errMetrics, checkSampler()); err != nil {
		return nil, err
	}
	if forTraces == "" && forMetrics == "" {
		return nil, nil
	}
	report(log)
	e := &Export{}
	defer func() {
		if err != nil {
			e.Close(ctx)
		}
	}()
	from, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "bulkhead"), attribute.String("service.version", version),
		attribute.String("service.instance.id", rand.Text()),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if forTraces != "" {
		if err := e.openTraces(ctx, forTraces, from); err != nil {
			return nil, err
		}
	}
	if forMetrics != "" {
		if err := e.openMetrics(ctx, forMetrics, from, m); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Export) openTraces(ctx context.Context, protocol string, from *resource.Resource) (err error) {
	var to sdktrace.SpanExporter
	if protocol == "grpc" {
		to, err = otlptracegrpc.New(ctx)
	} else {
		to, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	e.spans = &counted{SpanExporter: to}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(from), sdktrace.WithBatcher(e.spans))
	e.tracer = trace.New(provider)
	e.stop = append(e.stop, provider.Shutdown)
	return nil
}

func (e *Export) openMetrics(ctx context.Context, protocol string, from *resource.Resource, m *Metrics) (err error) {
	var to metric.Exporter
	if protocol == "grpc" {
		to, err = otlpmetricgrpc.New(ctx)
	} else {
		to, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	reader := metric.NewPeriodicReader(to, metric.WithProducer(producer(m.registry)))
	provider := metric.NewMeterProvider(metric.WithResource(from), metric.WithReader(reader))
	e.metrics = true
	e.stop = append(e.stop, provider.Shutdown)
	return nil
}

// Tracer begins the traces of requests; nil if none are sent.
func (e *Export) Tracer() *trace.Tracer {
	if e == nil {
		return nil
	}
	return e.tracer
}

// Metrics reports whether metrics are sent.
func (e *Export) Metrics() bool { return e != nil && e.metrics }

// Records counts the spans that were sent.
func (e *Export) Records() []Records {
	if e == nil || e.spans == nil {
		return nil
	}
	return []Records{{Log: "traces", Destination: "otlp", Written: e.spans.sent.Load(), Lost: e.spans.lost.Load()}}
}

// closeTimeout bounds the last sending: a collector that does not answer must not keep
// the host from ending.
const closeTimeout = 3 * time.Second

// Close sends what is left and ends.
func (e *Export) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var errs []error
	for _, stop := range e.stop {
		errs = append(errs, stop(ctx))
	}
	e.stop = nil
	return errors.Join(errs...)
}

// counted counts what an exporter has sent and what it has given up.
type counted struct {
	sdktrace.SpanExporter
	sent, lost atomic.Uint64
}

func (c *counted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if n := uint64(len(spans)); err != nil {
		c.lost.Add(n)
	} else {
		c.sent.Add(n)
	}
	return err
}

// reportEvery is the least time between two reports of failures.
const reportEvery = time.Minute

// report has the SDK's failures logged, once in a while. Its handlers are those of the
// process.
func report(log *slog.Logger) {
	var last atomic.Int64
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		now := time.Now().UnixNano()
		if before := last.Load(); now-before > int64(reportEvery) && last.CompareAndSwap(before, now) {
			log.Warn("traces or metrics cannot be sent", "error", err)
		}
	}))
}
