package authz

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/decisionlog"
)

// Log says where decisions are logged, in OPA's format.
type Log = decisionlog.Config

const (
	batchSize   = 256
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 10 * time.Second
	drainPeriod = 5 * time.Second
)

// record is a decision on its way to the log. It keeps what the question was,
// because callers may change theirs.
type record struct {
	question host.Question
	call     host.CapabilityCall
	asked    bool // call is part of the question
	answer   *answer
	rev      *published
	id       string
	cached   bool
	at       time.Time
	took     time.Duration
	running  bool // what was asked about had begun before
}

func (r *record) set(q *host.Question) {
	r.question = *q
	if q.Capability != nil {
		r.call, r.asked = *q.Capability, true
	}
}

// q is the question. It points into r.
func (r *record) q() *host.Question {
	if r.asked {
		r.question.Capability = &r.call
	}
	return &r.question
}

// LogStatus says what became of decisions that were to be logged.
type LogStatus struct {
	Denied       uint64                       `json:"denied"`       // effects that were refused because a queue was full
	Destinations map[string]DestinationStatus `json:"destinations"` // by their names in the configuration
}

// DestinationStatus counts decisions on their way to one destination.
type DestinationStatus struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"`           // because its queue was full, it refused them or a stop came first
	Waiting int    `json:"waiting"`           // those being written included
	Problem string `json:"problem,omitempty"` // why the latest were not written
}

// decisionLog brings records to every destination. None waits for another.
type decisionLog struct {
	destinations []*destination
	denies       bool
	denied       atomic.Uint64
	ending       context.CancelFunc // ends reading the queues once they are empty
	cut          context.CancelFunc // ends writing
	done         sync.WaitGroup
}

func openLog(cfg *Log, labels map[string]string, log *slog.Logger) (*decisionLog, error) {
	sinks, err := cfg.Open()
	if err != nil {
		return nil, err
	}
	maps.Copy(labels, cfg.Labels)
	return startLog(cfg, sinks, labels, log), nil
}

func startLog(cfg *Log, sinks map[string]decisionlog.Sink, labels map[string]string, log *slog.Logger) *decisionLog {
	l := &decisionLog{denies: cfg.Denies()}
	var ending, cut context.Context
	ending, l.ending = context.WithCancel(context.Background())
	cut, l.cut = context.WithCancel(context.Background())
	for name, sink := range sinks {
		d := &destination{
			name: name, sink: sink, queue: make(chan record, cfg.QueueSize()), labels: labels, mask: cfg.Pointers(),
			log: log.With("destination", name), terms: &terms{},
		}
		l.destinations = append(l.destinations, d)
		l.done.Go(func() { d.run(ending, cut) })
	}
	return l
}

// offer queues r for every destination that has room. It returns false if r
// allows an effect that is refused because one has none; the others then have
// the refusal.
func (l *decisionLog) offer(r *record) bool {
	room, full, stands := [decisionlog.Destinations]bool{}, false, true
	for i, d := range l.destinations {
		room[i] = d.reserve()
		full = full || !room[i]
	}
	if full && l.denies && r.answer.decision.Allow && r.question.Route.Mutates && !r.running {
		l.denied.Add(1)
		r.answer, stands = &answer{decision: host.Decision{Reason: host.Reason{Code: logFull}}, matching: r.answer.matching}, false
	}
	for i, d := range l.destinations {
		if room[i] {
			d.queue <- *r
		}
	}
	return stands
}

// close writes what waits, as far as the time for that allows.
func (l *decisionLog) close() error {
	l.ending()
	defer time.AfterFunc(drainPeriod, l.cut).Stop()
	l.done.Wait()
	l.cut()
	var errs []error
	for _, d := range l.destinations {
		errs = append(errs, d.sink.Close())
	}
	return errors.Join(errs...)
}

