package plugin

import (
	"cmp"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Rollout is how a new generation of a plugin replaces the present one. A zero field means the
// default.
type Rollout struct {
	// Drain is how long sockets and event streams may stay on a replaced generation; then
	// they are closed with 1012, and clients may connect again. Default 1h. Calls end by
	// their own time limit.
	Drain host.Duration `json:"drain,omitempty"`
	// Canary makes a new generation serve some users first. The first generation of a
	// plugin serves all users at once.
	Canary *Canary `json:"canary,omitempty"`
	// Regression defines when the host rolls a new generation back automatically.
	Regression Regression `json:"regression,omitzero"`
}

// Regression compares the calls of a new generation with those of the one that it
// replaced, and beside a canary with those that it gets meanwhile. What is worse by one
// of the factors is rolled back within 10 s. A zero field takes the default, a negative
// factor compares nothing.
type Regression struct {
	// Watch is how long a generation is compared after it was published for everybody;
	// 10m. A canary is compared as long as it is one. Negative: never.
	Watch host.Duration `json:"watch,omitempty"`
	// Calls is how many calls each of the two must have had; 100.
	Calls int `json:"calls,omitempty"`
	// Errors is the factor of failed calls: those that fail in the plugin or answer with
	// a status from 500, per call; 2. A difference of less than 2 in 100 is ignored.
	Errors float64 `json:"errors,omitempty"`
	// Latency is the factor of the time within which 99 of 100 calls are answered; 3. A
	// difference of less than 20ms is ignored.
	Latency float64 `json:"latency,omitempty"`
	// Fuel is the factor of instructions per call; 3. A difference of less than 100,000
	// is ignored.
	Fuel float64 `json:"fuel,omitempty"`
}

func (r Rollout) withDefaults() Rollout {
	r.Drain = cmp.Or(r.Drain, host.Duration(time.Hour))
	g := &r.Regression
	g.Watch = cmp.Or(g.Watch, host.Duration(10*time.Minute))
	g.Calls = cmp.Or(g.Calls, 100)
	g.Errors, g.Latency, g.Fuel = cmp.Or(g.Errors, 2), cmp.Or(g.Latency, 3), cmp.Or(g.Fuel, 3)
	return r
}

func (r *Rollout) check(bad *config.Problems) {
	if r.Drain < 0 {
		bad.Add("drain", "must not be negative")
	}
	if r.Regression.Calls < 0 {
		bad.Add("regression.calls", "must not be negative")
	}
	for field, factor := range map[string]float64{
		"errors": r.Regression.Errors, "latency": r.Regression.Latency, "fuel": r.Regression.Fuel,
	} {
		if !(factor <= 0 || factor >= 1) {
			bad.Add("regression."+field, "%v is less than 1; a negative number turns the comparison off", factor)
		}
	}
	if r.Canary != nil {
		r.Canary.check(bad.At("canary"))
	}
}
