package session_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [
    {"name": "run", "kind": "socket", "method": "GET", "path": "/", "action": "read"},
    {"name": "feed", "kind": "events", "method": "GET", "path": "/feed", "action": "feed.read"}
  ],
  "capabilities": [{"name": "exec", "reason": "test"}]
}`

// steps is what the handler of the test at hand does.
var steps func(*sdk.Request, *session.Session) error

func init() {
	session.Handle("run", func(r *sdk.Request, s *session.Session) error { return steps(r, s) })
	session.Handle("feed", func(_ *sdk.Request, s *session.Session) error { return s.SendText("event") })
}

func run(t *testing.T, f func(*sdk.Request, *session.Session) error, messages ...abi.Message) *sdktest.Outcome {
	t.Helper()
	steps = f
	h := sdktest.New(t, manifest)
	h.Capability("exec", func(*abi.Request) (*abi.Response, error) { return &abi.Response{Status: 200}, nil })
	return h.Session(sdktest.Request{Path: "/"}, messages...)
}

func TestNextTellsMessagesTimeoutsAndTheEndApart(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	var got []string
	run(t, func(_ *sdk.Request, s *session.Session) error {
		for range 6 {
			m, err := s.Next(time.Minute)
			got = append(got, fmt.Sprint(m.Kind, len(m.Data), err))
		}
		return nil
	}, sdktest.Text("hi"), sdktest.Binary(nil), sdktest.Idle(), sdktest.Text(long), sdktest.Text("short"))
	want := fmt.Sprint([]string{
		"1 2 <nil>", "2 0 <nil>", fmt.Sprint(0, 0, session.ErrTimeout), "1 1048576 <nil>", "1 5 <nil>", fmt.Sprint(0, 0, session.ErrClosed),
	})
	if fmt.Sprint(got) != want {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

func TestARefusalBeforeTheFirstCallIsPlainHTTP(t *testing.T) {
	out := run(t, func(*sdk.Request, *session.Session) error { return sdk.Errorf(409, "not now") })
	if out.Accepted || out.Response.Status != 409 || out.Response.Err.Message != "not now" {
		t.Errorf("got %+v", out)
	}
}

func TestAfterCloseNothingIsSent(t *testing.T) {
	var after, again error
	out := run(t, func(_ *sdk.Request, s *session.Session) error {
		if err := s.Close(4001, strings.Repeat("ü", 100)); err != nil {
			return err
		}
		after, again = s.SendText("late"), s.Close(1000, "")
		return nil
	})
	if !errors.Is(after, session.ErrClosed) || !errors.Is(again, session.ErrClosed) || len(out.Sent) != 0 {
		t.Errorf("after close: %v, %v, sent %q", after, again, out.Sent)
	}
	if out.CloseCode != 4001 || out.CloseReason != strings.Repeat("ü", 60) {
		t.Errorf("closed with %d %q", out.CloseCode, out.CloseReason)
	}
}

func TestWhatCannotBeSentIsRefusedByTheSDK(t *testing.T) {
	out := run(t, func(_ *sdk.Request, s *session.Session) error {
		for what, err := range map[string]error{
			"close message": s.Send(session.Message{Kind: abi.MessageClose}),
			"too long":      s.Send(session.Message{Kind: session.Binary, Data: make([]byte, abi.MaxBody+1)}),
			"close code":    s.Close(1006, ""),
			"small code":    s.Close(0, ""),
			"large code":    s.Close(5000, ""),
			"huge code":     s.Close(1<<32+1000, ""),
			"a host's code": s.Close(4401, "logged out"),
			"stream":        s.Splice(1),
		} {
			if err == nil {
				t.Errorf("%s was accepted", what)
			}
		}
		return nil
	})
	if out.Accepted {
		t.Errorf("got %+v", out)
	}
}

func TestSpliceIsTheLastWord(t *testing.T) {
	open := func() (sdk.Stream, error) {
		return exec.Open(exec.Target{Cluster: "c", Namespace: "n", Pod: "p", Command: []string{"sh"}})
	}
	var late error
	out := run(t, func(_ *sdk.Request, s *session.Session) error {
		if _, err := open(); err != nil {
			return err
		}
		stream, err := open()
		if err != nil {
			return err
		}
		if err := s.Splice(stream); err != nil {
			return err
		}
		late = s.SendText("late")
		return nil
	})
	if out.Spliced != 2 || !errors.Is(late, session.ErrClosed) {
		t.Errorf("spliced %d, then %v", out.Spliced, late)
	}
	out = run(t, func(_ *sdk.Request, s *session.Session) error {
		stream, err := open()
		if err != nil {
			return err
		}
		if _, err := s.Next(0); err != nil {
			return err
		}
		return s.Splice(stream)
	}, sdktest.Text("typed too early"))
	if out.Spliced != 0 || out.Response == nil || out.Response.Status != 500 {
		t.Errorf("splice after next: %+v", out)
	}
}

func TestAnEventRouteSendsEvents(t *testing.T) {
	out := sdktest.New(t, manifest).Session(sdktest.Request{Path: "/feed"})
	if len(out.Sent) != 1 || string(out.Sent[0].Data) != "event" {
		t.Errorf("got %+v", out)
	}
}

func TestDoneKeepsRealErrors(t *testing.T) {
	other := errors.New("other")
	if session.Done(session.ErrClosed) != nil || session.Done(other) != other || session.Done(nil) != nil {
		t.Error("Done changed the wrong error")
	}
}

func TestMessagesEndWithTheSession(t *testing.T) {
	var got []string
	run(t, func(_ *sdk.Request, s *session.Session) error {
		for m, err := range s.Messages(time.Minute) {
			got = append(got, fmt.Sprint(string(m.Data), err))
		}
		return nil
	}, sdktest.Text("a"), sdktest.Idle(), sdktest.Text("b"))
	if want := fmt.Sprint([]string{"a<nil>", fmt.Sprint(session.ErrTimeout), "b<nil>"}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	left := 0
	run(t, func(_ *sdk.Request, s *session.Session) error {
		for range s.Messages(0) {
			left++
			break
		}
		return nil
	}, sdktest.Text("a"), sdktest.Text("b"))
	if left != 1 {
		t.Errorf("the loop ran %d times after it was left", left)
	}
}

func TestSendEachSendsValuesUntilOneIsAnError(t *testing.T) {
	failed := sdk.Errorf(409, "no more")
	values := func(last error) iter.Seq2[map[string]int, error] {
		return func(yield func(map[string]int, error) bool) {
			_ = yield(map[string]int{"n": 1}, nil) && yield(map[string]int{"n": 2}, nil) && last != nil && yield(nil, last)
		}
	}
	for _, want := range []error{nil, failed} {
		var err error
		out := run(t, func(_ *sdk.Request, s *session.Session) error {
			err = session.SendEach(s, values(want))
			return nil
		})
		if err != want || len(out.Sent) != 2 || string(out.Sent[1].Data) != `{"n":2}` || out.Sent[1].Kind != session.Text {
			t.Errorf("sent %+v, %v", out.Sent, err)
		}
	}
	run(t, func(_ *sdk.Request, s *session.Session) error {
		if err := s.Close(1000, ""); err != nil {
			return err
		}
		if err := session.SendEach(s, values(failed)); err != nil {
			t.Errorf("after the session: %v", err)
		}
		return nil
	})
}
