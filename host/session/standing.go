package session

import (
	"context"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A StandingDecision is an allow that a session depends on: the session ends when
// policy no longer allows it.
type StandingDecision struct {
	session  *Session
	question *host.Question
	allowed  host.Obligations
}

// Hold makes the session depend on a decision. If Redecide finds that the same question is
// now denied, or allowed with narrower obligations, the session ends with
// host.ErrNoLonger. If the obligations limit its time more than Limit did, the shorter
// limits apply from now on. The decision must have been made after Open, and q must not be
// modified any longer.
//
// If policy or directory changed between the decision and this call, Hold asks the
// question again; its error is why the session has ended.
func (s *Session) Hold(q *host.Question, allowed host.Obligations) (*StandingDecision, error) {
	st := &StandingDecision{s, q, allowed}
	s.mu.Lock()
	s.standing = append(s.standing, st)
	s.mu.Unlock()
	if s.table.changes.Load() != s.changes {
		s.reconsider(context.WithoutCancel(s.ctx)) // a cancelled question would be denied
	}
	return st, s.Cause()
}

// Release ends the standing decision, when what it allowed is done. It may be called
// repeatedly.
func (st *StandingDecision) Release() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing = slices.DeleteFunc(s.standing, func(x *StandingDecision) bool { return x == st })
}

// Redecide asks policy again about the standing decisions of all sessions, and ends the
// sessions that are no longer permitted. It must be called after policy or directory
// changed, and returns when it has asked about all sessions. Other sessions are not
// affected.
func (t *Table) Redecide(ctx context.Context) {
	t.changes.Add(1) // first, so that a decision made meanwhile is asked for again
	if t.decide == nil {
		return
	}
	var asking errgroup.Group
	asking.SetLimit(runtime.GOMAXPROCS(0))
	for i := range t.shards {
		asking.Go(func() error {
			for _, s := range t.shards[i].snapshot("") {
				s.reconsider(ctx)
			}
			return nil
		})
	}
	_ = asking.Wait() // never an error
}

// reconsider asks again about the standing decisions of the session.
func (s *Session) reconsider(ctx context.Context) {
	s.mu.Lock()
	all := slices.Clone(s.standing)
	s.mu.Unlock()
	for _, st := range all {
		if !s.Alive() {
			return
		}
		d := s.table.decide(ctx, st.question)
		if !d.Allow || narrower(&st.allowed, &d.Obligations) {
			s.End(host.ErrNoLonger)
			return
		}
		s.tighten(shortened(st.allowed.MaxSession, d.Obligations.MaxSession), shortened(st.allowed.Idle, d.Obligations.Idle))
	}
}

// narrower reports whether now permits less than before, or requires what the session does
// not do. Work in progress cannot be changed, only ended.
func narrower(before, now *host.Obligations) bool {
	return lesser(before.Impersonate, now.Impersonate) ||
		fewer(before.Namespaces, now.Namespaces) || fewer(before.ResourceGroups, now.ResourceGroups) ||
		!within(now.Redact, before.Redact) ||
		now.Record != host.RecordNothing && now.Record != before.Record && before.Record != host.RecordAll
}

// shortened returns now if it is a shorter bound than before, otherwise 0.
func shortened(before, now time.Duration) time.Duration {
	if shorter(before, now) == before {
		return 0
	}
	return now
}

// lesser reports whether the identity has lost its user or a group. A session may continue
// without a group that the identity gained.
func lesser(before, now *host.Impersonation) bool {
	if before == nil {
		return false
	}
	return now == nil || now.User != before.User || !within(before.Groups, now.Groups)
}

// fewer reports whether now lacks an element of before; a nil list means everything.
func fewer(before, now []string) bool {
	return now != nil && (before == nil || !within(before, now))
}

func within(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}
