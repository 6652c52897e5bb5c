package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// published is a revision that has been published, with its number.
type published struct {
	*revision
	number     uint64 // from 1; 0 before the first revision
	at         time.Time
	superseded chan struct{}
	health     health
}

// track follows one source and publishes its revisions.
type track struct {
	field   string // of the configuration: "policy", "policy.shadow"
	serves  bool   // false for the shadow
	log     *slog.Logger
	source  source.Source
	current atomic.Pointer[published]
	failed  atomic.Pointer[host.Error]     // why the newest revision is not published; nil if it is
	away    atomic.Pointer[host.Error]     // why the source does not answer, nil if it does
	latest  atomic.Pointer[source.Content] // the last content that was loaded, published or not
	// The last content that could not be built; used by the reloading goroutine only.
	refused string // digest
	why     error
	told    func(Change) // of each later revision, and each that is refused; nil: nobody
}

// Change is a revision of the policy that was published, or refused with Err.
type Change struct {
	Revision uint64 // that decides now
	Digest   string // of the operator's files; "" if they were refused
	Err      error
}

func (t *track) tell(c Change) {
	if t.told != nil {
		t.told(c)
	}
}

// openTrack opens a source and publishes its first revision. If the source does not answer,
// openTrack returns without a revision. Any other problem is an error if serves is set, and
// otherwise leaves the track without a revision too.
func openTrack(ctx context.Context, field string, serves bool, cfg source.Config, keep string, log *slog.Logger) (*track, error) {
	t := &track{field: field, serves: serves, log: log}
	op := field + ".open"
	if cfg.Dir != "" {
		t.field += ".dir"
	} else if cfg.Bundle != nil {
		t.field += ".bundle"
	}
	var err error
	if !serves {
		t.source = source.OpenLate(cfg, keep, log)
	} else if t.source, err = source.Open(cfg, keep, log); err != nil {
		return nil, host.E(host.Invalid, op, "%s: %w", t.field, err)
	}
	err = t.reload(ctx)
	if err != nil && !serves || errors.Is(err, artifact.ErrUnreachable) {
		t.publish(nothingYet(err), 0)
		t.note(err)
		return t, nil
	}
	if err != nil {
		return nil, host.E(host.Invalid, op, "%s: %w", t.field, errors.Join(err, t.source.Close()))
	}
	return t, nil
}

// nothingYet denies everything until the first revision has arrived.
func nothingYet(why error) *revision {
	return &revision{
		compiled: &compiled{content: source.Shipped()},
		reads:    readsOf(nil),
		eval: func(context.Context, ast.Value, time.Duration, ...rego.EvalOption) (any, error) {
			return nil, errors.Join(errors.New("no policy has arrived yet"), why)
		},
	}
}

// run follows the source until ctx is done.
func (t *track) run(ctx context.Context) {
	t.source.Run(ctx, func() {
		if err := t.reload(ctx); ctx.Err() == nil {
			t.note(err)
		}
	})
}

// reload builds and publishes a revision, unless the content is already published or was
// refused last time.
func (t *track) reload(ctx context.Context) error {
	content, err := t.source.Load(ctx)
	if err != nil {
		return err
	}
	t.latest.Store(content)
	number := uint64(1)
	if old := t.current.Load(); old != nil {
		if old.number > 0 && old.content.Digest == content.Digest {
			return t.source.Publish(content)
		}
		number = old.number + 1
	}
	if content.Digest == t.refused {
		return t.why
	}
	r, err := build(ctx, content)
	if err != nil {
		t.refused, t.why = content.Digest, err
		return err
	}
	if err := t.source.Publish(content); err != nil {
		return err
	}
	t.publish(r, number)
	t.tell(Change{Revision: number, Digest: content.Digest})
	return nil
}

func (t *track) publish(r *revision, number uint64) {
	next := &published{revision: r, number: number, at: time.Now(), superseded: make(chan struct{})}
	old := t.current.Swap(next)
	t.failed.Store(nil)
	if number > 0 {
		t.log.Info("policy published", "source", t.field, "origin", r.content.Origin, "revision", number, "digest", r.content.Digest,
			"tests", r.passed, "cached", r.cacheable)
		if unread := r.content.Unread; len(unread) > 0 {
			t.log.Warn("some rules at the policy's source are not read", "source", t.field, "in", unread)
		}
		if r.fails != nil {
			t.log.Error("the policy fails for every question", "source", t.field, "revision", number, "error", r.fails)
		}
	}
	if old != nil {
		close(old.superseded)
	}
}

// note records and logs the outcome of the last reload. If the source does not answer, the
// published revision stays in force.
func (t *track) note(err error) {
	to, text := &t.failed, "policy cannot be used"
	if errors.Is(err, artifact.ErrUnreachable) {
		to, text = &t.away, "policy source does not answer"
	} else if t.away.Swap(nil) != nil {
		t.log.Info("policy source answers again", "source", t.field)
	}
	if err == nil {
		if t.failed.Swap(nil) != nil {
			t.log.Info("the published policy is current again", "source", t.field)
		}
		return
	}
	number := t.current.Load().number
	e := host.E(host.Unavailable, "policy.reload", "%s: %w; %s", t.field, err, t.meanwhile(number))
	if old := to.Swap(e); old == nil || old.Message != e.Message {
		t.log.Error(text, "source", t.field, "error", err, "revision", number)
		if to == &t.failed {
			t.tell(Change{Revision: number, Err: err})
		}
	}
}

// meanwhile returns what happens while the newest revision cannot be used.
func (t *track) meanwhile(number uint64) string {
	switch {
	case t.serves && number > 0:
		return fmt.Sprintf("revision %d stays in force", number)
	case t.serves:
		return "everything is denied"
	case number > 0:
		return fmt.Sprintf("revision %d stays in the shadow", number)
	}
	return "nothing is compared"
}

// ready returns nil while the source answers and its newest revision is published and
// decides.
func (t *track) ready() error {
	if err := t.deciding(); err != nil {
		return err
	}
	if err := t.failed.Load(); err != nil {
		return err
	}
	if err := t.away.Load(); err != nil {
		return err
	}
	return t.current.Load().health.problem(t.field)
}

// deciding returns nil while the published revision can decide.
func (t *track) deciding() error {
	p := t.current.Load()
	switch {
	case p.number == 0:
		if err := t.failed.Load(); err != nil {
			return err
		}
		if err := t.away.Load(); err != nil {
			return err
		}
	case p.fails != nil && !p.health.worked.Load():
		return host.E(host.Unavailable, "policy", "%s: revision %d fails for every question, so every request is denied: %w", t.field, p.number, p.fails)
	}
	return nil
}
