package server

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// metrics returns the lines of a scrape that do not belong to the process.
func (w *world) metrics(t *testing.T) (lines []string) {
	t.Helper()
	resp, err := http.Get("http://" + w.server.MetricsAddress().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d, %v: %s", resp.StatusCode, err, text)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "bulkhead_") || strings.HasPrefix(line, "http_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestMetricsCountRequestsAndNoUserMakesASeries(t *testing.T) {
	w := prepare(t, "")
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"\nmetrics: 127.0.0.1:0\n")
	var more strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&more, "---\napiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: u%d}\nspec: {id: u%[1]d@example.com, roles: [editor]}\n", i)
	}
	w.write(t, "directory/more.yaml", more.String())
	w.open(t)
	visit := func(a *actor, i int) {
		a.get(fmt.Sprintf("/api/echo/echo?x=%d", i))
		a.get(fmt.Sprintf("/api/echo/absent-%d", i))
		a.get(fmt.Sprintf("/api/absent-%d/echo", i))
		a.get(fmt.Sprintf("/nowhere/%d", i))
		a.get("/api/echo/trap")
		a.post("/api/gitops/helm-uninstall", "{}")
		a.get("/api/gitops/helm-releases?cluster=dev")
		if conn, _ := a.dial("/ws/echo"); conn != nil {
			_ = conn.Close()
		}
	}
	visit(w.as(t, "vic"), 0)
	visit(w.as(t, "eve"), 0)
	has := func(lines []string, parts ...string) bool {
		for _, line := range lines {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return true
			}
		}
		return false
	}
	var lines []string
	eventually(t, "the sockets to have ended", func() bool {
		lines = w.metrics(t)
		return has(lines, `bulkhead_session_end_duration_seconds_count{kind="socket"} 2`)
	})
	for _, want := range [][]string{
		{`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/api/echo/echo"} 2`},
		{`_count{http_request_method="GET",http_response_status_code="404",http_route=""} 2`},
		{`_count{http_request_method="GET",http_response_status_code="404",http_route="/api/{plugin}/{path:.*}"} 4`},
		{`http_response_status_code="403",http_route="/api/gitops/helm-uninstall"} 1`},
		{`http_response_status_code="400",http_route="/api/gitops/helm-uninstall"} 1`},
		{`bulkhead_plugin_call_duration_seconds_count{error_source="plugin",plugin="echo",route="trap",version="0.1.0"} 2`},
		{`bulkhead_plugin_call_duration_seconds_count{error_source="",plugin="echo",route="echo-get",version="0.1.0"} 2`},
		{`bulkhead_capability_call_duration_seconds_count{capability="helm",error_source="host",plugin="gitops"} 2`},
		{`bulkhead_decisions_total{allow="false",`, `question="route"`},
		{`bulkhead_decisions_total{allow="true",`, `question="capability"`},
		{`bulkhead_plugin_memory_bytes{plugin="echo",state="serving",version="0.1.0"}`},
		{`bulkhead_ready{check="state"} 1`}, {`bulkhead_cluster_ready{cluster="dev"} 0`},
	} {
		if !has(lines, want...) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(lines, "\n"))
	}
	if has(lines, "example.com") || has(lines, "absent-") {
		t.Errorf("a user or a path is in\n%s", strings.Join(lines, "\n"))
	}

	series := len(w.metrics(t))
	for i := range 20 {
		visit(w.as(t, "ada"), i+1)
	}
	// An admin is answered in ways that the others are not.
	known := len(w.metrics(t))
	for i := range 20 {
		visit(w.as(t, fmt.Sprintf("u%d", i)), i+100)
	}
	for i := 20; i < 1000; i++ { // of the others one request each that is answered, and one that is not
		a := w.as(t, fmt.Sprintf("u%d", i))
		a.get(fmt.Sprintf("/api/echo/echo?x=%d", i))
		a.get(fmt.Sprintf("/api/echo/absent-%d", i))
	}
	if now := len(w.metrics(t)); now > known || known > series+40 {
		t.Errorf("%d series, after more requests of an admin %d, and of more users %d", series, known, now)
	}
}

func TestTheAddressOfMetricsNeedsARestart(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"\nmetrics: nowhere\n")
	if _, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil); err == nil || !strings.Contains(err.Error(), `metrics: "nowhere" is not host:port`) {
		t.Errorf("an address without a port: %v", err)
	}
	if !NeedsRestart("metrics") {
		t.Error("a reload changes it")
	}
}
