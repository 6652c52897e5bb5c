package policytool

import (
	"context"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

// BenchReport is how long one decision takes, including matching.
type BenchReport struct {
	Evaluated    int           `json:"evaluated"` // times
	EvaluatedP50 time.Duration `json:"evaluatedP50_ns"`
	EvaluatedP99 time.Duration `json:"evaluatedP99_ns"`
	Cacheable    bool          `json:"cacheable"`
	Cached       int           `json:"cached"` // times
	CachedMean   time.Duration `json:"cachedMean_ns"`
}

// Bench measures the decision of p about q with the directory d, evaluated and cached,
// each for about the given time.
func Bench(ctx context.Context, p *authz.Policy, q *host.Question, d authz.Directory, each time.Duration) *BenchReport {
	r := &BenchReport{Cacheable: p.Cacheable()}
	trial := p.Over(d)
	var took []time.Duration
	for end := time.Now().Add(each); time.Now().Before(end) && ctx.Err() == nil; {
		start := time.Now()
		_, _, _ = trial.Evaluate(ctx, q, nil)
		took = append(took, time.Since(start))
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.Evaluated, r.EvaluatedP50, r.EvaluatedP99 = len(took), took[len(took)/2], took[len(took)*99/100]
	}
	if !r.Cacheable {
		return r
	}
	const batch = 1000 // reading the clock costs as much as a cache hit
	start := time.Now()
	for time.Since(start) < each && ctx.Err() == nil {
		for range batch {
			trial.Decide(ctx, q)
		}
		r.Cached += batch
	}
	r.CachedMean = time.Since(start) / time.Duration(max(r.Cached, 1))
	return r
}
