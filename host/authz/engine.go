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
)

// defaultDeadline bounds one evaluation in wall-clock time. An evaluation takes
// some 0.1 ms of CPU; the rest is for a machine that is busy, since a deadline
// missed is a refusal.
const defaultDeadline = time.Second

// Reason codes of denials that the policy did not decide.
const (
	// PolicyError: the policy could not decide.
	PolicyError = "policy_error"
	// LogFull: an effect was refused because it could not be recorded.
	LogFull = "decision_log_full"
)

// Directory is what the engine asks of host/directory. It is safe for
// concurrent use.
type Directory interface {
	Match(*host.Question) host.Matching
	// Consider tells what Match passes over, too.
	Consider(*host.Question) []host.Considered
	// Listing tells how the directory knows a person.
	Listing(*host.Principal) host.Listing
	// Revision counts the directory's states.
	Revision() uint64
	// AppendVersion appends what changes with everything that Match may answer
	// about a person.
	AppendVersion([]byte, *host.Principal) []byte
	// Facts is everything, as JSON values, and of which revision.
	Facts() (map[string]any, uint64)
}

// Source names where an operator's policy is: a directory or an OPA bundle.
type (
	Source = source.Config
	Bundle = source.Bundle
	Key    = source.Key
)

// Config says which policy decides over which directory.
type Config struct {
	// Source holds the operator's own policy; empty for the shipped one alone. A
	// package bulkhead.authz in it replaces the shipped one.
	Source Source
	// Keep is a directory for the last good copy of a bundle from elsewhere;
	// empty: none is kept, and a start needs the place to answer.
	Keep      string
	Directory Directory
	// Shadow is a candidate that is asked what the policy is asked, beside it; the
	// differences are logged and counted, and nothing is enforced. Nil: none.
	Shadow *Source
	Log    audit.Config // where decisions are logged, in OPA's format
	// Labels name this host in the decision log.
	Labels map[string]string
	// Deadline bounds one evaluation in wall-clock time; 0 means 1 s. One that
	// takes longer is cut and denied, also if it is the machine that is slow.
	Deadline time.Duration
	Logger   *slog.Logger
}

// Engine decides by the current revision of the policy. It is safe for
// concurrent use.
type Engine struct {
	decider
	*track
	ids       *ids
	decisions *audit.Log // nil: there is none
	recorded  termsCache // for the decision log, which may lag behind
	shadow    *shadow    // nil: there is none
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// Open builds the first revision and follows its source until ctx is done or
// Close is called. A source that is missing and a policy that cannot be used
// are errors of kind host.Invalid: nothing serves in their place. If only the
// source does not answer, everything is denied until it does, unless Keep has a
// copy.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	const op = "policy.open"
	if cfg.Directory == nil {
		return nil, host.E(host.Internal, op, "there is no directory to match with")
	}
	if err := cfg.Check(); err != nil {
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
	ctx, e.stop = context.WithCancel(ctx)
	e.done.Go(func() { e.track.run(ctx) })
	if err := e.openBeside(ctx, &cfg, deadline, log); err != nil {
		return nil, host.E(host.Invalid, op, "%w", errors.Join(err, e.Close()))
	}
	return e, nil
}

// Check reports every mistake in what the operator wrote that can be seen
// without opening anything.
func (c *Config) Check() error {
	err := errors.Join(c.Source.Check("policy"), c.Log.Check("policy.log"))
	if c.Shadow != nil {
		err = errors.Join(err, c.Shadow.Check("policy.shadow"))
	}
	return err
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

// Close ends following changes, writes what waits for the decision log and
// waits for that, a few seconds at most. Decide goes on by the last revision,
// unlogged.
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

// Ready returns nil while the newest policy is the one that serves and decides,
// otherwise why not, with file and line where there is one: it cannot be used, its
// source does not answer, or it fails whenever it is asked.
func (e *Engine) Ready() error { return e.track.ready() }

// Deciding returns nil while the policy that serves can decide something, otherwise
// why everything is denied: none has arrived yet, or whatever it is asked it fails,
// as one whose decision is a number does.
func (e *Engine) Deciding() error { return e.track.deciding() }

// LogProblem says why decisions cannot be written to one of their destinations
// now; nil if they can or are not logged.
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

// Revision numbers the policy that decides, from 1. It is 0 as long as none has
// arrived.
func (e *Engine) Revision() uint64 { return e.current.Load().number }

// Changed returns a channel that is closed when another revision begins to
// decide. To miss nothing, call it before deciding.
func (e *Engine) Changed() <-chan struct{} { return e.current.Load().superseded }

// Decide answers q. It never fails: what cannot be decided is denied, with the
// reason code "policy_error". The decision's reason and obligations are shared
// with the cache and read-only. A decision that is not cached takes at most
// a little longer than the deadline.
func (e *Engine) Decide(ctx context.Context, q *host.Question) host.Decision {
	return e.decideAndTell(ctx, q, false)
}

// Redecide answers q again for what runs by an earlier answer. It is Decide, except
// that a full decision log does not deny: nothing new happens that would go
// unrecorded.
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
		e.tell(&d, &record{answer: a, rev: rev, id: d.ID, cached: cached, at: start, took: d.Duration, running: running, terms: &e.recorded}, q)
	}
	return d
}

// Would answers q as Decide does, to somebody who only asks: nothing may be done
// by it, it has no ID, and it is neither logged nor compared with a shadow's.
func (e *Engine) Would(ctx context.Context, q *host.Question) host.Decision {
	if !q.Principal.Known() {
		return host.Decision{Reason: host.Reason{Code: "nobody"}, Revision: e.Revision()}
	}
	a, _ := e.answer(ctx, e.current.Load(), q)
	return a.decision
}

func (e *Engine) answer(ctx context.Context, rev *published, q *host.Question) (a *answer, cached bool) {
	a, cached, err := e.decide(ctx, rev, q)
	if ctx.Err() == nil { // otherwise it says nothing of the policy
		rev.health.note(err)
	}
	if err != nil {
		e.log.Error("policy failed to decide", "revision", rev.number, "user", q.Principal.User,
			"action", q.Route.Action, "error", err)
	}
	return a, cached
}

// tell offers a decision to the shadow and the decision log, and waits for
// neither.
func (e *Engine) tell(d *host.Decision, r *record, q *host.Question) {
	r.set(q)
	if e.shadow != nil {
		e.shadow.offer(r)
	}
	if e.decisions != nil && !e.decisions.Offer(r) {
		d.Allow, d.Reason, d.Obligations = false, host.Reason{Code: LogFull}, host.Obligations{}
	}
}

// answer is what was decided, and from what.
type answer struct {
	decision host.Decision // without what differs each time
	matching host.Matching
	err      error // why the policy could not decide
}

// decider decides by a revision, with a cache in front.
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

// decide answers q, with a denial if it also returns an error. The answer is
// shared and read-only.
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
		// Otherwise the directory has moved on since the key was made.
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
