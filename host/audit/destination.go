package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// item is one record in the queue of a destination.
type item struct {
	record  Record
	receipt *receipt // nil: the record is not followed
	told    bool     // the receipt has heard about this destination's first attempt
}

// destination writes records from its own queue.
type destination struct {
	name      string
	sink      sink
	size      int64 // of the queue, for records that are not outcomes
	queue     chan item
	labels    map[string]string
	mask      mask
	stream    string
	log       *slog.Logger
	lastRetry time.Duration
	confirms  bool // what it has written is there

	waiting          atomic.Int64 // reserved room
	written, dropped atomic.Uint64
	problem          atomic.Pointer[string]
}

// reserve reserves room for one record, which must then be queued. It returns false if
// limit records wait already.
func (d *destination) reserve(limit int64) bool {
	if d.waiting.Add(1) <= limit {
		return true
	}
	d.waiting.Add(-1)
	d.dropped.Add(1)
	return false
}

// batch is records on their way to a sink, with their documents.
type batch struct {
	items     []item
	documents []map[string]any
}

func (b *batch) add(d *destination, i item) {
	b.items, b.documents = append(b.items, i), append(b.documents, d.document(i.record))
}

func (b *batch) part(from, to int) *batch { return &batch{b.items[from:to], b.documents[from:to]} }

// each calls f with the receipt of each record that has one.
func (b *batch) each(f func(*item)) {
	for i := range b.items {
		if b.items[i].receipt != nil {
			f(&b.items[i])
		}
	}
}

func (b *batch) took(confirmed bool) {
	b.each(func(i *item) { i.receipt.took(confirmed, i.told) })
}

func (b *batch) failed() {
	b.each(func(i *item) {
		if !i.told {
			i.told = true
			i.receipt.failed()
		}
	})
}

func (b *batch) dropped() {
	b.failed()
	b.each(func(i *item) { i.receipt.dropped() })
}

func (d *destination) run(ending, abort context.Context) {
	b := &batch{}
	for {
		select {
		case i := <-d.queue:
			b.items, b.documents = b.items[:0], b.documents[:0]
			b.add(d, i)
			d.more(b)
			d.write(ending, abort, b)
			d.waiting.Add(-int64(len(b.items)))
			clear(b.items)
			clear(b.documents)
		case <-ending.Done():
			if len(d.queue) == 0 {
				return
			}
		}
	}
}

// more adds the records that are already queued.
func (d *destination) more(b *batch) {
	for len(b.items) < batchSize {
		select {
		case i := <-d.queue:
			b.add(d, i)
		default:
			return
		}
	}
}

// document returns r with the labels and without masked values.
func (d *destination) document(r Record) map[string]any {
	doc, labels := r.Document(), map[string]any{}
	for k, v := range d.labels {
		labels[k] = v
	}
	if len(labels) > 0 {
		doc["labels"] = labels
	}
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
func (d *destination) write(ending, abort context.Context, b *batch) {
	stop := ending.Done()
	for wait := firstRetry; ; wait = min(2*wait, d.lastRetry) {
		err := d.sink.Write(abort, b.documents)
		if err == nil {
			d.note(nil)
			d.written.Add(uint64(len(b.items)))
			b.took(d.confirms)
			return
		}
		r := (*refused)(nil)
		half := len(b.items) / 2
		if errors.As(err, &r) && r.whole && half > 0 {
			d.write(ending, abort, b.part(0, half))
			d.write(ending, abort, b.part(half, len(b.items)))
			return
		}
		d.note(err)
		if r != nil {
			d.dropped.Add(uint64(r.records))
			d.written.Add(uint64(len(b.items) - r.records))
			b.dropped() // it is not known which
			return
		}
		b.failed()
		if l := (*later)(nil); errors.As(err, &l) {
			wait = max(wait, l.after)
		}
		select {
		case <-abort.Done():
			d.dropped.Add(uint64(len(b.items)))
			b.dropped()
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
		if d.problem.Load() != nil && d.problem.Swap(nil) != nil {
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

// receipt follows one record through the destinations. When the first attempts of all have
// failed, it gives the record to the fallback.
type receipt struct {
	log    *Log
	record Record
	done   chan struct{} // closed when a destination has the record, or all have failed; nil: nobody waits

	mu       sync.Mutex
	trying   int  // destinations whose first attempt is outstanding
	keeping  int  // destinations that may still take it
	sent     bool // a destination may have it
	taken    bool // a destination has it for certain
	closed   bool
	fallback bool // the fallback was asked
}

// has reports whether a destination has the record for certain.
func (r *receipt) has() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

func (r *receipt) took(confirmed, told bool) {
	r.mu.Lock()
	r.keeping--
	r.sent, r.taken = true, r.taken || confirmed
	if r.taken {
		r.close()
	}
	r.mu.Unlock()
	if !told {
		r.failed() // which matters if it was not confirmed
	}
}

// close needs r.mu.
func (r *receipt) close() {
	if !r.closed && r.done != nil {
		close(r.done)
	}
	r.closed = true
}

// failed reports that a first attempt is over without a certain success.
func (r *receipt) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trying--
	if r.trying > 0 || r.taken {
		return
	}
	d := r.log.fallback
	if d == nil || r.fallback {
		r.close()
		return
	}
	r.fallback = true
	if !d.reserve(outcomeRoom * d.size) {
		r.close()
		return
	}
	r.trying, r.keeping = 1, r.keeping+1
	if d.problem.Load() != nil && r.done != nil {
		r.trying = 0
		r.close()
		d.queue <- item{record: r.record, receipt: r, told: true}
		return
	}
	d.queue <- item{record: r.record, receipt: r}
}

// dropped reports that a destination will never have the record.
func (r *receipt) dropped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keeping--
	if r.keeping == 0 && !r.sent {
		r.log.lost.Add(1)
	}
}
