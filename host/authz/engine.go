package authz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// defaultDeadline bounds one evaluation in wall-clock time. An evaluation takes some 0.1 ms
// of processor time; the rest allows for a busy machine, since a missed deadline is a
// refusal.
const defaultDeadline = time.Second

// Reason codes of denials that the policy did not decide.
const (
	// PolicyError: the policy could not decide.
	PolicyError = "policy_error"
	// LogFull: an effect was refused because it could not be recorded.
	LogFull = "decision_log_full"
)

// Directory is the part of host/directory that the engine uses. It is safe for concurrent
// use.
type Directory interface {
	Match(*host.Question) host.Matching
	// Consider also returns the permissions that Match skips.
	Consider(*host.Question) []host.Considered
	// Listing returns what the directory knows of a user.
	Listing(*host.Principal) host.Listing
	// Revision returns the number of the directory's present revision.
	Revision() uint64
	// AppendVersion appends a value that changes whenever an answer of Match for the
	// user may change.
	AppendVersion([]byte, *host.Principal) []byte
	// Facts returns the whole directory as JSON values, and its revision.
	Facts() (map[string]any, uint64)
}

// Source is the source of an operator's policy: a directory or an OPA bundle.
type (
	Source = source.Config
	Bundle = source.Bundle
	Key    = source.Key
)

// Config defines the policy and the directory of an engine.
type Config struct {
	// Source is the source of the operator's policy; empty for the shipped one alone. A
	// package bulkhead.authz in it replaces the shipped one.
	Source Source
	// Keep is a directory for the last good copy of a remote bundle. If it is empty, no
	// copy is kept, and the source must answer at a start.
	Keep      string
	Directory Directory
	// Shadow is a candidate that gets the same questions as the policy. Differences are
	// logged and counted; its decisions are not enforced. Nil: none.
	Shadow *Source
	Log    audit.Config // where decisions are logged, in OPA's format
	// Labels name this host in the decision log.
	Labels map[string]string
	// Deadline bounds one evaluation in wall-clock time; 0 means 1 s. An evaluation that
	// takes longer is stopped and denied, also if the machine is slow.
	Deadline time.Duration
	// Changed, if set, is told each revision that follows the first one, and each that is
	// refused. It must not block.
	Changed func(Change)
	Logger  *slog.Logger
}

// Engine decides with the published revision of the policy. It is safe for concurrent use.
type Engine struct {
	decider
	*track
	ids       *ids
	decisions *audit.Log // nil: decisions are not logged
	recorded  termsCache // for the decision log, which may lag behind
	shadow    *shadow    // nil: no shadow is configured
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// Open builds the first revision and follows its source until ctx is done or Close is
// called. A missing source and an invalid policy are errors of kind host.Invalid. If the
// source only does not answer, the engine denies everything until it does, unless Keep has
// a copy.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	const op = "policy.open"
	if cfg.Directory == nil {
		return nil, host.E(host.Internal, op, "the directory is missing")
	}
	if err := config.Check("policy", cfg.Check); err != nil {
		return nil, host.E(host.Invalid, op, "%w", err)
	}
	log := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	e := &Engine{ids: newIDs()}
	deadline := cmp.Or(cfg.Deadline, defaultDeadline)
	e.decider.init(cfg.Directory, deadline)
	var err error
	if e.track, err = openTrack(ctx, "policy", true, cfg.Source, cfg.Keep, log); err != nil {
		return nil, err
	}
	e.track.told = cfg.Changed
	ctx, e.stop = context.WithCancel(ctx)
	e.done.Go(func() { e.track.run(ctx) })
	if err := e.openBeside(ctx, &cfg, deadline, log); err != nil {
		return nil, host.E(host.Invalid, op, "%w", errors.Join(err, e.Close()))
	}
	return e, nil
}

// Check adds every mistake in what the operator wrote that can be seen without opening
// anything to bad.
func (c *Config) Check(bad *config.Problems) {
	c.Source.Check(bad)
	c.Log.Check(bad.At("log"))
	if c.Shadow != nil {
		c.Shadow.Check(bad.At("shadow"))
	}
}

