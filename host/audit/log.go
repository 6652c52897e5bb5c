package audit

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batchSize   = 256
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 10 * time.Second
	drainPeriod = 5 * time.Second
)

// Record is one entry of a log. Its methods may be called from several goroutines
// at once.
type Record interface {
	// Document returns the record as JSON values. It is called once for each
	// destination. The result must not be shared, because labels are added to it and
	// masked values are erased.
	Document() map[string]any
	// Refusal returns the record to write instead of this one if a queue is full and
	// the log then denies. It returns nil if the recorded effect may happen without a
	// record.
	Refusal() Record
}

// Stream describes the records of one Log.
type Stream struct {
	Name string // for log lines: "decision log"
	// Scope is the OpenTelemetry instrumentation scope, Event the name of each
	// record's event.
	Scope, Event string
	// Attributes are copied out of a record's document into OpenTelemetry's
	// attributes, unless the mask has erased them.
	Attributes []Attribute
	// Mask is the default mask, as JSON Pointers.
	Mask []string
}

// Attribute is an OpenTelemetry attribute and the path of its value in a record's
// document.
type Attribute struct {
	Key  string
	Path []string
}

// Status counts what happened to the offered records.
type Status struct {
	Denied uint64 `json:"denied"` // effects refused because they could not be recorded
	// Lost counts the records that no destination will ever have, if there is a fallback,
	// and for the audit.
	Lost         uint64                       `json:"lost,omitempty"`
	Destinations map[string]DestinationStatus `json:"destinations"` // by their names in the configuration
}

// DestinationStatus counts records on their way to one destination.
type DestinationStatus struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"`           // because the queue was full, the destination refused them or the log was closed first
	Waiting int    `json:"waiting"`           // including the records being written
	Problem string `json:"problem,omitempty"` // why the latest were not written
}

// Log delivers records to every destination, and to the fallback those that no other
// destination takes. No destination waits for another. It is safe for concurrent use.
type Log struct {
	destinations []*destination // without the fallback
	fallback     *destination   // nil: none
	follows      bool           // each record has a receipt
	denies       bool
	denied, lost atomic.Uint64
	first        *group // the destinations
	last         *group // the fallback, which gets records until the others have ended
}

// group is destinations that end together.
type group struct {
	ending, abort context.Context
	end           context.CancelFunc // ends reading the queues once they are empty
	stop          context.CancelFunc // ends writing
	done          sync.WaitGroup
}

func newGroup() *group {
	g := &group{}
	g.ending, g.end = context.WithCancel(context.Background())
	g.abort, g.stop = context.WithCancel(context.Background())
	return g
}

// close writes what waits, for at most drainPeriod.
func (g *group) close() {
	g.end()
	defer time.AfterFunc(drainPeriod, g.stop).Stop()
	g.done.Wait()
	g.stop()
}

// Open opens the destinations of cfg, which has passed Check and has at least one. Each
// record gets the labels and those of cfg; if both have a label, the one of cfg is used.
func Open(cfg *Config, stream Stream, labels map[string]string, log *slog.Logger) (*Log, error) {
	sinks, err := cfg.open(&stream)
	if err != nil {
		return nil, err
	}
	return start(cfg, &stream, sinks, labels, log), nil
}

func start(cfg *Config, stream *Stream, sinks map[string]sink, labels map[string]string, log *slog.Logger) *Log {
	all := map[string]string{}
	maps.Copy(all, labels)
	maps.Copy(all, cfg.Labels)
	l := &Log{denies: cfg.WhenFull == "deny", follows: cfg.Fallback != "", first: newGroup(), last: newGroup()}
	for name, s := range sinks {
		size := cfg.queueSize()
		d := &destination{
			name: name, sink: s, size: int64(size), queue: make(chan item, outcomeRoom*size), labels: all, mask: cfg.mask(stream.Mask),
			stream: stream.Name, log: log.With("destination", name), lastRetry: lastRetry, confirms: true,
		}
		if p, ok := s.(profiled); ok {
			d.lastRetry, d.confirms = cmp.Or(p.profile().lastRetry, lastRetry), !p.profile().unconfirmed
		}
		g := l.first
		if name == cfg.Fallback {
			l.fallback, g = d, l.last
		} else {
			l.destinations = append(l.destinations, d)
		}
		g.done.Go(func() { d.run(g.ending, g.abort) })
	}
	slices.SortFunc(l.destinations, func(a, b *destination) int { return strings.Compare(a.name, b.name) })
	return l
}

