package conformance

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

var talk = request{target: "/talk", socket: true}

func text(s string) message { return message{data: s} }

var sessions = []promise{
	{"MessagesCrossWholeAndInOrder", func(t *testing.T, s *subject) {
		c, wait, _ := s.world(t).session(t, talk)
		for _, m := range []message{
			text("grüße"), text(""), {binary: true, data: "\x00\xff"}, {binary: true},
			text(strings.Repeat("t", 70_000)), {binary: true, data: strings.Repeat("b", 1<<20)}, text("short again"),
		} {
			if got := c.say(t, m); got != m {
				t.Errorf("%s comes back as %s", short(m), short(got))
			}
		}
		c.tell(t, text("bye"))
		if e := wait(); !e.accepted || e.err != nil || e.code != host.CloseNormal {
			t.Errorf("ended as %+v", e)
		}
	}},
	{"ASessionKeepsItsState", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		for n := 101; n < 104; n++ {
			want(t, "the count", c.say(t, text("count")), text(fmt.Sprint(n)))
		}
		other, _, _ := s.shared.session(t, talk)
		want(t, "the count of another session", other.say(t, text("count")), text("101"))
	}},
	{"WaitingEndsWithItsTimeOut", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		for range 2 {
			want(t, "the outcome", c.say(t, text("idle 10")), text("idle timed out"))
		}
		want(t, "what follows", c.say(t, text("more")), text("more"))
	}},
	{"AClientThatLeavesEndsTheSession", func(t *testing.T, s *subject) {
		c, wait, _ := s.world(t).session(t, talk)
		c.say(t, text("hello"))
		c.leave()
		if e := wait(); !e.accepted || e.err != nil {
			t.Errorf("ended as %+v", e)
		}
	}},
	{"ThePluginClosesWithCodeAndReason", func(t *testing.T, s *subject) {
		w := s.world(t)
		long := strings.Repeat("ü", 100)
		for _, c := range []struct{ code, say, reason string }{
			{"1000", "done", "done"}, {"4000", "", ""}, {"4399", long, long[:120]}, {"4999", "a" + long, "a" + long[:118]},
		} {
			client, wait, _ := w.session(t, talk)
			client.tell(t, text("close "+c.code+" "+c.say))
			if e := wait(); !e.accepted || e.err != nil || fmt.Sprint(e.code) != c.code || e.reason != c.reason {
				t.Errorf("closed with %s %q: %+v", c.code, c.say, e)
			}
		}
	}},
	{"ACloseCodeOfTheHostIsInvalidAndTheSessionGoesOn", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		for _, code := range []string{"1001", "1011", "4401", "4599", "5000", "0"} {
			want(t, "close "+code, c.say(t, text("close "+code+" logged out")), text("close invalid"))
		}
	}},
	{"TextThatIsNotUTF8IsInvalidAndTheSessionGoesOn", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		want(t, "the outcome", c.say(t, text("garble")), text("garble invalid"))
		want(t, "what follows", c.say(t, text("more")), text("more"))
	}},
	{"AMessageOf8MiBIsSent", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		if got := c.say(t, text(fmt.Sprint("big ", 8<<20))); !got.binary || len(got.data) != 8<<20 {
			t.Errorf("%s", short(got))
		}
	}},
	{"ASessionIsRefusedBeforeItIsAccepted", func(t *testing.T, s *subject) {
		_, wait, _ := s.world(t).session(t, request{target: "/talk?refuse=409", socket: true})
		if e := wait(); e.accepted || statusOf(e.err) != 409 {
			t.Errorf("ended as %+v", e)
		}
	}},
	{"AnErrorClosesTheSessionAsItsStatusSays", func(t *testing.T, s *subject) {
		w := s.world(t)
		for status, code := range map[string]int{"404": host.CloseRefused, "500": host.CloseFailed, "503": host.CloseFailed} {
			c, wait, _ := w.session(t, talk)
			c.tell(t, text("fail "+status))
			if e := wait(); !e.accepted || e.code != code || e.reason != "failure was asked for" {
				t.Errorf("fail %s: %+v", status, e)
			}
		}
	}},
	{"ALogoutEndsASessionThatWaits", func(t *testing.T, s *subject) {
		auth := &authority{}
		c, wait, stop := s.world(t).session(t, request{target: "/talk", socket: true, authority: auth})
		c.say(t, text("hello"))
		auth.lose(host.ErrLoggedOut)
		stop(host.ErrLoggedOut)
		if e := wait(); !e.accepted || !errors.Is(e.err, host.ErrLoggedOut) || e.code != host.CloseUnauthenticated {
			t.Errorf("ended as %+v", e)
		}
	}},
	{"EventsAreSentInOrder", func(t *testing.T, s *subject) {
		c, wait, _ := s.world(t).session(t, request{target: "/events?n=3"})
		for i := range 3 {
			want(t, "the event", c.hear(t), text(fmt.Sprint("event ", i)))
		}
		if e := wait(); !e.accepted || e.err != nil {
			t.Errorf("ended as %+v", e)
		}
	}},
}

