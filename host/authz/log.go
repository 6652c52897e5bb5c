package authz

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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
	labels  map[string]string
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

func openLog(cfg *Log, labels map[string]string, log *slog.Logger) (*decisionLog, error) {
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

// event is one record in OPA's format (version 1).
type event struct {
	Labels     map[string]string     `json:"labels"`
	DecisionID string                `json:"decision_id"`
	Bundles    map[string]bundleInfo `json:"bundles"`
	Path       string                `json:"path"`
	Input      any                   `json:"input,omitempty"`
	Result     any                   `json:"result,omitempty"`
	Erased     []string              `json:"erased,omitempty"`
	Error      *eventError           `json:"error,omitempty"`
	Timestamp  time.Time             `json:"timestamp"`
	Metrics    map[string]any        `json:"metrics"`
	Custom     custom                `json:"custom"`
}

type bundleInfo struct {
	Revision string `json:"revision"`
}

type eventError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// custom is what OPA has no place for.
type custom struct {
	Cached    bool          `json:"cached"`
	Policy    string        `json:"policy"`    // digest of the operator's files
	Directory uint64        `json:"directory"` // revision by which the permissions were matched
	Plugin    pluginVersion `json:"plugin,omitzero"`
}

type pluginVersion struct {
	Digest     string `json:"digest,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
}

// decisionPath is decisionRef as OPA's logs write it.
const decisionPath = "bulkhead/authz/decision"

func (l *decisionLog) encode(r *record) []byte {
	q, a := r.q(), r.answer
	e := event{
		Labels: l.labels, DecisionID: r.id, Path: decisionPath, Timestamp: r.at.UTC(),
		Bundles: map[string]bundleInfo{"bulkhead": {revisionName(r.rev)}},
		Metrics: map[string]any{"timer_server_handler_ns": r.took.Nanoseconds()},
		Custom: custom{
			Cached: r.cached, Policy: r.rev.content.Digest, Directory: a.matching.Revision,
			Plugin: pluginVersion{q.Route.Digest, q.Route.Generation},
		},
	}
	if l.terms.revision != a.matching.Revision {
		l.terms = &terms{revision: a.matching.Revision}
	}
	input, err := inputJSON(q, &a.matching, l.terms)
	if err == nil {
		e.Input = input
	} else {
		e.Error = &eventError{"input", err.Error()}
	}
	if a.err != nil {
		e.Error = &eventError{policyError, a.err.Error()}
	}
	result := documentOf(&a.decision)
	e.Result = result
	e.Erased = l.mask.Erase(map[string]any{"input": input, "result": result})
	text, err := json.Marshal(&e)
	if err != nil { // nothing in it can fail; say so rather than lose the record
		text, _ = json.Marshal(&event{Labels: l.labels, DecisionID: r.id, Path: decisionPath, Timestamp: r.at.UTC(),
			Error: &eventError{"encoding", err.Error()}})
	}
	return text
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
