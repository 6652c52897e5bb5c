package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// reloads replaces the configuration that serves.
type reloads struct {
	*base
	first   *Config
	environ []string
	turn    chan struct{} // held by the one reload at a time, and for good by Close
	ending  context.Context
	end     context.CancelFunc

	since   atomic.Pointer[time.Time]
	refused atomic.Pointer[config.Refusal]
}

func newReloads(b *base, first *Config) *reloads {
	r := &reloads{base: b, first: first, environ: os.Environ(), turn: make(chan struct{}, 1)}
	r.ending, r.end = context.WithCancel(b.life)
	b.configuration = r
	return r
}

// restart are the keys that only a restart changes: where the host is found, and what
// it remembers. TestEachKeyIsHotOrNeedsARestart keeps the reference true.
var restart = []string{"listen", "metrics", "data", "state"}

// open publishes the first configuration.
func (r *reloads) open(ctx context.Context) error {
	return r.apply(ctx, r.first, nil, &config.Report{})
}

// ConfigStatus says which configuration serves.
func (r *reloads) ConfigStatus() config.Status {
	s := config.Status{Revision: r.current.Load().digest, Since: r.since.Load().Round(0).UTC(), Refused: r.refused.Load()}
	if r.first.File != nil {
		s.File = r.first.File.Path
	}
	return s
}

// problem is why the configuration that was last read does not serve, nil if it does.
func (r *reloads) problem() error {
	if refused := r.refused.Load(); refused != nil {
		return errors.New(refused.Reason)
	}
	return nil
}

// Reload reads the file and the environment again, builds what is configured otherwise
// than before, and publishes it in one step. What is configured alike goes on
// undisturbed. If anything is wrong nothing changes, the error names each problem with
// its place, and readiness is degraded until a later attempt succeeds. A dry run says
// what would change, and opens nothing. Reloads take turns.
func (r *reloads) Reload(ctx context.Context, dryRun bool) (*config.Report, error) {
	if r.first.File == nil {
		return nil, host.E(host.Conflict, "config.reload", "this host was not started from a file")
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-r.ending.Done():
		return nil, host.ErrShutdown
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ending, func() { cancel(host.ErrShutdown) })()
	report, err := r.reload(ctx, dryRun)
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx) // the configuration is not the reason
	}
	if err != nil {
		err = &host.Error{Kind: host.Unprocessable, Op: "config.reload", Message: "the configuration is refused; the earlier one serves on", Detail: err.Error(), Err: err}
	}
	if dryRun {
		return report, err
	}
	if err != nil {
		refusal := &config.Refusal{At: time.Now().UTC(), Reason: errors.Unwrap(err).Error()}
		if before := r.refused.Swap(refusal); before == nil || before.Reason != refusal.Reason {
			r.log.Error("the configuration is refused; the earlier one serves on", "error", refusal.Reason)
			r.configChanged(ctx, nil, errors.Unwrap(err))
		}
		return nil, err
	}
	if r.refused.Swap(nil) != nil || report.Outcome == config.Applied {
		var fields []string
		for _, c := range report.Changes {
			fields = append(fields, c.Path)
		}
		r.log.Info("the configuration was read again", "outcome", string(report.Outcome), "revision", report.Revision, "changed", strings.Join(fields, " "))
	}
	return report, nil
}

func (r *reloads) reload(ctx context.Context, dryRun bool) (*config.Report, error) {
	c, err := Load(r.first.File.Path, r.environ)
	if err != nil {
		return nil, err
	}
	c.Instrument = r.first.Instrument
	if err := c.File.Locate(errors.Join(c.adjust(), r.checkRestart(c))); err != nil {
		return nil, err
	}
	serving := r.current.Load()
	report := &config.Report{Revision: config.Digest(config.Sections(c)), Changes: Difference(serving.config, c), Outcome: config.Checked}
	if dryRun {
		return report, nil
	}
	return report, c.File.Locate(r.apply(ctx, c, serving, report))
}