// opened is what became of the streams that a promise opened.
type opened struct{ opened, spliced, closed atomic.Int32 }

func (s *subject) streams(t *testing.T) (*world, *opened) {
	w, o := s.world(t), &opened{}
	w.exec.open = func() (capability.Stream, error) {
		o.opened.Add(1)
		return stream{&o.closed, &o.spliced}, nil
	}
	return w, o
}

func splice(query string) request { return request{target: "/splice" + query, socket: true} }

var spliced = []promise{
	{"ASplicedClientIsTheStreams", func(t *testing.T, s *subject) {
		w, o := s.streams(t)
		c, wait, _ := w.session(t, splice("?open=3"))
		want(t, "what the client hears", c.hear(t), message{true, "from the stream"})
		if e := wait(); !e.accepted || e.err != nil || e.reason != "the stream ended" {
			t.Errorf("ended as %+v", e)
		}
		want(t, "the subprotocols", fmt.Sprint(c.protocols), "[stream.v1]")
		want(t, "streams opened", o.opened.Load(), 3)
		want(t, "streams spliced", o.spliced.Load(), 1)
		if o.closed.Load() < 3 {
			t.Errorf("%d of 3 streams were closed", o.closed.Load())
		}
	}},
	{"AfterSpliceThePluginSaysNothing", func(t *testing.T, s *subject) {
		w, _ := s.streams(t)
		c, wait, _ := w.session(t, splice("?after=1"))
		want(t, "what the client hears", c.hear(t), message{true, "from the stream"})
		wait()
		if got := atLevel(w.log.take(t), "WARN"); len(got) != 1 || got[0] != "after splice: closed" {
			t.Errorf("the plugin saw %q", got)
		}
	}},
	{"AStreamThatIsNotSplicedIsClosed", func(t *testing.T, s *subject) {
		w, o := s.streams(t)
		_, wait, _ := w.session(t, splice("?open=2&leave=1"))
		if e := wait(); e.accepted || statusOf(e.err) != 409 {
			t.Errorf("ended as %+v", e)
		}
		want(t, "streams closed", o.closed.Load(), 2)
	}},
	{"ARefusedStreamRefusesTheSession", func(t *testing.T, s *subject) {
		w, o := s.streams(t)
		w.allow.Store(false)
		_, wait, _ := w.session(t, splice(""))
		if e := wait(); e.accepted || statusOf(e.err) != 403 {
			t.Errorf("ended as %+v", e)
		}
		want(t, "streams opened", o.opened.Load(), 0)
	}},
	{"AnUnknownStreamIsInvalid", func(t *testing.T, s *subject) {
		w, o := s.streams(t)
		_, wait, _ := w.session(t, splice("?stream=7"))
		if e := wait(); e.accepted || as[*host.Error](t, e.err).Message != "splice invalid" {
			t.Errorf("ended as %+v", e)
		}
		want(t, "streams closed", o.closed.Load(), 1)
	}},
	{"SpliceAfterNextIsRefused", func(t *testing.T, s *subject) {
		c, _, _ := s.world(t).session(t, talk)
		got := c.say(t, text("splice"))
		// There is no stream either, which the host may say first.
		if got != text("splice refused") && got != text("splice invalid") {
			t.Errorf("%v", got)
		}
	}},
	{"ASeventeenthStreamIs429", func(t *testing.T, s *subject) {
		w, o := s.streams(t)
		_, wait, _ := w.session(t, splice("?open=17"))
		if e := wait(); e.accepted || statusOf(e.err) != 429 {
			t.Errorf("ended as %+v", e)
		}
		want(t, "streams opened", o.opened.Load(), 16)
		want(t, "streams closed", o.closed.Load(), 16)
	}},
}
