package capability

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// standings are what a caller's session lives by.
type standings struct {
	questions []*host.Question
	allowed   []host.Obligations
	left      int
	err       error
}

func (s *standings) hold(q *host.Question, allowed host.Obligations) (func(), error) {
	s.questions, s.allowed = append(s.questions, q), append(s.allowed, allowed)
	return func() { s.left++ }, s.err
}

func streaming(t *testing.T) (*scene, *standings) {
	t.Helper()
	s := newScene(t, all(), func(*host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Idle: time.Minute, Namespaces: []string{"shop"}, Record: host.RecordOutput}}
	})
	s.caller.Obligations.Idle = time.Hour
	st := &standings{}
	s.caller.Hold = st.hold
	return s, st
}

func (s *scene) open() (Stream, error) {
	return s.granted.Open(context.Background(), s.caller, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/a"})
}

// The session asks again what is here: with the route's obligations in place of
// the stream's own, a stream would outlive what its own decision narrows to.
func TestASessionLivesByTheDecisionThatOpenedItsStream(t *testing.T) {
	s, st := streaming(t)
	stream, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if len(st.questions) != 1 || st.questions[0] != s.asked[0] || st.questions[0].Capability.Object != "a" {
		t.Errorf("the session lives by %+v", st.questions)
	}
	if o := st.allowed[0]; o.Idle != time.Minute || !slices.Equal(o.Namespaces, []string{"shop"}) || o.Record != host.RecordOutput {
		t.Errorf("on the terms %+v", o)
	}
	if st.left != 0 {
		t.Error("the decision was left while the stream is open")
	}
	if err := stream.Close(); err != nil || st.left != 1 || s.box.opened.closed != 1 {
		t.Errorf("%v; left %d times, closed %d times", err, st.left, s.box.opened.closed)
	}
	if stream, _ = s.open(); stream.Splice(t.Context(), nil) != nil || st.left != 2 {
		t.Errorf("after its splice it was left %d times", st.left)
	}
}

func TestAStreamThatDoesNotOpenIsNotLivedBy(t *testing.T) {
	s, st := streaming(t)
	st.err = host.ErrNoLonger
	if stream, err := s.open(); stream != nil || !errors.Is(err, host.ErrNoLonger) || len(s.box.effects) > 0 {
		t.Errorf("the session has ended: %v, %v, effects %v", stream, err, s.box.effects)
	}
	st.err = nil
	s.box.during = func() { panic("x") }
	if stream, err := s.open(); stream != nil || err == nil {
		t.Errorf("got %v, %v", stream, err)
	}
}

func TestAFetchDoesNotMeetARecordingAndAStreamNoRedaction(t *testing.T) {
	for name, o := range map[string]host.Obligations{"record": {Record: host.RecordAll}, "redact": {Redact: []string{"/a"}}} {
		s := newScene(t, all(), func(*host.Question) host.Decision { return host.Decision{Allow: true, Obligations: o} })
		_, fetch := s.fetch("GET", "box://dev/shop/a")
		_, open := s.open()
		if (fetch == nil) != (name == "redact") && host.KindOf(fetch) != host.Forbidden || (open == nil) != (name == "record") {
			t.Errorf("%s: fetch %v, open %v", name, fetch, open)
		}
	}
}

func TestAnswersThatAreNoFramesAreRefused(t *testing.T) {
	many := make([]abi.Pair, abi.MaxHeaders+1)
	for name, r := range map[string]*abi.Response{
		"none": nil, "no status": {}, "status 99": {Status: 99}, "status 600": {Status: 600},
		"large body": {Status: 200, Body: make([]byte, abi.MaxBody+1)}, "many headers": {Status: 200, Header: many},
	} {
		if fits(r) == nil {
			t.Errorf("%s is passed on", name)
		}
	}
	if err := fits(&abi.Response{Status: 200, Header: many[1:]}); err != nil {
		t.Error(err)
	}
}