// checkRestart refuses changes that only a restart makes.
func (r *reloads) checkRestart(c *Config) error {
	return config.Check("", func(bad *config.Problems) {
		for _, change := range config.Difference(r.first, c, nil) {
			if NeedsRestart(change.Path) {
				bad.Add(change.Path, "a change of %s needs a restart of the host; the host has %s, and the file says %s",
					change.Path, cmp.Or(change.Old, "none"), cmp.Or(change.New, "none"))
			}
		}
	})
}

// NeedsRestart reports whether only a restart changes the field at path.
func NeedsRestart(path string) bool {
	key, _, _ := strings.Cut(path, ".")
	return slices.Contains(restart, key)
}

// Difference returns the fields in which two configurations differ. What plugins are
// given as their own configuration is not shown, because it may hold secrets.
func Difference(from, to *Config) []config.Change {
	return config.Difference(from, to, ofPlugin.MatchString)
}

var ofPlugin = regexp.MustCompile(`^plugins\[[^\]]*\]\.config$`)

// apply builds the runtime of c and its plugins beside what serves, and publishes them.
// Nothing is published unless all of it is there.
func (r *reloads) apply(ctx context.Context, c *Config, serving *Runtime, report *config.Report) error {
	next, err := build(c, r.base, serving)
	if err != nil {
		return err
	}
	plugins, err := r.preparePlugins(ctx, next, serving)
	if err != nil {
		next.close()
		return err
	}
	if serving != nil && serving.digest == next.digest && plugins.unchanged() {
		_, err := plugins.publish(context.WithoutCancel(ctx)) // nothing waits for consent any more
		r.fleet.Recheck()                                     // the files that it names may have changed
		next.close()                                          // all its parts are those of what serves
		report.Outcome = config.Unchanged
		return err
	}
	if err := ctx.Err(); err != nil {
		plugins.discard()
		next.close()
		return err
	}
	// From here on it is published, whole. What serves requests comes last, so that
	// whoever is admitted by it finds the rest.
	ctx = context.WithoutCancel(ctx)
	now := time.Now()
	r.since.Store(&now)
	r.rules.Store(c)
	c.Log.set(r.log)
	r.sessions.SetBounds(c.Limits.bounds())
	r.plugins.SetLimits(c.Limits.Plugins, c.Limits.User)
	r.plugins.SetBroker(next.broker)
	if p := next.part(auditPart); p != r.audited {
		r.auditMoves(ctx, report.Changes)
		r.useAudit(p.value.(*audit.Delivery), p)
	}
	report.Outcome = config.Applied
	report.Plugins, err = plugins.publish(ctx)
	r.publish(next)
	r.fleet.Recheck()
	r.configChanged(ctx, report.Changes, nil)
	r.renewPlugins(ctx, next, serving)
	err = errors.Join(err, r.removePlugins(ctx, c, serving, report))
	r.collectPackages()
	return err
}

// follow reloads when the file changes, until Close.
func (s *Server) follow(context.Context) error {
	s.closing(func(ctx context.Context) error {
		s.end()
		select {
		case s.turn <- struct{}{}: // none is under way
			return nil
		case <-ctx.Done():
			return fmt.Errorf("a reload goes on: %w", ctx.Err())
		}
	})
	if s.first.File == nil {
		return nil
	}
	path := s.first.File.Path
	w, err := dirwatch.Open(filepath.Dir(path), s.log)
	if err != nil {
		s.log.Warn("the configuration file is not followed; a signal or an administrator can have it read again", "error", err)
		return nil
	}
	ctx, stop := context.WithCancel(s.life)
	done := make(chan struct{})
	last := fingerprint(path)
	go func() {
		defer close(done)
		w.Run(ctx, func() {
			now := fingerprint(path)
			if bytes.Equal(now, last) {
				return
			}
			last = now
			_, _ = s.Reload(ctx, false) // which has logged what is wrong
		})
	}()
	s.closing(func(context.Context) error { stop(); <-done; return nil })
	return nil
}

// fingerprint tells contents of a file apart; nil if it cannot be read.
func fingerprint(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, 2<<20)); err != nil {
		return nil
	}
	return h.Sum(nil)
}
