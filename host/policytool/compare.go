package policytool

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Tools answer administrators' questions about the policies of a running host. They
// are safe for concurrent use.
type Tools struct {
	Engine    *authz.Engine
	Directory authz.Directory     // that of Engine
	Kinds     *capability.Catalog // of the host's capabilities
	Log       *audit.File         // where Engine logs decisions; nil: not to a file
	comparing atomic.Bool
}

// Status returns the state of the engine.
func (t *Tools) Status() authz.Status { return t.Engine.Status() }

// Explain explains q by the policy that decides now. It is not logged.
func (t *Tools) Explain(ctx context.Context, q *host.Question) *Explanation {
	return Explain(ctx, t.Engine.Serving(), t.Kinds, q, t.Directory)
}

// comparison bounds one comparison: a candidate is a program of the requester's, and
// runs in this process.
type comparison struct {
	wall time.Duration // with unpacking and compiling the candidate
	heap uint64        // by how many bytes what is in use may grow meanwhile
}

var compareWithin = comparison{wall: 30 * time.Second, heap: 256 << 20}

var (
	errSlow = errors.New("the time for a comparison is over")
	errHeap = errors.New("a comparison takes too much memory")
)

// Compare replays the decision log, files that are full included, by the revision
// that serves and by a candidate, packed as a bundle, or the shadow if packed is
// empty. If one of them reads data.directory, that is over the host's directory
// as it is now, otherwise over the permissions recorded.
//
// It returns an error if decisions are not logged to a file, if the candidate cannot be used,
// if another comparison is under way, or if it takes over 30 s or 256 MiB, which
// what others do meanwhile counts against. Compiling cannot be interrupted: after
// such a failure no other comparison begins before it is over.
func (t *Tools) Compare(ctx context.Context, packed []byte) (*DiffReport, error) {
	return t.compareWithin(ctx, packed, compareWithin)
}

const opCompare = "policy.compare"

func (t *Tools) compareWithin(ctx context.Context, packed []byte, bounds comparison) (*DiffReport, error) {
	if t.Log == nil {
		return nil, host.E(host.Conflict, opCompare, "decisions are not logged to a file; policy.log.file says where")
	}
	if len(packed) == 0 && t.Engine.Candidate() == nil {
		return nil, host.E(host.Conflict, opCompare, "there is no bundle in the request and no policy.shadow that can be used")
	}
	if !t.comparing.CompareAndSwap(false, true) {
		return nil, host.E(host.Limited, opCompare, "another comparison is under way")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bounds.wall, errSlow)
	defer cancel()
	ctx, stop := boundHeap(ctx, bounds.heap)
	defer stop()
	type result struct {
		report *DiffReport
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer t.comparing.Store(false)
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = &host.Error{Kind: host.Internal, Op: opCompare, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
			done <- r
		}()
		r.report, r.err = t.compare(ctx, packed)
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	switch cause := context.Cause(ctx); {
	case r.err == nil:
		return r.report, nil
	case cause == errSlow:
		return nil, host.E(host.Timeout, opCompare, "compiling the candidate and replaying the log takes more than %v; bulkhead policy diff does it", bounds.wall)
	case cause == errHeap:
		return nil, host.E(host.Unprocessable, opCompare, "compiling the candidate and replaying the log takes more than %d MiB; bulkhead policy diff does it", bounds.heap>>20)
	}
	return nil, r.err
}

func (t *Tools) compare(ctx context.Context, packed []byte) (*DiffReport, error) {
	before, after := t.Engine.Serving(), t.Engine.Candidate()
	if len(packed) > 0 {
		var err error
		if after, err = authz.UnpackPolicy(ctx, packed, "the request's bundle"); err != nil {
			return nil, host.E(host.Unprocessable, opCompare, "%w", err)
		}
	}
	var over *Over
	if before.ReadsDirectory() || after.ReadsDirectory() {
		over = &Over{t.Directory, fmt.Sprintf("the host's, revision %d", t.Directory.Revision())}
	}
	log, err := t.Log.Read()
	if err != nil {
		return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
	}
	defer log.Close()
	return Diff(ctx, before, after, over, log)
}

// heapEvery is how often the heap is looked at, which costs microseconds.
const heapEvery = 10 * time.Millisecond

// boundHeap returns a context that ends with errHeap once what the process has in
// use, as the garbage collector found it, has grown by more than grow bytes. Go does
// not say whose it is. stop waits for the watch to end.
func boundHeap(ctx context.Context, grow uint64) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	live := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	most := live() + grow
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(heapEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if live() > most {
				cancel(errHeap)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-ended }
}