// openBeside opens the decision log and the shadow.
func (e *Engine) openBeside(ctx context.Context, cfg *Config, deadline time.Duration, log *slog.Logger) (err error) {
	if cfg.Log.Enabled() {
		labels := maps.Clone(cfg.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels["id"] = e.ids.prefix
		if e.decisions, err = audit.Open(&cfg.Log, decisionStream, labels, log); err != nil {
			return fmt.Errorf("policy.log: %w", err)
		}
	}
	if cfg.Shadow != nil {
		if e.shadow, err = openShadow(ctx, *cfg.Shadow, cfg.Keep, cfg.Directory, deadline, log); err != nil {
			return err
		}
	}
	return nil
}

// Close stops following changes and writes the waiting records of the decision log, for at
// most a few seconds. Decide continues with the last revision, without logging.
func (e *Engine) Close() error {
	e.stop()
	if e.shadow != nil {
		e.shadow.close()
	}
	e.done.Wait()
	if e.decisions != nil {
		return e.decisions.Close()
	}
	return nil
}

// Ready returns nil while the newest policy is published and decides. Otherwise it returns
// the reason, with file and line if known: the policy is invalid, its source does not
// answer, or it fails for every question.
func (e *Engine) Ready() error { return e.track.ready() }

// Deciding returns nil while the published policy can decide. Otherwise it returns why
// everything is denied: no policy has arrived yet, or the policy fails for every question,
// for example because its decision is a number.
func (e *Engine) Deciding() error { return e.track.deciding() }

// LogProblem returns why decisions cannot be written to one of their destinations, nil if
// they can be written or are not logged.
func (e *Engine) LogProblem() error {
	if e.decisions == nil {
		return nil
	}
	for name, d := range e.decisions.Status().Destinations {
		if d.Problem != "" {
			return fmt.Errorf("%s: %s", name, d.Problem)
		}
	}
	return nil
}

// Revision returns the number of the published policy, from 1. It is 0 until the first has
// arrived.
func (e *Engine) Revision() uint64 { return e.current.Load().number }

// Changed returns a channel that is closed when another revision is published. To miss no
// change, call it before deciding.
func (e *Engine) Changed() <-chan struct{} { return e.current.Load().superseded }

// Decide answers q. It does not return an error: a question that cannot be decided is
// denied with the reason code "policy_error". The decision's reason and obligations are
// shared with the cache and must not be modified. A decision that is not cached takes
// little longer than the deadline at most.
func (e *Engine) Decide(ctx context.Context, q *host.Question) host.Decision {
	return e.decideAndTell(ctx, q, false)
}

// Redecide answers q again for a session that an earlier answer allowed. It is Decide,
// except that a full decision log does not deny, since no new effect would be unrecorded.
func (e *Engine) Redecide(ctx context.Context, q *host.Question) host.Decision {
	return e.decideAndTell(ctx, q, true)
}

func (e *Engine) decideAndTell(ctx context.Context, q *host.Question, running bool) host.Decision {
	start := time.Now()
	if !q.Principal.Known() {
		return host.Decision{Reason: host.Reason{Code: "nobody"}, ID: e.ids.next(), Revision: e.Revision()}
	}
	rev := e.current.Load()
	a, cached := e.answer(ctx, rev, q)
	d := a.decision
	d.ID, d.Cached, d.Duration = e.ids.next(), cached, time.Since(start)
	if e.decisions != nil || e.shadow != nil {
		ids := host.RequestOf(ctx)
		e.tell(&d, &record{answer: a, rev: rev, id: d.ID, cached: cached, at: start, took: d.Duration, running: running, terms: &e.recorded,
			request: ids.RequestID(), trace: ids.TraceID()}, q)
	}
	return d
}

// Would answers q as Decide does, for information only: the answer must not allow anything.
// It has no ID, and is neither logged nor compared with the shadow's.
func (e *Engine) Would(ctx context.Context, q *host.Question) host.Decision {
	if !q.Principal.Known() {
		return host.Decision{Reason: host.Reason{Code: "nobody"}, Revision: e.Revision()}
	}
	a, _ := e.answer(ctx, e.current.Load(), q)
	return a.decision
}

func (e *Engine) answer(ctx context.Context, rev *published, q *host.Question) (a *answer, cached bool) {
	a, cached, err := e.decide(ctx, rev, q)
	if ctx.Err() == nil { // otherwise the failure is not the policy's
		rev.health.note(err)
	}
	if err != nil {
		e.log.Error("policy failed to decide", "revision", rev.number, "user", q.Principal.User,
			"action", q.Route.Action, "error", err)
	}
	return a, cached
}

// tell passes a decision to the shadow and the decision log, without waiting.
func (e *Engine) tell(d *host.Decision, r *record, q *host.Question) {
	r.set(q)
	if e.shadow != nil {
		e.shadow.offer(r)
	}
	if e.decisions != nil && !e.decisions.Offer(r) {
		d.Allow, d.Reason, d.Obligations = false, host.Reason{Code: LogFull}, host.Obligations{}
	}
}

// answer is a decision and the matching that it is based on.
type answer struct {
	decision host.Decision // without its ID and other fields that differ each time
	matching host.Matching
	err      error // why the policy could not decide
}

// decider decides with a revision, with a cache in front.
type decider struct {
	directory Directory
	deadline  time.Duration
	cache     cache
	terms     termsCache
}

func (e *decider) init(d Directory, deadline time.Duration) {
	e.directory, e.deadline = d, deadline
	e.cache.init()
}

// decide answers q; with an error the answer is a denial. The answer is shared and must not
// be modified.
func (e *decider) decide(ctx context.Context, rev *published, q *host.Question) (a *answer, cached bool, err error) {
	buf := keyBuffers.Get().(*[]byte)
	defer keyBuffers.Put(buf)
	directory := e.directory.Revision()
	key, keyed := appendKey((*buf)[:0], rev, e.directory, q)
	*buf = key
	if keyed {
		if hit, ok := e.cache.get(key); ok {
			return hit, true, nil
		}
	}
	a = &answer{matching: e.directory.Match(q)}
	a.decision, err = e.evaluate(ctx, rev, q, &a.matching)
	a.decision.Revision = rev.number
	if err != nil {
		a.decision, a.err = host.Decision{Reason: host.Reason{Code: PolicyError}, Revision: rev.number}, err
	} else if keyed && a.matching.Revision == directory {
		// Otherwise the directory has changed since the key was made.
		e.cache.put(string(key), a)
	}
	return a, false, err
}

// evaluate runs the policy once.
func (e *decider) evaluate(ctx context.Context, rev *published, q *host.Question, m *host.Matching, o ...rego.EvalOption) (d host.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			d, err = host.Decision{}, fmt.Errorf("panic: %v", p)
		}
	}()
	eval, err := rev.evaluator(ctx, e.directory, q, m)
	if err != nil {
		return host.Decision{}, err
	}
	input, err := newInput(q, m, e.terms.of(m.Revision), rev.reads)
	if err != nil {
		return host.Decision{}, err
	}
	document, err := eval(ctx, input, e.deadline, o...)
	if err != nil {
		return host.Decision{}, err
	}
	return ParseDecision(document)
}
