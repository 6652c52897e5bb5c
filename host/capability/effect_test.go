package capability

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// recorded gives a scene a trail of files in a directory of its own. records waits for
// everything and returns it.
func recorded(t *testing.T, s *scene) (records func() []map[string]any) {
	t.Helper()
	dir := t.TempDir()
	d, err := audit.OpenDelivery(&audit.TrailConfig{}, dir, make([]byte, 32), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	trail := audit.NewTrail("a", slog.New(slog.DiscardHandler))
	trail.Use(d)
	s.granted.broker.Audit(trail)
	t.Cleanup(func() { _ = d.Close() })
	return func() (list []map[string]any) {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		err := (&audit.Store{Dir: dir}).Export(context.Background(), &audit.Filter{Fields: map[string]string{"kind": audit.KindCapability}}, func(line []byte) error {
			var r map[string]any
			list = append(list, r)
			return json.Unmarshal(line, &list[len(list)-1])
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
}

// Without a place for its record a call changes nothing, and reads go on.
func TestACallThatCannotBeRecordedChangesNothing(t *testing.T) {
	s := newScene(t, all(), allow)
	s.granted.broker.Audit(audit.NewTrail("a", slog.New(slog.DiscardHandler))) // it has no destination
	if _, err := s.fetch("PUT", "box://dev/shop/a"); host.KindOf(err) != host.Unavailable || len(s.box.effects) > 0 {
		t.Errorf("a change: %v, effects %v", err, s.box.effects)
	}
	if st, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "PUT", URL: "box://dev/shop/a"}); st != nil || host.KindOf(err) != host.Unavailable || len(s.box.effects) > 0 {
		t.Errorf("a stream: %v, effects %v", err, s.box.effects)
	}
	for _, request := range []string{"box://dev/shop/a", "box://dev"} {
		if _, err := s.fetch("GET", request); err != nil {
			t.Errorf("a read: %v", err)
		}
	}
	if _, err := s.fetch("PUT", "box://dev/shop/a?dry=yes"); err != nil {
		t.Errorf("a dry run: %v", err)
	}
}

// A change has one intent and one outcome, whatever happens to it; a refused one has one
// event; a read has none.
func TestEachChangeIsRecordedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*scene)
		call    func(*testing.T, *scene)
		stages  []string
		outcome audit.Result
	}{
		"done":     {nil, put, []string{"intent", "outcome"}, audit.Success},
		"a read":   {nil, func(_ *testing.T, s *scene) { _, _ = s.fetch("GET", "box://dev/shop/a") }, nil, ""},
		"denied":   {func(s *scene) { s.caller.Route.Mutates = false }, put, []string{"event"}, audit.Refused},
		"failed":   {func(s *scene) { s.box.answer = fails(&host.Error{Kind: host.Conflict, Status: 409}) }, put, []string{"intent", "outcome"}, audit.Failure},
		"panicked": {func(s *scene) { s.box.during = func() { panic("boom") } }, put, []string{"intent", "outcome"}, audit.Unknown},
		"logged out meanwhile": {func(s *scene) { s.box.during = func() { s.auth.gone.Store(true) } }, put,
			[]string{"intent", "outcome"}, audit.Unknown},
		"a stream": {nil, func(t *testing.T, s *scene) {
			if err := stream(t, s).Splice(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}, []string{"intent", "outcome"}, audit.Success},
		"a stream that is not used": {nil, func(t *testing.T, s *scene) { _ = stream(t, s).Close() }, []string{"intent", "outcome"}, audit.Failure},
		"work that goes on": {nil, func(t *testing.T, s *scene) {
			s.caller.Outlive = func(string, *host.Question) (Session, error) { return session{s.auth}, nil }
			var longer *Permit
			s.box.during = func() { longer, _, _ = s.box.permit.Outlive("x") }
			put(t, s)
			longer.Done(nil, &host.Error{Kind: host.Invalid})
			longer.Done(nil, nil)
		}, []string{"intent", "outcome"}, audit.Failure},
	} {
		s := newScene(t, all(), allow)
		records := recorded(t, s)
		if c.prepare != nil {
			c.prepare(s)
		}
		c.call(t, s)
		got := records()
		if len(got) != len(c.stages) {
			t.Errorf("%s: %v", name, got)
			continue
		}
		for i, r := range got {
			if r["stage"] != c.stages[i] || r["id"] != got[0]["id"] {
				t.Errorf("%s: %v", name, got)
			}
		}
		if n := len(got); n > 0 && got[n-1]["outcome"] != string(c.outcome) {
			t.Errorf("%s: %v", name, got[n-1])
		}
	}
}

type session struct{ *authority }

func (session) Context() context.Context { return context.Background() }
func (session) Close()                   {}

func put(_ *testing.T, s *scene) { _, _ = s.fetch("PUT", "box://dev/shop/a") }

func fails(err error) func() (*abi.Response, error) {
	return func() (*abi.Response, error) { return nil, err }
}

func stream(t *testing.T, s *scene) Stream {
	t.Helper()
	st, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "PUT", URL: "box://dev/shop/a"})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Authority that is lost while the intent is written prevents the effect.
func TestALogoutWhileTheIntentIsWrittenPreventsTheEffect(t *testing.T) {
	s := newScene(t, all(), func(*host.Question) host.Decision { return host.Decision{Allow: true} })
	records := recorded(t, s)
	asked := s.granted.broker.decide
	s.granted.broker.decide = func(ctx context.Context, q *host.Question) host.Decision {
		defer s.auth.gone.Store(true) // after all checks
		return asked(ctx, q)
	}
	if _, err := s.fetch("PUT", "box://dev/shop/a"); !errors.Is(err, host.ErrLoggedOut) || len(s.box.effects) > 0 {
		t.Errorf("%v, effects %v", err, s.box.effects)
	}
	if got := records(); len(got) != 2 {
		t.Errorf("%v", got)
	}
}
