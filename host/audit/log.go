package audit

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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
	Denied       uint64                       `json:"denied"`       // effects refused because a queue was full
	Destinations map[string]DestinationStatus `json:"destinations"` // by their names in the configuration
}

// DestinationStatus counts records on their way to one destination.
type DestinationStatus struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"`           // because the queue was full, the destination refused them or the log was closed first
	Waiting int    `json:"waiting"`           // including the records being written
	Problem string `json:"problem,omitempty"` // why the latest were not written
}

// Log delivers records to every destination. No destination waits for another. It is safe
// for concurrent use.
type Log struct {
	destinations []*destination
	denies       bool
	denied       atomic.Uint64
	ending       context.CancelFunc // ends reading the queues once they are empty
	abort        context.CancelFunc // ends writing
	done         sync.WaitGroup
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
	l := &Log{denies: cfg.WhenFull == "deny"}
	var ending, abort context.Context
	ending, l.ending = context.WithCancel(context.Background())
	abort, l.abort = context.WithCancel(context.Background())
	for name, s := range sinks {
		d := &destination{
			name: name, sink: s, queue: make(chan Record, cfg.queueSize()), labels: all, mask: cfg.mask(stream.Mask),
			stream: stream.Name, log: log.With("destination", name),
		}
		l.destinations = append(l.destinations, d)
		l.done.Go(func() { d.run(ending, abort) })
	}
	return l
}

// Offer queues r for every destination whose queue has room; it does not wait. It returns
// false if r is refused because one of them has no room; the others then get r's Refusal.
func (l *Log) Offer(r Record) bool {
	room, full, stands := [maxDestinations]bool{}, false, true
	for i, d := range l.destinations {
		room[i] = d.reserve()
		full = full || !room[i]
	}
	if full && l.denies {
		if refusal := r.Refusal(); refusal != nil {
			l.denied.Add(1)
			r, stands = refusal, false
		}
	}
	for i, d := range l.destinations {
		if room[i] {
			d.queue <- r
		}
	}
	return stands
}

// Close writes the waiting records, for at most 5 s, and closes the destinations. Offer
// must not be called afterwards.
func (l *Log) Close() error {
	l.ending()
	defer time.AfterFunc(drainPeriod, l.abort).Stop()
	l.done.Wait()
	l.abort()
	var errs []error
	for _, d := range l.destinations {
		errs = append(errs, d.sink.Close())
	}
	return errors.Join(errs...)
}

// Status returns the counts so far.
func (l *Log) Status() *Status {
	s := &Status{Denied: l.denied.Load(), Destinations: map[string]DestinationStatus{}}
	for _, d := range l.destinations {
		s.Destinations[d.name] = d.status()
	}
	return s
}

// destination writes records from its own queue.
type destination struct {
	name   string
	sink   sink
	queue  chan Record
	labels map[string]string
	mask   mask
	stream string
	log    *slog.Logger

	waiting          atomic.Int64 // reserved room, at most the size of the queue
	written, dropped atomic.Uint64
	problem          atomic.Pointer[string]
}

// reserve reserves room for one record, which must then be queued. It returns false if
// the queue is full.
func (d *destination) reserve() bool {
	if d.waiting.Add(1) <= int64(cap(d.queue)) {
		return true
	}
	d.waiting.Add(-1)
	d.dropped.Add(1)
	return false
}

func (d *destination) run(ending, abort context.Context) {
	batch := make([]map[string]any, 0, batchSize)
	for {
		select {
		case r := <-d.queue:
			batch = d.more(append(batch[:0], d.document(r)))
			d.write(ending, abort, batch)
			d.waiting.Add(-int64(len(batch)))
			clear(batch)
		case <-ending.Done():
			if len(d.queue) == 0 {
				return
			}
		}
	}
}

// more adds the records that are already queued.
func (d *destination) more(batch []map[string]any) []map[string]any {
	for len(batch) < batchSize {
		select {
		case r := <-d.queue:
			batch = append(batch, d.document(r))
		default:
			return batch
		}
	}
	return batch
}

// document returns r with the labels and without masked values.
func (d *destination) document(r Record) map[string]any {
	doc, labels := r.Document(), map[string]any{}
	for k, v := range d.labels {
		labels[k] = v
	}
	doc["labels"] = labels
	if erased := d.mask.erase(doc); len(erased) > 0 {
		list := make([]any, len(erased))
		for i, pointer := range erased {
			list[i] = pointer
		}
		doc["erased"] = list
	}
	return doc
}

// write writes the batch to the sink, with any number of attempts, until abort is done. A
// batch that is refused as a whole is sent again in halves, so that one invalid record
// does not cost the others.
func (d *destination) write(ending, abort context.Context, batch []map[string]any) {
	stop := ending.Done()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := d.sink.Write(abort, batch)
		if err == nil {
			d.note(nil)
			d.written.Add(uint64(len(batch)))
			return
		}
		r := (*refused)(nil)
		half := len(batch) / 2
		if errors.As(err, &r) && r.whole && half > 0 {
			d.write(ending, abort, batch[:half])
			d.write(ending, abort, batch[half:])
			return
		}
		d.note(err)
		if r != nil {
			d.dropped.Add(uint64(r.records))
			d.written.Add(uint64(len(batch) - r.records))
			return
		}
		if l := (*later)(nil); errors.As(err, &l) {
			wait = max(wait, l.after)
		}
		select {
		case <-abort.Done():
			d.dropped.Add(uint64(len(batch)))
			return
		case <-stop: // one last attempt, since there may be no time for another
			stop, wait = nil, firstRetry
		case <-time.After(wait):
		}
	}
}

// note records the outcome of the latest attempt, and logs when it changes.
func (d *destination) note(err error) {
	if err == nil {
		if d.problem.Swap(nil) != nil {
			d.log.Info(d.stream + " can be written again")
		}
		return
	}
	text := err.Error()
	if old := d.problem.Swap(&text); old == nil || *old != text {
		d.log.Error(d.stream+" cannot be written", "error", err)
	}
}

func (d *destination) status() DestinationStatus {
	s := DestinationStatus{Written: d.written.Load(), Dropped: d.dropped.Load(), Waiting: int(d.waiting.Load())}
	if p := d.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}
