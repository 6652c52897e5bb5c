package authz

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// shadowQueue bounds what waits for the candidate; more is not compared.
	shadowQueue = 1024
	// shadowExamples is how many differences are kept for ShadowStatus.
	shadowExamples = 50
)

// Difference is a question about which two policies disagree.
type Difference struct {
	User       string    `json:"user"`
	Action     string    `json:"action"`
	Capability string    `json:"capability,omitempty"` // "helm upgrade dev/shop/web"
	What       string    `json:"what"`                 // "denies", "allows", "reason", "obligations"
	Old        string    `json:"old"`                  // reason code
	New        string    `json:"new"`
	Count      int       `json:"count"`
	DecisionID string    `json:"decisionId,omitempty"` // the first
	At         time.Time `json:"at,omitzero"`          // of the first
}

// whatDiffers says in what new differs from old, "" if in nothing that anybody
// would notice.
func whatDiffers(before, after *host.Decision) string {
	switch {
	case before.Allow && !after.Allow:
		return "denies"
	case !before.Allow && after.Allow:
		return "allows"
	case before.Reason.Code != after.Reason.Code:
		return "reason"
	case !reflect.DeepEqual(before.Obligations, after.Obligations):
		return "obligations"
	}
	return ""
}

func difference(q *host.Question, what string, before, after *host.Decision) Difference {
	d := Difference{
		User: string(q.Principal.User), Action: string(q.Route.Action), What: what,
		Old: before.Reason.Code, New: after.Reason.Code, Count: 1,
	}
	if q.Capability != nil {
		d.Capability = q.Capability.String()
	}
	return d
}

// ShadowStatus is how a candidate does beside the policy that serves.
type ShadowStatus struct {
	RevisionStatus
	Compared uint64            `json:"compared"`
	Skipped  uint64            `json:"skipped"` // because too many waited
	Differ   map[string]uint64 `json:"differ"`  // decisions, by Difference.What
	Examples []Difference      `json:"examples"`
}

// shadow asks a candidate what the policy that serves was asked, and enforces
// nothing.
type shadow struct {
	decider
	*track
	queue chan record
	stop  context.CancelFunc
	done  sync.WaitGroup

	compared, skipped atomic.Uint64
	mu                sync.Mutex
	differ            map[string]uint64
	examples          []Difference
}

func openShadow(ctx context.Context, cfg Source, keep string, d Directory, deadline time.Duration, log *slog.Logger) (*shadow, error) {
	s := &shadow{queue: make(chan record, shadowQueue), differ: map[string]uint64{}}
	s.decider.init(d, deadline)
	var err error
	if s.track, err = openTrack(ctx, "policy.shadow", false, cfg, keep, log); err != nil {
		return nil, err
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() { s.track.run(ctx) })
	s.done.Go(func() { s.run(ctx) })
	return s, nil
}

func (s *shadow) close() {
	s.stop()
	s.done.Wait()
}

func (s *shadow) offer(r *record) {
	select {
	case s.queue <- *r:
	default:
		s.skipped.Add(1)
	}
}

func (s *shadow) run(ctx context.Context) {
	for number := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case r := <-s.queue:
			rev := s.current.Load()
			if rev.number != number { // what was counted is about another candidate
				number = rev.number
				s.reset()
			}
			s.judge(ctx, rev, &r)
		}
	}
}

func (s *shadow) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.differ, s.examples = map[string]uint64{}, nil
	s.compared.Store(0)
	s.skipped.Store(0)
}

func (s *shadow) judge(ctx context.Context, rev *published, r *record) {
	q := r.q()
	a, cached, err := s.decide(ctx, rev, q)
	if ctx.Err() != nil {
		return
	}
	s.compared.Add(1)
	after, before := a.decision, &r.answer.decision
	what := whatDiffers(before, &after)
	if what == "" {
		return
	}
	if a.matching.Revision != r.answer.matching.Revision && err == nil {
		// The directory may be what differs.
		if after, err = s.evaluate(ctx, rev, q, &r.answer.matching); err != nil {
			after = host.Decision{Reason: host.Reason{Code: policyError}}
		}
		if what = whatDiffers(before, &after); what == "" {
			return
		}
	}
	d := difference(q, what, before, &after)
	d.DecisionID, d.At = r.id, r.at
	s.note(d, !cached)
	if !cached { // one line for each question
		s.log.Warn("shadow policy decides differently", "what", what, "user", d.User, "action", d.Action, "capability", d.Capability,
			"decision", r.id, "serving", d.Old, "shadow", d.New, "shadowRevision", rev.number, "error", err)
	}
}

func (s *shadow) note(d Difference, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.differ[d.What]++
	for i := range s.examples {
		x := &s.examples[i]
		if x.User == d.User && x.Action == d.Action && x.Capability == d.Capability && x.What == d.What {
			x.Count++
			return
		}
	}
	if first && len(s.examples) < shadowExamples {
		s.examples = append(s.examples, d)
	}
}

func (s *shadow) status() *ShadowStatus {
	out := &ShadowStatus{RevisionStatus: s.track.status(), Compared: s.compared.Load(), Skipped: s.skipped.Load(), Differ: map[string]uint64{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range s.differ {
		out.Differ[k] = n
	}
	out.Examples = append([]Difference{}, s.examples...)
	return out
}
