package authz

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// published is a revision that serves.
type published struct {
	*revision
	number     uint64 // from 1; 0 stands for none having arrived yet
	at         time.Time
	superseded chan struct{}
}

// track follows one source and publishes its revisions.
type track struct {
	field   string // of the configuration: "policy", "policy.shadow"
	log     *slog.Logger
	source  source.Source
	current atomic.Pointer[published]
	failed  atomic.Pointer[host.Error] // of the newest revision, nil if it serves
	away    atomic.Pointer[host.Error] // why the source does not answer, nil if it does
	digest  string                     // of what was built last; used by the one goroutine that reloads
}

// openTrack opens a source and publishes its first revision. Only a source that
// does not answer, or a revision that need not serve, leaves nothing serving.
func openTrack(ctx context.Context, field string, need bool, cfg source.Config, keep string, log *slog.Logger) (*track, error) {
	t := &track{field: field, log: log}
	op := field + ".open"
	if cfg.Dir != "" {
		t.field += ".dir"
	} else if cfg.Bundle != nil {
		t.field += ".bundle"
	}
	var err error
	if t.source, err = source.Open(cfg, keep, log); err != nil {
		return nil, host.E(host.Invalid, op, "%s: %w", t.field, err)
	}
	err = t.reload(ctx)
	if err != nil && !need || errors.Is(err, source.ErrUnreachable) {
		t.publish(nothingYet(err), 0)
		t.note(err)
		return t, nil
	}
	if err != nil {
		return nil, host.E(host.Invalid, op, "%s: %w", t.field, errors.Join(err, t.source.Close()))
	}
	return t, nil
}

// nothingYet denies everything until the first revision is there.
func nothingYet(why error) *revision {
	return &revision{
		content: source.Shipped(),
		reads:   readsOf(nil),
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

// reload builds and publishes a revision if the content differs from what it
// was, refused content included.
func (t *track) reload(ctx context.Context) error {
	content, err := t.source.Load(ctx)
	if err != nil {
		if !errors.Is(err, source.ErrUnreachable) {
			t.digest = ""
		}
		return err
	}
	if content.Digest == t.digest {
		if failed := t.failed.Load(); failed != nil {
			return failed
		}
		return nil
	}
	t.digest = content.Digest
	r, err := build(ctx, content)
	if err != nil {
		return err
	}
	number := uint64(1)
	if old := t.current.Load(); old != nil {
		number = old.number + 1
	}
	t.publish(r, number)
	return nil
}

func (t *track) publish(r *revision, number uint64) {
	next := &published{revision: r, number: number, at: time.Now(), superseded: make(chan struct{})}
	old := t.current.Swap(next)
	t.failed.Store(nil)
	if number > 0 {
		t.log.Info("policy published", "source", t.field, "origin", r.content.Origin, "revision", number, "digest", r.content.Digest,
			"tests", r.tests, "cached", r.cacheable)
	}
	if old != nil {
		close(old.superseded)
	}
}

// note keeps and logs how the last reload went. A source that is away is no
// fault of a revision: what serves goes on, and readiness is told only if
// nothing does.
func (t *track) note(err error) {
	serving := t.current.Load().number
	if err == nil {
		if t.away.Swap(nil) != nil {
			t.log.Info("policy source answers again", "source", t.field)
		}
		t.failed.Store(nil)
		return
	}
	if _, known := err.(*host.Error); known {
		return // of unchanged content, told already
	}
	to, text := &t.failed, "policy cannot be used"
	if errors.Is(err, source.ErrUnreachable) {
		to, text = &t.away, "policy source does not answer"
	} else {
		t.away.Store(nil)
	}
	e := host.E(host.Unavailable, "policy.reload", "%s: %w; revision %d goes on serving", t.field, err, serving)
	if serving == 0 {
		e = host.E(host.Unavailable, "policy.reload", "%s: %w; everything is denied", t.field, err)
	}
	if old := to.Swap(e); old == nil || old.Message != e.Message {
		t.log.Error(text, "source", t.field, "error", err, "serving", serving)
	}
}

// ready returns nil while the newest revision serves.
func (t *track) ready() error {
	if err := t.failed.Load(); err != nil {
		return err
	}
	if err := t.away.Load(); err != nil && t.current.Load().number == 0 {
		return err
	}
	return nil
}
