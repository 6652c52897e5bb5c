package authz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// defaultDeadline bounds one evaluation in wall-clock time. An evaluation takes
// some 0.1 ms of CPU; the rest is for a machine that is busy, since a deadline
// missed is a refusal.
const defaultDeadline = time.Second

// policyError is the reason code of a denial that the policy did not decide.
const policyError = "policy_error"

// Directory is what the engine asks of host/directory. It is safe for
// concurrent use.
type Directory interface {
	Match(*host.Question) host.Matching
	Revision() uint64
}

// Config says which policy decides over which directory.
type Config struct {
	// Dir holds the operator's Rego, files named *.rego; empty for the shipped
	// policy alone. A package bulkhead.authz in it replaces the shipped one.
	Dir       string
	Directory Directory
	// Deadline bounds one evaluation in wall-clock time; 0 means 1 s. One that
	// takes longer is cut and denied, also if it is the machine that is slow.
	Deadline time.Duration
	Logger   *slog.Logger
}

// Engine decides by the current revision of the policy. It is safe for
// concurrent use.
type Engine struct {
	dir       string
	directory Directory
	deadline  time.Duration
	log       *slog.Logger
	current   atomic.Pointer[published]
	failed    atomic.Pointer[host.Error] // of the newest revision, nil if it serves
	cache     cache
	terms     atomic.Pointer[terms]
	ids       *ids
	stop      context.CancelFunc
	done      sync.WaitGroup
	digest    [32]byte // of the operator's files; used by the one goroutine that reloads
}

// published is a revision that serves.
type published struct {
	*revision
	number     uint64
	superseded chan struct{}
}

// Open builds the first revision and follows changes of cfg.Dir until ctx is
// done or Close is called. A directory that is missing and a policy that cannot
// be used are errors of kind host.Invalid: nothing serves in its place.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	const op = "policy.open"
	e := &Engine{
		dir: cfg.Dir, directory: cfg.Directory, ids: newIDs(),
		deadline: cmp.Or(cfg.Deadline, defaultDeadline),
		log:      cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
	}
	e.cache.init()
	e.terms.Store(&terms{})
	if e.directory == nil {
		return nil, host.E(host.Internal, op, "there is no directory to match with")
	}
	if e.dir == "" {
		e.stop = func() {}
		r, err := build(ctx, nil)
		if err != nil {
			return nil, host.E(host.Internal, op, "shipped policy: %w", err)
		}
		e.publish(r)
		return e, nil
	}
	watch, err := dirwatch.Open(e.dir, e.log)
	if err != nil {
		return nil, host.E(host.Invalid, op, "policy.dir: %w", err)
	}
	if err := e.reload(ctx); err != nil {
		return nil, host.E(host.Invalid, op, "policy.dir: %w", errors.Join(err, watch.Close()))
	}
	ctx, e.stop = context.WithCancel(ctx)
	e.done.Go(func() { watch.Run(ctx, func() { e.changed(ctx) }) })
	return e, nil
}

// Close ends following changes and waits for that. Decide goes on by the last
// revision.
func (e *Engine) Close() error {
	e.stop()
	e.done.Wait()
	return nil
}

// Ready returns nil while the newest policy is the one that serves, otherwise
// why it cannot be used, with file and line where there is one.
func (e *Engine) Ready() error {
	if err := e.failed.Load(); err != nil {
		return err
	}
	return nil
}

// Revision numbers the policy that decides, from 1.
func (e *Engine) Revision() uint64 { return e.current.Load().number }

// Changed returns a channel that is closed when another revision begins to
// decide. To miss nothing, call it before deciding.
func (e *Engine) Changed() <-chan struct{} { return e.current.Load().superseded }

func (e *Engine) changed(ctx context.Context) {
	err := e.reload(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	serving := e.Revision()
	failed := host.E(host.Unavailable, "policy.reload", "policy.dir: %w; revision %d goes on serving", err, serving)
	if old := e.failed.Swap(failed); old == nil || old.Message != failed.Message {
		e.log.Error("policy cannot be used", "error", err, "serving", serving)
	}
}

// reload builds and publishes a revision if the operator's files differ from
// what they were, refused files included.
func (e *Engine) reload(ctx context.Context) error {
	files, err := dirwatch.Read(e.dir, ".rego")
	if err != nil {
		e.digest = [32]byte{}
		return err
	}
	digest := digestOf(files)
	if digest == e.digest {
		return nil
	}
	e.digest = digest
	r, err := build(ctx, files)
	if err != nil {
		return err
	}
	e.publish(r)
	return nil
}

func (e *Engine) publish(r *revision) {
	next := &published{revision: r, number: 1, superseded: make(chan struct{})}
	old := e.current.Load()
	if old != nil {
		next.number = old.number + 1
	}
	e.current.Store(next)
	e.failed.Store(nil)
	e.log.Info("policy published", "revision", next.number, "tests", r.tests, "cached", r.cacheable)
	if old != nil {
		close(old.superseded)
	}
}

// Decide answers q. It never fails: what cannot be decided is denied, with the
// reason code "policy_error". The decision's reason and obligations are shared
// with the cache and read-only. A decision that is not cached takes at most
// a little longer than the deadline.
func (e *Engine) Decide(ctx context.Context, q *host.Question) host.Decision {
	start := time.Now()
	if !q.Principal.Known() {
		return host.Decision{Reason: host.Reason{Code: "nobody"}, ID: e.ids.next(), Revision: e.Revision()}
	}
	rev := e.current.Load()
	buf := keyBuffers.Get().(*[]byte)
	defer keyBuffers.Put(buf)
	key, keyed := appendKey((*buf)[:0], rev, e.directory.Revision(), q)
	*buf = key
	if keyed {
		if hit, ok := e.cache.get(key); ok {
			d := *hit
			d.ID, d.Cached, d.Duration = e.ids.next(), true, time.Since(start)
			return d
		}
	}
	m := e.directory.Match(q)
	d, err := e.evaluate(ctx, rev, q, &m)
	if err != nil {
		e.log.Error("policy failed to decide", "revision", rev.number, "user", q.Principal.User,
			"action", q.Route.Action, "error", err)
		d = host.Decision{Reason: host.Reason{Code: policyError}}
	}
	d.Revision, d.Duration = rev.number, time.Since(start)
	if keyed && err == nil {
		// The directory may have moved on since the key was made.
		key, _ = appendKey(key[:0], rev, m.Revision, q)
		e.cache.put(string(key), &d)
	}
	d.ID = e.ids.next()
	return d
}

// evaluate runs the policy once.
func (e *Engine) evaluate(ctx context.Context, rev *published, q *host.Question, m *host.Matching) (d host.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			d, err = host.Decision{}, fmt.Errorf("panic: %v", p)
		}
	}()
	input, err := newInput(q, m, e.termsOf(m.Revision), rev.reads)
	if err != nil {
		return host.Decision{}, err
	}
	document, err := rev.eval(ctx, input, e.deadline)
	if err != nil {
		return host.Decision{}, err
	}
	return parseDecision(document)
}

func (e *Engine) termsOf(directory uint64) *terms {
	t := e.terms.Load()
	if t.revision != directory {
		t = &terms{revision: directory}
		e.terms.Store(t)
	}
	return t
}