func (l *decisionLog) status() *LogStatus {
	s := &LogStatus{Denied: l.denied.Load(), Destinations: map[string]DestinationStatus{}}
	for _, d := range l.destinations {
		s.Destinations[d.name] = d.status()
	}
	return s
}

// destination writes records from a queue of its own.
type destination struct {
	name   string
	sink   decisionlog.Sink
	queue  chan record
	labels map[string]string
	mask   decisionlog.Mask
	log    *slog.Logger
	terms  *terms

	waiting          atomic.Int64 // room taken, never more than the queue has
	written, dropped atomic.Uint64
	problem          atomic.Pointer[string]
}

// reserve takes room for one record, which then has to be queued. It returns
// false if there is none.
func (d *destination) reserve() bool {
	if d.waiting.Add(1) <= int64(cap(d.queue)) {
		return true
	}
	d.waiting.Add(-1)
	d.dropped.Add(1)
	return false
}

func (d *destination) run(ending, cut context.Context) {
	batch := make([]map[string]any, 0, batchSize)
	for {
		select {
		case r := <-d.queue:
			batch = d.more(append(batch[:0], d.document(&r)))
			d.write(ending, cut, batch)
			d.waiting.Add(-int64(len(batch)))
			clear(batch)
		case <-ending.Done():
			if len(d.queue) == 0 {
				return
			}
		}
	}
}

// more adds what waits already.
func (d *destination) more(batch []map[string]any) []map[string]any {
	for len(batch) < batchSize {
		select {
		case r := <-d.queue:
			batch = append(batch, d.document(&r))
		default:
			return batch
		}
	}
	return batch
}

// write brings batch to the sink, however often that takes, until cut is done.
// What is refused as a whole comes again in halves, so that one bad record does
// not take the others along.
func (d *destination) write(ending, cut context.Context, batch []map[string]any) {
	stop := ending.Done()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := d.sink.Write(cut, batch)
		if err == nil {
			d.note(nil)
			d.written.Add(uint64(len(batch)))
			return
		}
		refused := (*decisionlog.Refused)(nil)
		half := len(batch) / 2
		if errors.As(err, &refused) && refused.Whole && half > 0 {
			d.write(ending, cut, batch[:half])
			d.write(ending, cut, batch[half:])
			return
		}
		d.note(err)
		if refused != nil {
			d.dropped.Add(uint64(refused.Records))
			d.written.Add(uint64(len(batch) - refused.Records))
			return
		}
		if later := (*decisionlog.Later)(nil); errors.As(err, &later) {
			wait = max(wait, later.After)
		}
		select {
		case <-cut.Done():
			d.dropped.Add(uint64(len(batch)))
			return
		case <-stop: // once more at once, since there may be no later
			stop, wait = nil, firstRetry
		case <-time.After(wait):
		}
	}
}

// note keeps what the latest attempt met, and logs when that changes.
func (d *destination) note(err error) {
	if err == nil {
		if d.problem.Swap(nil) != nil {
			d.log.Info("decision log can be written again")
		}
		return
	}
	text := err.Error()
	if old := d.problem.Swap(&text); old == nil || *old != text {
		d.log.Error("decision log cannot be written", "error", err)
	}
}

