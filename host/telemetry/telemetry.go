package telemetry

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// Metrics counts events. All methods are safe for concurrent use, and a nil Metrics
// counts nothing.
type Metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.HistogramVec
	calls        *prometheus.HistogramVec
	queued       *prometheus.HistogramVec
	fuel         *prometheus.CounterVec
	swaps        *prometheus.HistogramVec
	capabilities *prometheus.HistogramVec
	decisions    *prometheus.CounterVec
	decided      *prometheus.HistogramVec
	ended        *prometheus.CounterVec
	ending       *prometheus.HistogramVec
}

// classic are the buckets for servers that do not know native histograms, in seconds.
var classic = []float64{0.0001, 0.001, 0.01, 0.1, 1, 10}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: classic,
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: 1e-6, NativeHistogramMaxBucketNumber: 160,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// New returns metrics of a host of this build. At each scrape, state is asked for what
// the host has; it must be safe for concurrent use.
func New(build Build, state func() State) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: histogram("http_server_request_duration_seconds",
			"Time to answer HTTP requests. Websockets and event streams are not in it; see bulkhead_sessions.",
			"http_request_method", "http_route", "http_response_status_code"),
		calls: histogram("bulkhead_plugin_call_duration_seconds",
			"Time of unary calls in a plugin and the capabilities that it called. error_source is empty if the call did not fail.",
			"plugin", "version", "route", "error_source"),
		queued: histogram("bulkhead_plugin_queue_duration_seconds",
			"Time that unary calls waited for an instance of the plugin.", "plugin"),
		fuel: counter("bulkhead_plugin_fuel_total",
			"What unary calls have computed; about one for each instruction.", "plugin", "version", "route"),
		swaps: histogram("bulkhead_plugin_swap_duration_seconds",
			"Time of attempts to replace the version of a plugin. step is where a failed attempt ended.", "plugin", "outcome", "step"),
		capabilities: histogram("bulkhead_capability_call_duration_seconds",
			"Time of capability calls of plugins. error_source is empty if the call did not fail.",
			"plugin", "capability", "error_source"),
		decisions: counter("bulkhead_decisions_total",
			"Decisions of policy, of question route or capability.", "question", "allow", "cached"),
		decided: histogram("bulkhead_decision_duration_seconds",
			"Time to evaluate policy where no decision was cached.", "question"),
		ended: counter("bulkhead_sessions_ended_total",
			"Sessions that have ended; cause done is a regular end.", "kind", "cause"),
		ending: histogram("bulkhead_session_end_duration_seconds",
			"Time from the loss of a session's authority until its work had ended.", "kind"),
	}
	m.registry.MustRegister(m.requests, m.calls, m.queued, m.fuel, m.swaps, m.capabilities, m.decisions, m.decided, m.ended, m.ending,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &scrape{build: build, state: state, gone: m.forget})
	return m
}

// observe adds a duration, with the trace of ctx as its exemplar if it is sampled.
func observe(ctx context.Context, o prometheus.Observer, took time.Duration) {
	if id := trace.ID(ctx); id != "" {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": id})
		return
	}
	o.Observe(took.Seconds())
}

// forget removes the series of a version of a plugin that is gone, so that their number
// does not grow with every swap.
func (m *Metrics) forget(plugin, version string) {
	labels := prometheus.Labels{"plugin": plugin, "version": version}
	m.calls.DeletePartialMatch(labels)
	m.fuel.DeletePartialMatch(labels)
}

// methods are those of RFC 9110 and RFC 5789; others are counted as _OTHER.
var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true, "CONNECT": true, "TRACE": true,
}

// statuses are those that net/http knows; others are counted as _OTHER, because a plugin
// chooses its status, and each is a series of its own for each route.
var statuses = func() (list [600]string) {
	for i := range list {
		if list[i] = "_OTHER"; http.StatusText(i) != "" {
			list[i] = strconv.Itoa(i)
		}
	}
	return list
}()

func statusText(status int) string {
	if status < 0 || status >= len(statuses) {
		return "_OTHER"
	}
	return statuses[status]
}

// Request counts an answered request. Route is the template of the route, "" if none
// matched. The context of this and the methods below is the request's, for its trace.
func (m *Metrics) Request(ctx context.Context, method, route string, status int, took time.Duration) {
	if m == nil {
		return
	}
	if !methods[method] {
		method = "_OTHER"
	}
	observe(ctx, m.requests.WithLabelValues(method, route, statusText(status)), took)
}

// PluginCall is one unary call of a plugin.
type PluginCall struct {
	Plugin, Version, Route string
	Source                 string        // who caused its failure; "" if it did not fail
	Queued                 time.Duration // it waited for an instance
	Took                   time.Duration // after that
	Fuel                   uint64        // about one for each instruction
}

// PluginCall counts a unary call of a plugin.
func (m *Metrics) PluginCall(ctx context.Context, c PluginCall) {
	if m == nil {
		return
	}
	observe(ctx, m.calls.WithLabelValues(c.Plugin, c.Version, c.Route, c.Source), c.Took)
	observe(ctx, m.queued.WithLabelValues(c.Plugin), c.Queued)
	m.fuel.WithLabelValues(c.Plugin, c.Version, c.Route).Add(float64(c.Fuel))
}

// Swap counts an attempt to replace the version of a plugin; step is where it ended if it
// failed.
func (m *Metrics) Swap(plugin, outcome, step string, took time.Duration) {
	if m == nil {
		return
	}
	m.swaps.WithLabelValues(plugin, outcome, step).Observe(took.Seconds())
}

// CapabilityCall counts a capability call of a plugin. Source is as for PluginCall.
func (m *Metrics) CapabilityCall(ctx context.Context, plugin, capability, source string, took time.Duration) {
	if m == nil {
		return
	}
	observe(ctx, m.capabilities.WithLabelValues(plugin, capability, source), took)
}

// Decision counts a decision about a route, or about a capability call.
func (m *Metrics) Decision(ctx context.Context, capability bool, d *host.Decision) {
	if m == nil {
		return
	}
	question := "route"
	if capability {
		question = "capability"
	}
	m.decisions.WithLabelValues(question, strconv.FormatBool(d.Allow), strconv.FormatBool(d.Cached)).Inc()
	if !d.Cached {
		observe(ctx, m.decided.WithLabelValues(question), d.Duration)
	}
}

// SessionEnded counts a session that has ended, and the time from the loss of its
// authority until its work had ended.
func (m *Metrics) SessionEnded(kind host.SessionKind, cause error, took time.Duration) {
	if m == nil {
		return
	}
	name := "failed"
	if c := host.EndCauseOf(cause); c != nil {
		name = c.Name
	}
	m.ended.WithLabelValues(string(kind), name).Inc()
	m.ending.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// Handler is for the listener at address. It serves /metrics in the formats of Prometheus
// and OpenMetrics and, if the listener is on loopback, the profiles of net/http/pprof: a
// profile of the heap can hold what requests contained. On loopback it refuses a foreign
// Host, with which a web page could read it (DNS rebinding).
func (m *Metrics) Handler(address net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4}))
	if a, ok := address.(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return mux
	}
	for path, handle := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle(path, handle)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !netaddr.IsLoopback(netaddr.Host(r.Host)) {
			http.Error(w, "the request is for another host", http.StatusBadRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
