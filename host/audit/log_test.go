package audit

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// decisions is the stream of these tests, in the shape of the host's own.
var decisions = Stream{
	Name: "decision log", Scope: "github.com/seed-a3fb47d6/bulkhead/decisions", Event: "bulkhead.decision",
	Attributes: []Attribute{
		{"bulkhead.decision.id", []string{"decision_id"}}, {"user.id", []string{"input", "principal", "user"}},
		{"bulkhead.action", []string{"input", "route", "action"}}, {"bulkhead.allow", []string{"result", "allow"}},
		{"bulkhead.reason", []string{"result", "reason", "code"}}, {"bulkhead.policy.digest", []string{"custom", "policy"}},
		{"bulkhead.plugin.digest", []string{"custom", "plugin", "digest"}},
	},
	Mask: []string{"/input/principal/claims", "/input/principal/login/id"},
}

// entry is a record under a test's control.
type entry struct {
	id      string
	refusal Record
}

func (e entry) Document() map[string]any { return document{"decision_id": e.id} }
func (e entry) Refusal() Record          { return e.refusal }

// sinkFunc is a destination under a test's control.
type sinkFunc func(ctx context.Context, records []map[string]any) error

func (s sinkFunc) Write(ctx context.Context, records []map[string]any) error { return s(ctx, records) }

func (s sinkFunc) Close() error { return nil }

// offered offers n records to a log with these sinks.
func offered(n int, sinks map[string]sink) *Log {
	l := start(&Config{}, &decisions, sinks, nil, slog.New(slog.DiscardHandler))
	for i := range n {
		l.Offer(entry{id: strconv.Itoa(i)})
	}
	return l
}

func TestClosingWritesToAllDestinationsAtOnceAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := sinkFunc(func(ctx context.Context, _ []map[string]any) error { <-ctx.Done(); return ctx.Err() })
		down := sinkFunc(func(context.Context, []map[string]any) error { return errors.New("down") })
		l := offered(300, map[string]sink{
			"file": sinkFunc(func(context.Context, []map[string]any) error { return nil }), "http": stuck, "otlp": down,
		})
		start := time.Now()
		if err := l.Close(); err != nil || time.Since(start) != drainPeriod {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s := l.Status().Destinations; s["file"] != (DestinationStatus{Written: 300}) || s["http"].Dropped != 300 || s["otlp"].Dropped != 300 {
			t.Errorf("%+v", s)
		}
	})
}

// What no other destination has taken when a log is closed is the fallback's.
func TestClosingGivesTheFallbackWhatIsLeft(t *testing.T) {
	stuck := sinkFunc(func(ctx context.Context, _ []map[string]any) error { <-ctx.Done(); return ctx.Err() })
	down := sinkFunc(func(context.Context, []map[string]any) error { return errors.New("down") })
	for name, other := range map[string]sink{"stuck": stuck, "down": down} {
		synctest.Test(t, func(t *testing.T) {
			var got atomic.Int64
			file := sinkFunc(func(_ context.Context, records []map[string]any) error { got.Add(int64(len(records))); return nil })
			l := start(&Config{Fallback: "file"}, &decisions, map[string]sink{"http": other, "file": file}, nil, slog.New(slog.DiscardHandler))
			for i := range 300 {
				l.Offer(entry{id: strconv.Itoa(i)})
			}
			if err := l.Close(); err != nil || got.Load() != 300 || l.Status().Lost != 0 {
				t.Errorf("%s: the fallback has %d records, %d are lost, %v", name, got.Load(), l.Status().Lost, err)
			}
		})
	}
}

func TestADestinationIsAskedAgainWhenItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		l := offered(1, map[string]sink{"http": sinkFunc(func(context.Context, []map[string]any) error {
			at = append(at, time.Since(start))
			switch len(at) {
			case 1:
				return &later{after: 30 * time.Second, err: errors.New("busy")}
			case 2, 3:
				return errors.New("down")
			}
			return nil
		})})
		time.Sleep(time.Minute)
		if s := l.Status().Destinations["http"]; s != (DestinationStatus{Written: 1}) {
			t.Errorf("%+v", s)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		s := time.Second
		if want := []time.Duration{0, 30 * s, 40 * s, 50 * s}; !reflect.DeepEqual(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
	})
}

