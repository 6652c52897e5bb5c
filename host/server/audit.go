package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// auditKey is the purpose of the key that signs the audit.
const auditKey = "audit"

// AuditDir returns the directory of the audit's files, "" if it is not kept in files.
func (c *Config) AuditDir() string { return c.Audit.Dir(filepath.Join(c.Data, "audit")) }

// AuditKey returns the key that signs the audit of the host with this configuration. It
// reads the host key, so only the host's user can call it.
func (c *Config) AuditKey() ([]byte, error) {
	return state.DeriveKey(&state.Config{Dir: c.Data, Options: c.State}, auditKey)
}

// openAudit opens the destinations of the audit. What the first runtime opens is used from
// then on, so that the start itself is recorded.
func (b *building) openAudit() error {
	key, err := b.state.DeriveKey(auditKey)
	if err != nil {
		return config.At("audit", err)
	}
	d, p, err := partOf(b, auditPart, b.config.Audit, nil, func() (*audit.Delivery, func(), error) {
		d, err := audit.OpenDelivery(&b.config.Audit, filepath.Join(b.config.Data, "audit"), key, b.log)
		if err != nil {
			return nil, nil, config.At("audit", err)
		}
		return d, func() {
			if err := d.Close(); err != nil {
				b.log.Warn("the audit was not closed in order", "error", err)
			}
		}, nil
	})
	if err == nil && b.audited == nil {
		b.useAudit(d, p)
		b.trail.Note(b.life, &audit.Event{Kind: audit.KindHost, Action: "host.start", Details: map[string]any{
			"version": Version(), "pid": os.Getpid(),
		}}, audit.Outcome{Result: audit.Success})
	}
	return err
}

const auditPart = "audit"

// useAudit makes the trail record at d, and keeps p open until the next call.
func (b *base) useAudit(d *audit.Delivery, p *part) {
	before := b.audited
	if p != nil {
		p.use()
	}
	b.audited = p
	b.trail.Use(d)
	if before != nil {
		before.release()
	}
}

// closeAudit is for the end of the host, after everything that is recorded.
func (b *base) closeAudit(context.Context) error {
	if b.audited != nil {
		b.trail.Note(b.life, &audit.Event{Kind: audit.KindHost, Action: "host.stop"}, audit.Outcome{Result: audit.Success})
		b.useAudit(nil, nil)
	}
	return nil
}

// sessionOpened and sessionEnded record the streams and sockets that begin and end, and the calls that the
// host ends.
func (b *base) sessionOpened(s *session.Session) {
	if s.Kind() != host.SessionCall {
		info := s.Info()
		b.trail.Note(s.Context(), sessionEvent("session.begin", s, &info), audit.Outcome{Result: audit.Success})
	}
}

func (b *base) sessionEnded(s *session.Session, cause error) {
	c := host.EndCauseOf(cause)
	regular := c != nil && (c.Err == host.ErrDone || c.Err == host.ErrClientGone)
	if s.Kind() == host.SessionCall && (regular || c == nil) {
		return
	}
	info := s.Info()
	e := sessionEvent("session.end", s, &info)
	if c != nil {
		e.Details["cause"] = c.Name
	}
	o := audit.Outcome{Result: audit.Success}
	if c == nil {
		o = audit.Outcome{Result: audit.Failure, Err: cause}
	}
	b.trail.Note(s.Context(), e, o)
}

func sessionEvent(what host.Action, s *session.Session, info *host.SessionInfo) *audit.Event {
	return &audit.Event{
		Kind: audit.KindSession, Action: what, Target: info.Target, Principal: s.Principal(), Session: info.ID, Remote: info.RemoteAddr,
		Route:   host.Route{Plugin: info.Plugin},
		Details: map[string]any{"kind": string(info.Kind), "route": info.Route},
	}
}

func (b *base) pluginChanged(c plugin.Transition) {
	e := &audit.Event{Kind: audit.KindPlugin, Action: "plugin.swap", Target: c.Name, Details: map[string]any{}}
	for key, v := range map[string]*plugin.Version{"serving": c.Serving, "canary": c.Canary, "before": c.Before} {
		if v != nil {
			e.Details[key] = map[string]any{"version": v.Version, "digest": v.Digest, "generation": v.Generation}
		}
	}
	o := audit.Outcome{Result: audit.Success}
	switch {
	case c.Err != nil:
		o = audit.Outcome{Result: audit.Refused, Err: c.Err}
		if c.Refused != "" {
			e.Details["refused"] = c.Refused
		}
	case c.Serving == nil:
		e.Action = "plugin.remove"
	}
	b.trail.Note(b.life, e, o)
}

func (b *base) policyChanged(c authz.Change) {
	e := &audit.Event{Kind: audit.KindPolicy, Action: "policy.publish", Revision: c.Revision}
	o := audit.Outcome{Result: audit.Success}
	if c.Err != nil {
		o = audit.Outcome{Result: audit.Refused, Err: c.Err}
	} else {
		e.Details = map[string]any{"digest": c.Digest}
	}
	b.trail.Note(b.life, e, o)
}

// configChanged records that a configuration serves, or is refused with err.
func (b *base) configChanged(ctx context.Context, changes []config.Change, err error) {
	e := &audit.Event{Kind: audit.KindConfig, Action: "config.load"}
	if err != nil {
		b.trail.Note(ctx, e, audit.Outcome{Result: audit.Refused, Err: err})
		return
	}
	rt := b.current.Load()
	e.Revision = rt.policy.Revision()
	e.Details = map[string]any{"revision": rt.digest, "policy": rt.policy.Status().Digest}
	if fields := fieldsOf(changes); fields != "" {
		e.Details["changed"] = fields
	}
	b.trail.Note(ctx, e, audit.Outcome{Result: audit.Success})
}

// auditMoves is the last record at the present destinations: what follows is recorded as the
// next configuration says, which may be elsewhere, or not at all.
func (b *base) auditMoves(ctx context.Context, changes []config.Change) {
	b.trail.Note(ctx, &audit.Event{
		Kind: audit.KindConfig, Action: "audit.change", Details: map[string]any{"changed": fieldsOf(changes)},
	}, audit.Outcome{Result: audit.Success})
}

func fieldsOf(changes []config.Change) string {
	var fields []string
	for _, c := range changes {
		fields = append(fields, c.Path)
	}
	return strings.Join(fields, " ")
}

// auditProblem returns why a destination of the audit cannot be written, or that records
// are lost.
func (b *base) auditProblem() error {
	if err := b.trail.Problem(); err != nil {
		return err
	}
	if _, lost := b.trail.Status(); lost > 0 {
		return errors.New("records of the audit were lost; bulkhead_audit_records_lost_total counts them")
	}
	return nil
}
