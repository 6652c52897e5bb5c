package plugin

import (
	"maps"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// State is what a generation does.
type State string

const (
	Serving  State = "serving"  // everybody, or everybody outside a canary
	IsCanary State = "canary"   // serves the users of its canary
	Draining State = "draining" // was replaced, and has leases left
)

// Status is what is known of one name.
type Status struct {
	Name        string             `json:"name"`
	Origin      Origin             `json:"origin"`
	Generations []GenerationStatus `json:"generations"` // alive, the oldest first
	Canary      *Canary            `json:"canary,omitempty"`
	// Waiting is a version that needs consent.
	Waiting *Waiting `json:"waiting,omitempty"`
	// Failed is the last attempt, if that failed.
	Failed *Failure `json:"failed,omitempty"`
	// Earlier can be rolled back to, the last one first.
	Earlier []Earlier `json:"earlier,omitempty"`
}

// GenerationStatus is what is known of one generation.
type GenerationStatus struct {
	Number  uint64    `json:"number"`
	Plugin  string    `json:"plugin"` // by its manifest
	Version string    `json:"version"`
	Digest  string    `json:"digest"`
	State   State     `json:"state"`
	Leases  int       `json:"leases"` // requests and sessions that hold it
	Memory  int64     `json:"memory"` // bytes of its instances
	Since   time.Time `json:"since"`  // when it was published
	// Of its instances: how many there are and are idle; calls that found none ready; how
	// often one was reset for the next call.
	Instances  int    `json:"instances"`
	Idle       int    `json:"idle"`
	ColdStarts uint64 `json:"coldStarts"`
	Restores   uint64 `json:"restores"`
	// Of its unary calls since then.
	Calls       uint64        `json:"calls"`
	Errors      uint64        `json:"errors"` // that failed in the plugin
	P99         host.Duration `json:"p99"`    // within which 99 of 100 were answered, to a quarter
	FuelPerCall float64       `json:"fuelPerCall"`
}

// Earlier is a version that served before.
type Earlier struct {
	Version string    `json:"version"`
	Digest  string    `json:"digest"`
	Since   time.Time `json:"since"`
}

// Status describes every name, sorted.
func (r *Registry) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := *r.names.Load()
	out := make([]Status, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, names[name].status())
	}
	return out
}

func (s *slot) status() Status {
	st := Status{Name: s.name, Origin: s.origin, Failed: s.failed, Waiting: s.waiting}
	l := s.live.Load()
	if l != nil && l.canary != nil {
		rule := l.rule
		st.Canary = &rule
	}
	for _, g := range s.alive {
		at := GenerationStatus{
			Number: g.number, Plugin: g.manifest.Name, Version: g.manifest.Version, Digest: g.digest,
			State: Draining, Leases: g.leases(), Memory: g.module.Used(), Since: g.since,
		}
		made := g.module.Counts()
		at.Instances, at.Idle, at.ColdStarts, at.Restores = made.Live, made.Idle, made.ColdStarts, made.Restores
		n := g.counters.read()
		at.Calls, at.Errors, at.P99, at.FuelPerCall = n.calls, n.failed, host.Duration(n.p99()), n.fuelPerCall()
		switch {
		case l == nil:
		case g == l.serving:
			at.State = Serving
		case g == l.canary:
			at.State = IsCanary
		}
		if at.State != Draining {
			at.Leases-- // the one for being published
		}
		st.Generations = append(st.Generations, at)
	}
	for _, v := range s.record.Earlier {
		st.Earlier = append(st.Earlier, Earlier{v.Version, v.Config.Digest, v.Since})
	}
	return st
}

func (d *drain) leases() int { return int(d.holds.Load()) }
