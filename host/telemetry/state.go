package telemetry

import (
	"runtime"
	"sync"
	"time"

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
	// StoreAge is the time since the store has last proved that it answers, and StoreGaps
	// how often it had not done so for too long.
	StoreAge  time.Duration
	StoreGaps uint64
	// Started is how long the start took; 0 until it is over.
	Started time.Duration
	// AuditLost counts the records of the audit that no destination has had.
	AuditLost uint64
}

// Build is which program the host is.
type Build struct{ Version, Commit string }

// Plugin is one version of a plugin that is alive.
type Plugin struct {
	Name, Version, State string
	Leases               int
	MemoryBytes          int64
	Instances, Idle      int
	ColdStarts, Restores uint64
}

func (p *Plugin) add(q Plugin) {
	p.Leases += q.Leases
	p.MemoryBytes += q.MemoryBytes
	p.Instances += q.Instances
	p.Idle += q.Idle
	p.ColdStarts += q.ColdStarts
	p.Restores += q.Restores
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
	buildInfo    = describe("bulkhead_build_info", "1; the labels say which build the host is.", "version", "commit", "go_version")
	ready        = describe("bulkhead_ready", "1 if what the host needs for serving works, by check.", "check")
	degraded     = describe("bulkhead_degraded", "1 if a part that the host can serve without does not work or is out of date.", "part")
	clusterReady = describe("bulkhead_cluster_ready", "1 if the cluster's API server answers.", "cluster")
	sessions     = describe("bulkhead_sessions", "Sessions that are open here.", "kind")
	leases       = describe("bulkhead_plugin_leases", "Requests and sessions that run on a version of a plugin.", "plugin", "version", "state")
	memory       = describe("bulkhead_plugin_memory_bytes", "Memory of the instances of a version of a plugin.", "plugin", "version", "state")
	instances    = describe("bulkhead_plugin_instances", "Instances of a version of a plugin, also idle ones.", "plugin", "version", "state")
	idle         = describe("bulkhead_plugin_instances_idle", "Instances that wait for a call.", "plugin", "version", "state")
	coldStarts   = describe("bulkhead_plugin_cold_starts_total", "Calls that found no ready instance, so that one was made for them.", "plugin", "version")
	restores     = describe("bulkhead_plugin_restores_total", "Instances that were reset after a call, for the next.", "plugin", "version")
	storeAge     = describe("bulkhead_state_age_seconds", "Time since the state store has last proved that it takes and shows changes.")
	storeGaps    = describe("bulkhead_state_gaps_total", "How often this replica has admitted no requests because the state store did not answer.")
	started      = describe("bulkhead_start_duration_seconds", "Time from the start of the process until it served; absent before.")
	revision     = describe("bulkhead_policy_revision", "Revision of the policy that decides.")
	written      = describe("bulkhead_log_records_written_total", "Records that a destination has taken.", "log", "destination")
	lost         = describe("bulkhead_log_records_lost_total", "Records that a destination will never have.", "log", "destination")
	auditLost    = describe("bulkhead_audit_records_lost_total", "Records of the audit that no destination has had: how blind the audit is.")
	waiting      = describe("bulkhead_log_records_waiting", "Records that are on their way to a destination.", "log", "destination")
)

// scrape collects a State.
type scrape struct {
	build Build
	state func() State
	gone  func(plugin, version string)

	mu   sync.Mutex
	seen map[version]int // versions that have been alive; in how many scrapes they were not
}

type version struct{ plugin, version string }

// age forgets the versions that have not been alive in the last two scrapes: what they
// counted last is still in the first of them.
func (s *scrape) age(alive map[version]Plugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range alive {
		if s.seen == nil {
			s.seen = map[version]int{}
		}
		s.seen[v] = 0
	}
	for v := range s.seen {
		if _, ok := alive[v]; ok {
			continue
		}
		if s.seen[v]++; s.seen[v] > 1 {
			delete(s.seen, v)
			s.gone(v.plugin, v.version)
		}
	}
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
	gauge(buildInfo, 1, s.build.Version, s.build.Commit, runtime.Version())
	flags(ready, now.Checks)
	flags(degraded, now.Degraded)
	flags(clusterReady, now.Clusters)
	for _, kind := range []host.SessionKind{host.SessionCall, host.SessionEvents, host.SessionSocket} {
		gauge(sessions, float64(now.Sessions[kind]), string(kind))
	}
	// Two generations of a plugin can have the same version and state.
	type key struct{ name, version, state string }
	sums, versions := map[key]Plugin{}, map[version]Plugin{}
	for _, p := range now.Plugins {
		k, v := key{p.Name, p.Version, p.State}, version{p.Name, p.Version}
		sum, all := sums[k], versions[v]
		sum.add(p)
		all.add(p)
		sums[k], versions[v] = sum, all
	}
	for k, p := range sums {
		gauge(leases, float64(p.Leases), k.name, k.version, k.state)
		gauge(memory, float64(p.MemoryBytes), k.name, k.version, k.state)
		gauge(instances, float64(p.Instances), k.name, k.version, k.state)
		gauge(idle, float64(p.Idle), k.name, k.version, k.state)
	}
	for v, p := range versions {
		count(coldStarts, p.ColdStarts, v.plugin, v.version)
		count(restores, p.Restores, v.plugin, v.version)
	}
	s.age(versions)
	gauge(storeAge, now.StoreAge.Seconds())
	count(storeGaps, now.StoreGaps)
	if now.Started > 0 {
		gauge(started, now.Started.Seconds())
	}
	gauge(revision, float64(now.Policy))
	count(auditLost, now.AuditLost)
	for _, r := range now.Records {
		count(written, r.Written, r.Log, r.Destination)
		count(lost, r.Lost, r.Log, r.Destination)
		gauge(waiting, float64(r.Waiting), r.Log, r.Destination)
	}
}
