package authz

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// shadowQueue is the number of questions that may wait for the candidate; further
	// ones are skipped.
	shadowQueue = 1024
	// shadowExamples is the number of differences kept for ShadowStatus.
	shadowExamples = 50
)

// Difference is a question that two policies decide differently.
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

// Compare returns how the decisions about q differ. It returns false if they do not differ for
// a caller.
func Compare(q *host.Question, before, after *host.Decision) (Difference, bool) {
	what := whatDiffers(before, after)
	return difference(q, what, before, after), what != ""
}

// whatDiffers names the difference, "" if the decisions do not differ for a caller.
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

// ShadowStatus counts the decisions of a candidate and their differences from the published
// policy's.
type ShadowStatus struct {
	RevisionStatus
	Compared uint64            `json:"compared"`
	Skipped  uint64            `json:"skipped"` // because the queue was full
	Differ   map[string]uint64 `json:"differ"`  // decisions, by Difference.What
	Examples []Difference      `json:"examples"`
}

// tally are the counts of one candidate.
type tally struct {
	revision          uint64 // of the candidate
	compared, skipped uint64
	differ            map[string]uint64
	examples          []Difference
}

// shadow asks a candidate the questions that the published policy was asked, and enforces
// nothing.
type shadow struct {
	decider
	*track
	queue chan *record
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu    sync.Mutex
	tally tally
}

func openShadow(ctx context.Context, cfg Source, keep string, d Directory, deadline time.Duration, log *slog.Logger) (*shadow, error) {
	s := &shadow{queue: make(chan *record, shadowQueue)}
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
	number := s.current.Load().number
	if number == 0 {
		return // no candidate has arrived yet
	}
	select {
	case s.queue <- r:
	default:
		s.count(number, func(t *tally) { t.skipped++ })
	}
}

func (s *shadow) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.queue:
			s.judge(ctx, s.current.Load(), r)
		}
	}
}

// count counts for a revision, from zero if it is a new one. A late result of an earlier
// revision is dropped.
func (s *shadow) count(revision uint64, add func(*tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tally.revision < revision {
		s.tally = tally{revision: revision, differ: map[string]uint64{}}
	}
	if s.tally.revision == revision {
		add(&s.tally)
	}
}

func (s *shadow) judge(ctx context.Context, rev *published, r *record) {
	q := &r.question
	a, cached, err := s.decide(ctx, rev, q)
	if ctx.Err() != nil {
		return
	}
	s.count(rev.number, func(t *tally) { t.compared++ })
	after, before := a.decision, &r.answer.decision
	what := whatDiffers(before, &after)
	if what == "" {
		return
	}
	if a.matching.Revision != r.answer.matching.Revision && err == nil {
		// The difference may be due to a change of the directory.
		if after, err = s.evaluate(ctx, rev, q, &r.answer.matching); err != nil {
			after = host.Decision{Reason: host.Reason{Code: PolicyError}}
		}
		if what = whatDiffers(before, &after); what == "" {
			return
		}
	}
	d := difference(q, what, before, &after)
	d.DecisionID, d.At = r.id, r.at
	s.count(rev.number, func(t *tally) { t.note(d, !cached) })
	if !cached { // one line for each question
		s.log.Warn("shadow policy decides differently", "what", what, "user", d.User, "action", d.Action, "capability", d.Capability,
			"decision", r.id, "serving", d.Old, "shadow", d.New, "shadowRevision", rev.number, "error", err)
	}
}

func (t *tally) note(d Difference, first bool) {
	t.differ[d.What]++
	for i := range t.examples {
		x := &t.examples[i]
		if x.User == d.User && x.Action == d.Action && x.Capability == d.Capability && x.What == d.What {
			x.Count++
			return
		}
	}
	if first && len(t.examples) < shadowExamples {
		t.examples = append(t.examples, d)
	}
}

func (s *shadow) status() *ShadowStatus {
	out := &ShadowStatus{RevisionStatus: s.track.status(), Differ: map[string]uint64{}, Examples: []Difference{}}
	s.count(out.Revision, func(t *tally) {
		out.Compared, out.Skipped = t.compared, t.skipped
		maps.Copy(out.Differ, t.differ)
		out.Examples = append(out.Examples, t.examples...)
	})
	return out
}