// Offer queues r for every destination whose queue has room; it does not wait. It returns
// false if r is refused because one of them has no room; the others then get r's Refusal.
func (l *Log) Offer(r Record) bool {
	room, full, stands := [maxDestinations]bool{}, false, true
	for i, d := range l.destinations {
		room[i] = d.reserve(d.size)
		full = full || !room[i]
	}
	if full && l.denies {
		if refusal := r.Refusal(); refusal != nil {
			l.denied.Add(1)
			r, stands = refusal, false
		}
	}
	l.send(r, room, l.follows, false)
	return stands
}

// await waits until one destination has the record of c for certain, or none can take it
// now. The error is then why; the record remains queued, and may still arrive.
func (l *Log) await(ctx context.Context, c *receipt) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.has() {
		return nil
	}
	return errors.Join(append([]error{errors.New("no destination takes the record")}, l.problems()...)...)
}

// outcomeRoom is how many times the usual size of a queue the outcomes of effects may fill,
// whose intents were delivered.
const outcomeRoom = 4

// queue queues r and follows it. room is how many times the size of the queues r may fill.
func (l *Log) queue(r Record, room int64, waits bool) *receipt {
	has := [maxDestinations]bool{}
	for i, d := range l.destinations {
		has[i] = d.reserve(room * d.size)
	}
	return l.send(r, has, true, waits)
}

// send queues r for the destinations that have room.
func (l *Log) send(r Record, room [maxDestinations]bool, follow, waits bool) *receipt {
	var c *receipt
	if follow {
		n := len(l.destinations)
		c = &receipt{log: l, record: r, trying: n, keeping: n}
		if waits {
			c.done = make(chan struct{})
		}
	}
	for i, d := range l.destinations {
		// A destination that fails at the moment keeps nobody waiting.
		down := waits && d.problem.Load() != nil
		if room[i] {
			d.queue <- item{record: r, receipt: c, told: down}
		}
		if c != nil && (down || !room[i]) {
			c.failed()
		}
		if c != nil && !room[i] {
			c.dropped()
		}
	}
	if len(l.destinations) == 0 && c != nil {
		c.failed()
	}
	return c
}

// problems returns why the destinations cannot be written now.
func (l *Log) problems() (list []error) {
	for _, d := range l.all() {
		if p := d.problem.Load(); p != nil {
			list = append(list, errors.New(d.name+": "+*p))
		}
	}
	return list
}

// Blind returns why no destination that confirms what it takes can be written now, nil if
// one can.
func (l *Log) Blind() error {
	for _, d := range l.all() {
		if d.confirms && d.problem.Load() == nil {
			return nil
		}
	}
	return errors.Join(l.problems()...)
}

func (l *Log) all() []*destination {
	if l.fallback == nil {
		return l.destinations
	}
	return append(slices.Clone(l.destinations), l.fallback)
}

// Close writes the waiting records, for at most 5 s, and then, for at most 5 s, those that
// the fallback has got; it closes the destinations. Offer must not be called afterwards.
func (l *Log) Close() error {
	l.first.close()
	l.last.close()
	var errs []error
	for _, d := range l.all() {
		errs = append(errs, d.sink.Close())
	}
	return errors.Join(errs...)
}

// Status returns the counts so far.
func (l *Log) Status() *Status {
	s := &Status{Denied: l.denied.Load(), Lost: l.lost.Load(), Destinations: map[string]DestinationStatus{}}
	for _, d := range l.all() {
		s.Destinations[d.name] = d.status()
	}
	return s
}
