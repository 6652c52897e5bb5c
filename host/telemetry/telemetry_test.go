package telemetry

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func scraped(t *testing.T, m *Metrics, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
	r.Host = "127.0.0.1:9090"
	if change != nil {
		change(r)
	}
	m.Handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}).ServeHTTP(w, r)
	return w
}

func TestEachEventAndStateIsAMetric(t *testing.T) {
	m := New(Build{"v1", "c0ffee"}, func() State {
		return State{
			Checks: map[string]bool{"state": true, "policy": false}, Degraded: map[string]bool{"directory": true},
			Clusters: map[string]bool{"dev": true}, Sessions: map[host.SessionKind]int{host.SessionSocket: 2},
			Plugins: []Plugin{
				{Name: "echo", Version: "1.0.0", State: "draining", Leases: 1, MemoryBytes: 10, Instances: 2, Idle: 1, ColdStarts: 3, Restores: 5},
				{Name: "echo", Version: "1.0.0", State: "draining", Leases: 2, MemoryBytes: 20, Instances: 1, Restores: 1},
			},
			StoreAge: 1500 * time.Millisecond, StoreGaps: 2, Started: time.Second, Policy: 7, AuditLost: 4, Records: []Records{{"decisions", "file", 3, 1, 2}},
		}
	})
	ctx := t.Context()
	m.Request(ctx, "GET", "/api/echo/echo", 200, 20*time.Millisecond)
	m.Request(t.Context(), "BREW", "", 404, time.Millisecond)
	m.PluginCall(t.Context(), PluginCall{"echo", "1.0.0", "echo", "", 5 * time.Microsecond, 20 * time.Microsecond, 1000})
	m.PluginCall(t.Context(), PluginCall{"echo", "1.0.0", "echo", "plugin", 0, time.Second, 500})
	m.Swap("echo", "failed", "verify", time.Second)
	m.CapabilityCall(t.Context(), "echo", "kube", "policy", time.Millisecond)
	m.Decision(ctx, false, &host.Decision{Allow: true, Cached: true})
	m.Decision(ctx, true, &host.Decision{Duration: 60 * time.Microsecond})
	m.SessionEnded(host.SessionSocket, host.ErrLoggedOut, time.Millisecond)
	m.SessionEnded(host.SessionCall, fmt.Errorf("odd"), 0)
	body := scraped(t, m, "/metrics", nil).Body.String()
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/api/echo/echo"} 1`,
		`http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_code="404",http_route=""} 1`,
		`bulkhead_plugin_call_duration_seconds_bucket{error_source="",plugin="echo",route="echo",version="1.0.0",le="0.0001"} 1`,
		`bulkhead_plugin_call_duration_seconds_sum{error_source="plugin",plugin="echo",route="echo",version="1.0.0"} 1`,
		`bulkhead_plugin_fuel_total{plugin="echo",route="echo",version="1.0.0"} 1500`,
		`bulkhead_capability_call_duration_seconds_count{capability="kube",error_source="policy",plugin="echo"} 1`,
		`bulkhead_decisions_total{allow="true",cached="true",question="route"} 1`,
		`bulkhead_decision_duration_seconds_sum{question="capability"} 6e-05`,
		`bulkhead_sessions_ended_total{cause="logged_out",kind="socket"} 1`,
		`bulkhead_sessions_ended_total{cause="failed",kind="call"} 1`,
		`bulkhead_ready{check="state"} 1`, `bulkhead_ready{check="policy"} 0`, `bulkhead_degraded{part="directory"} 1`,
		`bulkhead_cluster_ready{cluster="dev"} 1`, `bulkhead_sessions{kind="socket"} 2`, `bulkhead_sessions{kind="call"} 0`,
		`bulkhead_plugin_leases{plugin="echo",state="draining",version="1.0.0"} 3`,
		`bulkhead_plugin_memory_bytes{plugin="echo",state="draining",version="1.0.0"} 30`,
		`bulkhead_plugin_instances{plugin="echo",state="draining",version="1.0.0"} 3`,
		`bulkhead_plugin_instances_idle{plugin="echo",state="draining",version="1.0.0"} 1`,
		`bulkhead_plugin_cold_starts_total{plugin="echo",version="1.0.0"} 3`, `bulkhead_plugin_restores_total{plugin="echo",version="1.0.0"} 6`,
		`bulkhead_plugin_queue_duration_seconds_sum{plugin="echo"} 5e-06`,
		`bulkhead_plugin_swap_duration_seconds_count{outcome="failed",plugin="echo",step="verify"} 1`,
		`bulkhead_state_age_seconds 1.5`, `bulkhead_state_gaps_total 2`, `bulkhead_start_duration_seconds 1`,
		`bulkhead_policy_revision 7`, `bulkhead_audit_records_lost_total 4`, `bulkhead_log_records_lost_total{destination="file",log="decisions"} 1`,
		`bulkhead_log_records_waiting{destination="file",log="decisions"} 2`, `bulkhead_build_info{commit="c0ffee",go_version="go`, "go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestNoMetricsCountNothing(t *testing.T) {
	var m *Metrics
	ctx := t.Context()
	m.Request(ctx, "GET", "", 200, 0)
	m.Swap("", "", "", 0)
	m.PluginCall(ctx, PluginCall{})
	m.CapabilityCall(ctx, "", "", "", 0)
	m.Decision(ctx, false, nil)
	m.SessionEnded("", nil, 0)
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := New(Build{"v1", "c0ffee"}, func() State { return State{} })
	ctx := t.Context()
	count := func() {
		m.Request(ctx, "GET", "/api/echo/echo", 200, time.Millisecond)
		m.PluginCall(ctx, PluginCall{"echo", "1.0.0", "echo", "", time.Microsecond, time.Millisecond, 1})
		m.Decision(ctx, false, &host.Decision{Allow: true, Cached: true})
		m.SessionEnded(host.SessionCall, host.ErrDone, 0)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAPageOfAnotherSiteReadsNothing(t *testing.T) {
	m := New(Build{"v1", "c0ffee"}, func() State { return State{} })
	for _, name := range []string{"evil.example", "evil.example:9090", ""} {
		if w := scraped(t, m, "/metrics", func(r *http.Request) { r.Host = name }); w.Code != http.StatusBadRequest {
			t.Errorf("host %q: %d", name, w.Code)
		}
	}
	if w := scraped(t, m, "/debug/pprof/goroutine?debug=1", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile") {
		t.Errorf("a profile: %d", w.Code)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/debug/pprof/heap", nil)
	m.Handler(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}).ServeHTTP(w, r)
	if w.Code != http.StatusNotFound {
		t.Errorf("a profile for another machine: %d", w.Code)
	}
}

func TestBothFormatsAreServed(t *testing.T) {
	m := New(Build{"v1", "c0ffee"}, func() State { return State{} })
	w := scraped(t, m, "/metrics", func(r *http.Request) {
		r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	})
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") || !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("%s", got)
	}
}

// TestAVersionThatIsGoneHasNoSeriesLater: what it counted last is scraped once more.
func TestAVersionThatIsGoneHasNoSeriesLater(t *testing.T) {
	alive := []Plugin{{Name: "echo", Version: "1.0.0"}, {Name: "echo", Version: "2.0.0"}}
	m := New(Build{}, func() State { return State{Plugins: alive} })
	for _, version := range []string{"1.0.0", "2.0.0"} {
		m.PluginCall(t.Context(), PluginCall{Plugin: "echo", Version: version, Route: "echo"})
	}
	scraped(t, m, "/metrics", nil)
	alive = alive[1:]
	scraped(t, m, "/metrics", nil)
	scraped(t, m, "/metrics", nil)
	body := scraped(t, m, "/metrics", nil).Body.String()
	if strings.Contains(body, `version="1.0.0"`) || !strings.Contains(body, `bulkhead_plugin_fuel_total{plugin="echo",route="echo",version="2.0.0"}`) {
		t.Errorf("after a swap:\n%s", body)
	}
}

// BenchmarkCount is what a request through a plugin counts.
func BenchmarkCount(b *testing.B) {
	m := New(Build{"v1", "c0ffee"}, func() State { return State{} })
	d := &host.Decision{Allow: true, Cached: true}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		m.Request(ctx, "GET", "/api/echo/echo", 200, time.Millisecond)
		m.PluginCall(ctx, PluginCall{"echo", "1.0.0", "echo", "", time.Microsecond, time.Millisecond, 1})
		m.Decision(ctx, false, d)
		m.SessionEnded(host.SessionCall, host.ErrDone, 0)
	}
}

// A plugin chooses its status. What is counted for each must be few.
func TestThereAreFewStatuses(t *testing.T) {
	seen := map[string]bool{}
	for status := range 700 {
		seen[statusText(status)] = true
	}
	if len(seen) > 80 || !seen["200"] || !seen["503"] || !seen["_OTHER"] {
		t.Errorf("%d statuses", len(seen))
	}
}
