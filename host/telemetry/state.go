package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// State is what a host has at a moment.
type State struct {
	Checks   map[string]bool // what must work for the host to serve, by name: whether it does
	Degraded map[string]bool // what the host can serve without, by name: whether it is degraded
	Clusters map[string]bool // by name: whether its API server answers
	Sessions map[host.SessionKind]int
	Plugins  []Plugin
	Policy   uint64 // revision
	Records  []Records
}

// Plugin is one version of a plugin that is alive.
type Plugin struct {
	Name, Version, State string
	Leases               int
	MemoryBytes          int64
}

// Records counts the records for one destination of a log.
type Records struct {
	Log, Destination string
	Written, Lost    uint64
	Waiting          int
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	buildInfo    = describe("bulkhead_build_info", "1; the labels say which build the host is.", "version", "go_version")
	ready        = describe("bulkhead_ready", "1 if what the host needs for serving works, by check.", "check")
	degraded     = describe("bulkhead_degraded", "1 if a part that the host can serve without does not work or is out of date.", "part")
	clusterReady = describe("bulkhead_cluster_ready", "1 if the cluster's API server answers.", "cluster")
	sessions     = describe("bulkhead_sessions", "Sessions that are open here.", "kind")
	leases       = describe("bulkhead_plugin_leases", "Requests and sessions that run on a version of a plugin.", "plugin", "version", "state")
	memory       = describe("bulkhead_plugin_memory_bytes", "Memory of the instances of a version of a plugin.", "plugin", "version", "state")
	revision     = describe("bulkhead_policy_revision", "Revision of the policy that decides.")
	written      = describe("bulkhead_log_records_written_total", "Records that a destination has taken.", "log", "destination")
	lost         = describe("bulkhead_log_records_lost_total", "Records that a destination will never have.", "log", "destination")
	waiting      = describe("bulkhead_log_records_waiting", "Records that are on their way to a destination.", "log", "destination")
)

// scrape collects a State.
type scrape struct {
	version string
	state   func() State
}

// Describe implements prometheus.Collector. It describes nothing, so that the registry
// does not compare what is collected with it at each scrape.
func (s *scrape) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *scrape) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	flags := func(d *prometheus.Desc, of map[string]bool) {
		for name, set := range of {
			v := 0.0
			if set {
				v = 1
			}
			gauge(d, v, name)
		}
	}
	now := s.state()
	gauge(buildInfo, 1, s.version, runtime.Version())
	flags(ready, now.Checks)
	flags(degraded, now.Degraded)
	flags(clusterReady, now.Clusters)
	for _, kind := range []host.SessionKind{host.SessionCall, host.SessionEvents, host.SessionSocket} {
		gauge(sessions, float64(now.Sessions[kind]), string(kind))
	}
	// Two generations of a plugin can have the same version and state.
	type key struct{ name, version, state string }
	sums := map[key]Plugin{}
	for _, p := range now.Plugins {
		k := key{p.Name, p.Version, p.State}
		p.Leases, p.MemoryBytes = p.Leases+sums[k].Leases, p.MemoryBytes+sums[k].MemoryBytes
		sums[k] = p
	}
	for k, p := range sums {
		gauge(leases, float64(p.Leases), k.name, k.version, k.state)
		gauge(memory, float64(p.MemoryBytes), k.name, k.version, k.state)
	}
	gauge(revision, float64(now.Policy))
	for _, r := range now.Records {
		count(written, r.Written, r.Log, r.Destination)
		count(lost, r.Lost, r.Log, r.Destination)
		gauge(waiting, float64(r.Waiting), r.Log, r.Destination)
	}
}
