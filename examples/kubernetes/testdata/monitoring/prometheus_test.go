package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
)

// server is Prometheus: what scrapes, stores and evaluates.
type server struct {
	*testing.T
	db     *tsdb.DB
	engine *promql.Engine
	parser parser.Parser
}

func startPrometheus(t *testing.T, target string) *server {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(t.TempDir(), quiet, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{T: t, db: db, parser: parser.NewParser(parser.Options{})}
	s.engine = promql.NewEngine(promql.EngineOpts{Logger: quiet, MaxSamples: 1e6, Timeout: time.Minute, Parser: s.parser})
	c, err := config.Load(`
global: {scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true}
scrape_configs: [{job_name: bulkhead, static_configs: [{targets: ["`+target+`"]}]}]
`, quiet)
	if err != nil {
		t.Fatal(err)
	}
	m, err := scrape.NewManager(&scrape.Options{DiscoveryReloadInterval: model.Duration(100 * time.Millisecond)}, quiet, nil, nil, db, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyConfig(c); err != nil {
		t.Fatal(err)
	}
	targets, ended := make(chan map[string][]*targetgroup.Group), make(chan error, 1)
	go func() { ended <- m.Run(targets) }()
	t.Cleanup(func() {
		m.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = s.engine.Close()
		_ = db.Close()
	})
	targets <- map[string][]*targetgroup.Group{"bulkhead": {{Source: "0", Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(target)}}}}}
	return s
}

func (s *server) query(text string) (promql.Vector, error) {
	q, err := s.engine.NewInstantQuery(s.Context(), s.db, nil, text, time.Now())
	if err != nil {
		return nil, err
	}
	defer q.Close()
	result := q.Exec(s.Context())
	if result.Err != nil {
		return nil, result.Err
	}
	if len(result.Warnings) > 0 {
		return nil, fmt.Errorf("%v", result.Warnings)
	}
	if v, ok := result.Value.(promql.Scalar); ok {
		return promql.Vector{{F: v.V}}, nil
	}
	return result.Vector()
}

func (s *server) any(text string) bool {
	v, err := s.query(text)
	if err != nil {
		s.Fatalf("%s: %v", text, err)
	}
	return len(v) > 0
}

// metricsOf are the metrics that an expression reads.
func (s *server) metricsOf(text string) (names []string) {
	s.Helper()
	e, err := s.parser.ParseExpr(text)
	if err != nil {
		s.Fatalf("%s: %v", text, err)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names
}

// known fails for a metric that the host does not have, and for a label that none of its
// series has.
func (s *server) known(at, text string) {
	s.Helper()
	names := s.metricsOf(text)
	for _, name := range names {
		if !s.any(name) {
			s.Errorf("%s reads %s, which the host does not have", at, name)
		}
	}
	by := regexp.MustCompile(`by \(([^)]*)\)`)
	for _, list := range by.FindAllStringSubmatch(text, -1) {
		for label := range strings.SplitSeq(list[1], ",") {
			if label = strings.TrimSpace(label); label == "" {
				continue
			}
			some := false
			for _, name := range names {
				some = some || s.any("count by ("+label+") ("+name+"{"+label+"!=\"\"})")
			}
			if !some && label != "step" && label != "error_source" {
				s.Errorf("%s: no series of %v has the label %s", at, names, label)
			}
		}
	}
}

type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
	Templating struct{ List []struct{ Query any } }
}

const chart = "../../chart/files/"

// exercise makes the host have something in every metric.
func exercise(h *host) {
	for range 20 {
		h.do("GET", "/api/echo/echo", "", nil)
		h.do("GET", "/api/echo/trap", "", nil)
		h.do("GET", "/api/gitops/helm-releases?cluster=dev", "", nil)
	}
}

func TestPrometheusEvaluatesEveryPanelAndEveryAlert(t *testing.T) {
	h := startHost(t, "./absent")
	exercise(h)
	s := startPrometheus(t, h.metrics)
	eventually(t, "the first scrape", func() bool { return s.any("bulkhead_build_info") })
	// Rates need a difference, and an increase of what has been counted one after it.
	exercise(h)
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, h.config, strings.Replace(string(text), "- {name: echo,", "- {name: echo, digest: \"sha256:"+strings.Repeat("0", 64)+"\",", 1))
	eventually(t, "a swap that fails", func() bool {
		h.do("POST", "/api/admin/config/reload", "{}", nil)
		return s.any(`histogram_count(bulkhead_plugin_swap_duration_seconds{outcome="failed"}) > 0`)
	})
	eventually(t, "two scrapes", func() bool { return s.any("count_over_time(bulkhead_state_age_seconds[1m]) >= 3") })
	t.Run("panels", func(t *testing.T) {
		s.T = t
		file, err := os.ReadFile(chart + "dashboards/bulkhead.json")
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(file, &d); err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				count++
				expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*").Replace(target.Expr)
				s.known(p.Title, expr)
				if v, err := s.query(expr); err != nil || len(v) == 0 && p.Title != "Degraded" {
					t.Errorf("%s: %d series, %v: %s", p.Title, len(v), err, expr)
				}
			}
		}
		if count < 20 {
			t.Errorf("%d targets", count)
		}
	})
	t.Run("alerts", func(t *testing.T) {
		s.T = t
		m := rules.NewManager(&rules.ManagerOptions{
			ExternalURL: &url.URL{}, QueryFunc: rules.EngineQueryFunc(s.engine, s.db), NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
			Context: t.Context(), AppendableV2: s.db, Queryable: s.db, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Parser: s.parser,
		})
		groups, errs := m.LoadGroups(time.Second, labels.EmptyLabels(), "", nil, false, chart+"alerts.yaml")
		if len(errs) > 0 || len(groups) != 1 {
			t.Fatal(errs)
		}
		firing := map[string]bool{}
		for _, g := range groups {
			g.Eval(t.Context(), time.Now())
			for _, r := range g.AlertingRules() {
				if err := r.LastError(); err != nil || r.Health() != rules.HealthGood {
					t.Errorf("%s: %s, %v", r.Name(), r.Health(), err)
				}
				s.known(r.Name(), r.Query().String())
				for _, label := range []string{"summary", "action"} {
					if r.Annotations().Get(label) == "" {
						t.Errorf("%s has no %s", r.Name(), label)
					}
				}
				firing[r.Name()] = r.State() != rules.StateInactive
			}
		}
		// What is wrong with this host, and nothing else.
		for name, is := range firing {
			want := name == "BulkheadClusterDown" || name == "BulkheadPluginFails" || name == "BulkheadRequestsFail" || name == "BulkheadSwapFailed" || name == "BulkheadDegraded"
			if is != want {
				t.Errorf("%s is on: %v, want %v", name, is, want)
			}
		}
	})
}