// A destination that asked for a long wait gets one more attempt when the host
// stops.
func TestAStopDoesNotWaitForTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		l := offered(1000, map[string]sink{"http": sinkFunc(func(context.Context, []map[string]any) error {
			if !up.Load() {
				return &later{after: time.Hour, err: errors.New("busy")}
			}
			return nil
		})})
		time.Sleep(time.Minute)
		up.Store(true)
		start := time.Now()
		if err := l.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s := l.Status().Destinations["http"]; s != (DestinationStatus{Written: 1000}) {
			t.Errorf("%+v", s)
		}
	})
}

// What is refused is refused for good; the others of its batch are written.
func TestABadRecordTakesNoOthersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := map[string]bool{}
		l := offered(100, map[string]sink{"http": sinkFunc(func(_ context.Context, records []map[string]any) error {
			for _, r := range records {
				if r["decision_id"] == "42" {
					return &refused{records: len(records), whole: true, err: errors.New("it answers 400 Bad Request")}
				}
			}
			for _, r := range records {
				kept[r["decision_id"].(string)] = true
			}
			return nil
		})})
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s := l.Status().Destinations["http"]; s.Written != 99 || s.Dropped != 1 || s.Waiting != 0 || len(kept) != 99 || kept["42"] {
			t.Errorf("%+v, kept %d", s, len(kept))
		}
	})
}

// With whenFull: deny nothing changes without a record everywhere, whichever
// destination's queue is full.
func TestEveryDestinationsFullLogCounts(t *testing.T) {
	for full := range 4 { // 3: none is
		for name, c := range map[string]struct {
			denies  bool
			refusal Record
			stands  bool
		}{
			"an effect": {true, entry{id: "refusal"}, full == 3}, "a reading": {true, nil, true}, "an effect that may be lost": {false, entry{id: "refusal"}, true},
		} {
			l := &Log{denies: c.denies}
			for i := range 3 {
				d := &destination{queue: make(chan item, 2), size: 2, log: slog.New(slog.DiscardHandler)}
				if i == full {
					d.waiting.Store(2)
				}
				l.destinations = append(l.destinations, d)
			}
			if stands := l.Offer(entry{id: "record", refusal: c.refusal}); stands != c.stands || (l.denied.Load() == 0) != c.stands {
				t.Errorf("%s, destination %d is full: it stands: %v, %d denied", name, full, stands, l.denied.Load())
			}
			want := "record"
			if !c.stands {
				want = "refusal"
			}
			for i, d := range l.destinations {
				if i == full {
					if len(d.queue) != 0 || d.dropped.Load() != 1 || d.waiting.Load() != 2 {
						t.Errorf("%s: the full one has %d, dropped %d, %d wait", name, len(d.queue), d.dropped.Load(), d.waiting.Load())
					}
					continue
				}
				if got := <-d.queue; got.record.(entry).id != want || d.waiting.Load() != 1 {
					t.Errorf("%s, destination %d of which %d is full has %+v", name, i, full, got)
				}
			}
		}
	}
}

// Labels of the configuration win over the host's, and a mask of the
// configuration replaces the stream's.
func TestARecordHasLabelsAndWhatTheMaskLeaves(t *testing.T) {
	mask := []string{"/decision_id", "/labels/site", "/nowhere"}
	for name, c := range map[string]struct {
		cfg  Config
		want map[string]any
	}{
		"the stream's mask": {Config{}, document{"decision_id": "0", "labels": document{"app": "x", "site": "east"}}},
		"a mask": {Config{Mask: &mask, Labels: map[string]string{"app": "y"}},
			document{"labels": document{"app": "y"}, "erased": []any{"/decision_id", "/labels/site"}}},
	} {
		var got []map[string]any
		l := start(&c.cfg, &decisions, map[string]sink{"file": sinkFunc(func(_ context.Context, records []map[string]any) error {
			got = append(got, records[0])
			return nil
		})}, map[string]string{"app": "x", "site": "east"}, slog.New(slog.DiscardHandler))
		l.Offer(entry{id: "0"})
		if err := l.Close(); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
