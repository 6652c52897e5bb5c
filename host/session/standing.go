package session

import (
	"context"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A Standing is an allow by which a session lives.
type Standing struct {
	session  *Session
	question *host.Question
	allowed  host.Obligations
}

// Stand makes the session live by what policy allowed: when Redecide finds that
// the same question is denied now, or allowed on narrower terms, the session
// ends with host.ErrNoLonger; shorter bounds in time than those of Limit apply
// from now on. The decision must have been made after Open, and q
// is not written to any more.
//
// The facts may have changed between the decision and this call. Then the
// question is put again here, and the error is why the session has ended.
func (s *Session) Stand(q *host.Question, allowed host.Obligations) (*Standing, error) {
	st := &Standing{s, q, allowed}
	s.mu.Lock()
	s.standing = append(s.standing, st)
	s.mu.Unlock()
	if s.table.changes.Load() != s.changes {
		s.reconsider(context.WithoutCancel(s.ctx)) // an answer cut short would be a no
	}
	return st, s.Cause()
}

// Leave takes the standing back: what it was about is over. It may be called
// repeatedly.
func (st *Standing) Leave() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing = slices.DeleteFunc(s.standing, func(x *Standing) bool { return x == st })
}

// Redecide puts the questions by which sessions live to policy again and ends
// the sessions for which the answer has become worse. Call it after policy or
// directory changed; it returns when it has asked about all. Users who are not
// concerned keep what they have.
func (t *Table) Redecide(ctx context.Context) {
	t.changes.Add(1) // first, so that whoever decides meanwhile asks again
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

// reconsider asks about all that the session lives by.
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
// not being done. What is under way cannot be changed, only ended.
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
