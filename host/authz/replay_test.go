package authz_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/authztest"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
)

// recorded is the decision log, unmasked, of n questions of w.
func recorded(t *testing.T, w authz.World, n int, question func(i int) *host.Question) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	e, err := authz.Open(t.Context(), authz.Config{
		Directory: w.Directory(), Log: audit.Config{File: &audit.File{Path: path}, Mask: &[]string{"/nowhere"}},
		Deadline: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		e.Decide(t.Context(), question(i))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func shippedPolicy(t *testing.T) *authz.Policy {
	t.Helper()
	p, err := authz.ReadPolicy(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The log is an exact basis for replaying: what is recorded, asked again,
// gives what was decided.
func TestARecordedQuestionGivesTheRecordedDecision(t *testing.T) {
	w := authz.NewWorld(t, 11)
	log := recorded(t, w, 200, func(int) *host.Question { return w.Question() })
	report, err := policytool.Diff(t.Context(), nil, shippedPolicy(t), nil, bytes.NewReader(log))
	if err != nil || report.Decisions != 200 || report.Changed != 0 || report.Masked+report.Other != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// Over the directory that permissions came from, matching them again changes
// nothing, whatever the identity provider asserted.
func TestMatchingAgainOverTheSameDirectoryChangesNothing(t *testing.T) {
	w := authz.NewWorld(t, 12)
	sorted := func(list []string) []string {
		slices.Sort(list)
		return slices.Compact(list)
	}
	log := recorded(t, w, 300, func(i int) *host.Question {
		q := w.Question()
		if i%2 == 0 {
			q.Principal.Asserted = host.Membership{Roles: sorted(w.Some("r", 10)), Teams: sorted(w.Some("t", 10))}
			q.Principal.Unlisted = i%4 == 0
		}
		return q
	})
	shipped := shippedPolicy(t)
	diff := func(before *authz.Policy, over policytool.Over) *policytool.DiffReport {
		t.Helper()
		r, err := policytool.Diff(t.Context(), before, shipped, &over, bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, before := range []*authz.Policy{nil, shipped} {
		r := diff(before, policytool.Over{Directory: w.Directory(), Name: "here"})
		if r.Decisions != 300 || r.Changed != 0 || r.Masked+r.Other != 0 || r.Directory != "here" {
			t.Errorf("%+v", r)
		}
	}
	if r := diff(nil, policytool.Over{Directory: authztest.Staff(t), Name: "elsewhere"}); r.Changed == 0 {
		t.Errorf("over another directory: %+v", r)
	}
}