func (d *destination) status() DestinationStatus {
	s := DestinationStatus{Written: d.written.Load(), Dropped: d.dropped.Load(), Waiting: int(d.waiting.Load())}
	if p := d.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// decisionPath is decisionRef as OPA's logs write it.
const decisionPath = "bulkhead/authz/decision"

// document is one record in OPA's format (version 1), as JSON values and without
// what the mask erases.
func (d *destination) document(r *record) map[string]any {
	a, labels := r.answer, map[string]any{}
	for k, v := range d.labels {
		labels[k] = v
	}
	doc := map[string]any{
		"labels": labels, "decision_id": r.id, "path": decisionPath,
		"timestamp": r.at.UTC().Format(time.RFC3339Nano),
		"bundles":   map[string]any{"bulkhead": map[string]any{"revision": revisionName(r.rev)}},
		"metrics":   map[string]any{"timer_server_handler_ns": r.took.Nanoseconds()},
		"custom":    customOf(r),
		"result":    documentOf(&a.decision),
	}
	if d.terms.revision != a.matching.Revision {
		d.terms = &terms{revision: a.matching.Revision}
	}
	input, err := inputJSON(r.q(), &a.matching, d.terms)
	if err == nil {
		doc["input"] = input
	} else {
		doc["error"] = eventError("input", err)
	}
	if a.err != nil {
		doc["error"] = eventError(policyError, a.err)
	}
	if erased := d.mask.Erase(doc); len(erased) > 0 {
		doc["erased"] = texts(erased)
	}
	return doc
}

func eventError(code string, err error) map[string]any {
	return map[string]any{"code": code, "message": err.Error()}
}

// customOf is what OPA has no place for. What the identity provider said of the
// person is there for replaying: with another directory it counts differently.
func customOf(r *record) map[string]any {
	q := r.q()
	custom := map[string]any{
		"cached":    r.cached,
		"policy":    r.rev.content.Digest,       // of the operator's files
		"directory": r.answer.matching.Revision, // by which the permissions were matched
	}
	if q.Route.Digest != "" || q.Route.Generation != 0 {
		custom["plugin"] = map[string]any{"digest": q.Route.Digest, "generation": q.Route.Generation}
	}
	if by := &q.Principal.Asserted; !by.Empty() {
		asserted := map[string]any{}
		for key, l := range map[string][]string{"roles": by.Roles, "teams": by.Teams} {
			if len(l) > 0 {
				asserted[key] = texts(l)
			}
		}
		custom["asserted"] = asserted
	}
	if q.Principal.Unlisted {
		custom["unlisted"] = true
	}
	return custom
}

// revisionName is the bundle's own name of its revision, or the content's digest.
func revisionName(r *published) string {
	if r.content.Revision != "" {
		return r.content.Revision
	}
	return r.content.Digest
}

// inputJSON is the whole input, parts that the policy does not read included.
func inputJSON(q *host.Question, m *host.Matching, t *terms) (map[string]any, error) {
	v, err := newInput(q, m, t, everything)
	if err != nil {
		return nil, err
	}
	x, err := ast.JSON(v)
	if err != nil {
		return nil, err
	}
	object, _ := x.(map[string]any)
	return object, nil
}

// documentOf is d as the document that a policy produces.
func documentOf(d *host.Decision) map[string]any {
	reason := map[string]any{"code": d.Reason.Code}
	if len(d.Reason.Args) > 0 {
		reason["args"] = copyJSON(d.Reason.Args)
	}
	out := map[string]any{"allow": d.Allow, "reason": reason}
	if o := obligationsOf(&d.Obligations); len(o) > 0 {
		out["obligations"] = o
	}
	return out
}

// copyJSON copies what a mask may change.
func copyJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = copyJSON(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = copyJSON(x)
		}
		return out
	}
	return v
}

func obligationsOf(o *host.Obligations) map[string]any {
	out := map[string]any{}
	if o.Impersonate != nil {
		out["impersonate"] = map[string]any{"user": o.Impersonate.User, "groups": texts(o.Impersonate.Groups)}
	}
	if o.MaxSession > 0 {
		out["max_session"] = o.MaxSession.String()
	}
	if o.Idle > 0 {
		out["idle"] = o.Idle.String()
	}
	for key, l := range map[string][]string{"namespaces": o.Namespaces, "resource_groups": o.ResourceGroups, "redact": o.Redact} {
		if l != nil {
			out[key] = texts(l)
		}
	}
	if o.Record != "" {
		out["record"] = string(o.Record)
	}
	return out
}

func texts(l []string) []any {
	out := make([]any, len(l))
	for i, s := range l {
		out[i] = s
	}
	return out
}
