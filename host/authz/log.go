package authz

import (
	"context"
	"encoding/json"
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

// LogStatus counts what became of decisions that were to be logged.
type LogStatus struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"` // because the queue was full
	Denied  uint64 `json:"denied"`  // effects that were refused for that
	Waiting int    `json:"waiting"`
	Problem string `json:"problem,omitempty"` // why nothing can be written now
}

// decisionLog writes records from a queue.
type decisionLog struct {
	queue   chan record
	denies  bool
	labels  map[string]any
	mask    decisionlog.Mask
	sinks   []decisionlog.Sink
	log     *slog.Logger
	terms   *terms
	ending  context.CancelFunc // ends reading the queue once it is empty
	cut     context.CancelFunc // ends writing
	done    sync.WaitGroup
	problem atomic.Pointer[string]

	written, dropped, denied atomic.Uint64
}

func openLog(cfg *Log, labels map[string]any, log *slog.Logger) (*decisionLog, error) {
	sinks, err := cfg.Open()
	if err != nil {
		return nil, err
	}
	l := &decisionLog{
		queue: make(chan record, cfg.QueueSize()), denies: cfg.Denies(), labels: labels,
		mask: cfg.Pointers(), sinks: sinks, log: log, terms: &terms{},
	}
	for k, v := range cfg.Labels {
		l.labels[k] = v
	}
	var ending, cut context.Context
	ending, l.ending = context.WithCancel(context.Background())
	cut, l.cut = context.WithCancel(context.Background())
	l.done.Go(func() { l.run(ending, cut) })
	return l, nil
}

// offer queues r. It returns false if there is no room.
func (l *decisionLog) offer(r *record) bool {
	select {
	case l.queue <- *r:
		return true
	default:
		l.dropped.Add(1)
		return false
	}
}

// close writes what waits, as far as the time for that allows.
func (l *decisionLog) close() error {
	l.ending()
	defer time.AfterFunc(drainPeriod, l.cut).Stop()
	l.done.Wait()
	l.cut()
	var errs []error
	for _, s := range l.sinks {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (l *decisionLog) run(ending, cut context.Context) {
	batch := make([][]byte, 0, batchSize)
	for {
		batch = l.more(batch[:0])
		if len(batch) > 0 {
			l.write(cut, batch)
			continue
		}
		select {
		case r := <-l.queue:
			l.write(cut, l.more(append(batch, l.encode(&r))))
		case <-ending.Done():
			if len(l.queue) == 0 {
				return
			}
		}
	}
}

// more adds what waits already.
func (l *decisionLog) more(batch [][]byte) [][]byte {
	for len(batch) < batchSize {
		select {
		case r := <-l.queue:
			batch = append(batch, l.encode(&r))
		default:
			return batch
		}
	}
	return batch
}

// write brings batch to every sink, however often that takes, until ctx is done.
func (l *decisionLog) write(ctx context.Context, batch [][]byte) {
	for _, s := range l.sinks {
		wait := firstRetry
		for {
			err := s.Write(ctx, batch)
			if err == nil {
				if l.problem.Swap(nil) != nil {
					l.log.Info("decision log can be written again")
				}
				break
			}
			text := err.Error()
			if old := l.problem.Swap(&text); old == nil || *old != text {
				l.log.Error("decision log cannot be written", "error", err)
			}
			select {
			case <-ctx.Done():
				l.dropped.Add(uint64(len(batch)))
				return
			case <-time.After(wait):
				wait = min(2*wait, lastRetry)
			}
		}
	}
	l.written.Add(uint64(len(batch)))
}

func (l *decisionLog) status() LogStatus {
	s := LogStatus{Written: l.written.Load(), Dropped: l.dropped.Load(), Denied: l.denied.Load(), Waiting: len(l.queue)}
	if p := l.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// decisionPath is decisionRef as OPA's logs write it.
const decisionPath = "bulkhead/authz/decision"

func (l *decisionLog) encode(r *record) []byte {
	text, err := json.Marshal(l.document(r))
	if err != nil { // nothing in it can fail; say so rather than lose the record
		text, _ = json.Marshal(map[string]any{"decision_id": r.id, "path": decisionPath, "error": eventError("encoding", err)})
	}
	return text
}

// document is one record in OPA's format (version 1), as JSON values and without
// what the mask erases.
func (l *decisionLog) document(r *record) map[string]any {
	a := r.answer
	doc := map[string]any{
		"labels": maps.Clone(l.labels), "decision_id": r.id, "path": decisionPath,
		"timestamp": r.at.UTC().Format(time.RFC3339Nano),
		"bundles":   map[string]any{"bulkhead": map[string]any{"revision": revisionName(r.rev)}},
		"metrics":   map[string]any{"timer_server_handler_ns": r.took.Nanoseconds()},
		"custom":    customOf(r),
		"result":    documentOf(&a.decision),
	}
	if l.terms.revision != a.matching.Revision {
		l.terms = &terms{revision: a.matching.Revision}
	}
	input, err := inputJSON(r.q(), &a.matching, l.terms)
	if err == nil {
		doc["input"] = input
	} else {
		doc["error"] = eventError("input", err)
	}
	if a.err != nil {
		doc["error"] = eventError(policyError, a.err)
	}
	if erased := l.mask.Erase(doc); len(erased) > 0 {
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
