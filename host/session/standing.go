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

// Hold makes the session depend on what policy allowed: when Redecide finds that
// the same question is denied now, or allowed on narrower terms, the session
// ends with host.ErrNoLonger; shorter bounds in time than those of Limit apply
// from now on. The decision must have been made after Open, and q
// is not written to any more.
//
// The facts may have changed between the decision and this call. Then the
// question is put again here, and the error is why the session has ended.
func (s *Session) Hold(q *host.Question, allowed host.Obligations) (*StandingDecision, error) {
	st := &StandingDecision{s, q, allowed}
	s.mu.Lock()
	s.standing = append(s.standing, st)
	s.mu.Unlock()
	if s.table.changes.Load() != s.changes {
		s.reconsider(context.WithoutCancel(s.ctx)) // an answer cut short would be a no
	}
	return st, s.Cause()
}

// Release ends the standing decision: what it allowed is over. It may be called
// repeatedly.
func (st *StandingDecision) Release() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing = slices.DeleteFunc(s.standing, func(x *StandingDecision) bool { return x == st })
}

// Redecide asks policy again about the standing decisions of all sessions, and ends
// the sessions for which the answer is worse. Call it after policy or
// directory changed; it returns when it has asked about all. Users who are not
// concerned keep what they have.
func (t *Table) Redecide(ctx context.Context) {
	t.changes.Add(1) // first, so that a decision made meanwhile is made again
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
	_ = asking.Wait() // nothing of it fails
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

// narrower reports whether now withholds what before gave, or asks for what is
// not being done. What is in progress cannot be changed, only ended.
func narrower(before, now *host.Obligations) bool {
	return lesser(before.Impersonate, now.Impersonate) ||
		fewer(before.Namespaces, now.Namespaces) || fewer(before.ResourceGroups, now.ResourceGroups) ||
		!within(now.Redact, before.Redact) ||
		now.Record != host.RecordNothing && now.Record != before.Record && before.Record != host.RecordAll
}

// shortened is now if it is a shorter bound than before, otherwise none.
func shortened(before, now time.Duration) time.Duration {
	if shorter(before, now) == before {
		return 0
	}
	return now
}

// lesser reports whether the identity has lost something. One that gained a
// group may go on without it.
func lesser(before, now *host.Impersonation) bool {
	if before == nil {
		return false
	}
	return now == nil || now.User != before.User || !within(before.Groups, now.Groups)
}

// fewer compares lists of which nil means everything.
func fewer(before, now []string) bool {
	return now != nil && (before == nil || !within(before, now))
}

func within(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}
