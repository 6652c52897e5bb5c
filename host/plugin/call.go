package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Call is one request for a plugin on behalf of a user.
type Call struct {
	Caller      *capability.Caller
	Match       *Match
	Obligations host.Obligations // of the route's decision
	URL         string           // path below the plugin's root, and query
	Header      []abi.Pair
	Body        []byte

	held []func() // frees what is counted for the answer
}

// Release ends the call for the budgets of user and plugin: the answer, which they
// count until then, was written or given up. It may be called repeatedly.
func (c *Call) Release() {
	for _, free := range c.held {
		free()
	}
	c.held = nil
}

// OnRelease has Release call free.
func (c *Call) OnRelease(free func()) { c.held = append(c.held, free) }

// usual is how many bytes of a request's frame are not its body.
const usual = 1 << 10

// frame is the request as the guest gets it.
func (c *Call) frame(ctx context.Context) []byte {
	return abi.AppendRequest(make([]byte, 0, usual+len(c.Body)), c.request(ctx))
}

func (c *Call) request(ctx context.Context) *abi.Request {
	p := c.Caller.Principal
	h := &abi.HostSection{
		RequestID: c.Caller.RequestID, User: string(p.User), Name: p.Name, Roles: p.Roles, Teams: p.Teams,
		Route: c.Match.Route.Name, Action: string(c.Match.Route.Action), Params: c.Match.pairs,
		Namespaces: c.Obligations.Namespaces, Groups: c.Obligations.ResourceGroups, Redact: c.Obligations.Redact,
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.TimeoutMS = max(1, time.Until(deadline).Milliseconds())
	}
	return &abi.Request{Method: c.Match.Route.Method, URL: c.URL, Header: c.Header, Body: c.Body, Host: h}
}

// answered counts the answer for the caller until Release.
func (c *Call) answered(g *Generation, free func()) {
	c.OnRelease(func() {
		free()
		g.people.settle(c.Caller.Principal.User)
	})
}

func bytesOf(pairs []abi.Pair) (n int) {
	for _, p := range pairs {
		n += len(p.Name) + len(p.Value) + 8
	}
	return n
}

// call is the state of one entry into a guest: for whom it runs and what its
// imports have open. It belongs to the goroutine of the entry.
type call struct {
	caller  *capability.Caller // nil while the plugin starts
	socket  *socket            // nil outside a session
	account sandbox.Account    // of the instance
	log     *slog.Logger
	logs    int    // log imports so far
	kept    answer // a result that did not fit the guest's buffer
	streams []capability.Stream
	held    []func() // frees what is counted for streams
	spliced capability.Stream
}

// hold counts n bytes for the call until they are freed, or ends the guest.
func (c *call) hold(n int) (free func()) {
	free, err := c.account.Hold(n)
	if err != nil {
		sandbox.Stop(err)
	}
	return free
}

// keep keeps an answer for take, instead of the one before.
func (c *call) keep(a answer) {
	if c.kept.free != nil {
		c.kept.free()
	}
	c.kept = a
}

// answer is a frame for the guest, in two parts so that what is large is never
// copied. It is counted until it is freed.
type answer struct {
	head, tail []byte
	free       func() // nil: the answer is empty
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// release closes the streams that the guest opened, and frees what is counted.
func (c *call) release() {
	for _, s := range c.streams {
		_ = s.Close() // the session is over; an error has no reader
	}
	for _, free := range c.held {
		free()
	}
	c.keep(answer{})
}

// Handle runs a unary route. ctx carries the deadline and the session's end.
func (g *Generation) Handle(ctx context.Context, c *Call) (*abi.Response, error) {
	ctx, span := g.span(ctx, "bulkhead.plugin.call", c)
	defer span.End()
	arrived := time.Now()
	i, release, err := g.acquire(ctx, c.Caller.Principal.User)
	if err != nil {
		span.Fail(abi.OriginHost.String())
		return nil, g.failure(ctx, c, err)
	}
	defer release()
	began := time.Now()
	state := &call{caller: c.Caller, log: c.Caller.Logger, account: i.Account()}
	defer state.release()
	// The body, and the frame around a copy of it.
	free, err := state.account.Hold(2*len(c.Body) + len(c.URL) + bytesOf(c.Header) + usual)
	if err != nil {
		return nil, g.failure(ctx, c, err)
	}
	defer free()
	resp, held, err := g.handle(withCall(ctx, state), i, c, state)
	if err == nil {
		c.answered(g, held)
	}
	took := time.Since(began)
	g.usage(ctx, c, i, took, err)
	alive := c.Caller.Authority.Alive()
	source := sourceOf(alive, resp, err)
	if g.counted != nil {
		g.counted(ctx, Measured{g.name, g.manifest.Version, c.Match.Route.Name, source, began.Sub(arrived), took, i.Fuel()})
	}
	traced(span, source, began.Sub(arrived), i.Fuel())
	if alive {
		if counted, failed := verdict(resp, err); counted {
			g.counters.add(took, i.Fuel(), failed)
		}
	}
	if err = c.lost(err); err != nil {
		return nil, g.failure(ctx, c, err)
	}
	return resp, nil
}

// span begins the span of a call or session.
func (g *Generation) span(ctx context.Context, name string, c *Call) (context.Context, *trace.Span) {
	ctx, span := trace.Start(ctx, name)
	if span != nil {
		span.String("bulkhead.plugin", g.name)
		span.String("bulkhead.version", g.manifest.Version)
		span.Int("bulkhead.generation", int64(g.number))
		span.String("bulkhead.route", c.Match.Route.Name)
	}
	return ctx, span
}

// traced adds to a span how its call went.
func traced(span *trace.Span, source string, queued time.Duration, fuel uint64) {
	if span == nil {
		return
	}
	span.Int("bulkhead.queued_us", queued.Microseconds())
	span.Int("bulkhead.fuel", int64(min(fuel, math.MaxInt64)))
	if source != "" {
		span.String("error.source", source)
		span.Fail(source)
	}
}

// Usage is what one unary call of a plugin has used.
type Usage struct {
	Plugin, Route string
	Fuel          uint64 // about one for each instruction
	MemoryBytes   int    // of the instance's memory after the call
	ChangedBytes  int    // of it in pages that the call changed; -1 if that is not known
	// Allocations of the guest and their bytes; -1 if the plugin does not count them.
	Allocations, AllocatedBytes int
	Took                        time.Duration // in the plugin and in the capabilities that it called
	Err                         error         // why there is no answer
}

// usage tells Options.Called what a call has used.
func (g *Generation) usage(ctx context.Context, c *Call, i *sandbox.Instance, took time.Duration, err error) {
	if g.called == nil {
		return
	}
	memory, changed := i.MemoryUse()
	u := Usage{
		Plugin: g.name, Route: c.Match.Route.Name, Fuel: i.Fuel(), MemoryBytes: memory, ChangedBytes: changed,
		Allocations: -1, AllocatedBytes: -1, Took: took, Err: err,
	}
	if err == nil && i.Has(abi.ExportAllocations) {
		// Last, because it computes and allocates itself.
		if n, err := i.Call(ctx, abi.ExportAllocations); err == nil {
			u.Allocations, u.AllocatedBytes = int(n>>32), int(uint32(n))
		}
	}
	g.called(ctx, u)
}

// lost replaces the outcome of a call whose session has ended by the cause of its end,
// whatever the guest did.
func (c *Call) lost(err error) error {
	if c.Caller.Authority.Alive() {
		return err
	}
	return c.Caller.Authority.Cause()
}

// enter writes a frame into the guest, enters it, and decodes its answer, which is
// nil if it returned no frame. The answer is counted until it is freed.
func enter(ctx context.Context, i *sandbox.Instance, export string, frame []byte) (_ *abi.Response, free func(), err error) {
	if len(frame) > abi.MaxFrame {
		return nil, nil, host.E(host.TooLarge, "", "the request is larger than a plugin can take")
	}
	ptr, err := i.Call(ctx, abi.ExportAlloc, uint64(len(frame)))
	if err != nil {
		return nil, nil, err
	}
	if ptr == 0 || !i.Memory().Write(uint32(ptr), frame) {
		return nil, nil, broken("%s(%d) returned no memory", abi.ExportAlloc, len(frame))
	}
	result, err := i.Call(ctx, export, ptr, uint64(len(frame)))
	if err != nil {
		return nil, nil, err
	}
	return decode(i, export, result)
}

// decode reads the frame that an export has returned, as enter does.
func decode(i *sandbox.Instance, export string, result uint64) (_ *abi.Response, free func(), err error) {
	at, size := uint32(result>>32), uint32(result)
	if size == 0 {
		return nil, func() {}, nil
	}
	if size > abi.MaxFrame {
		return nil, nil, broken("%s returned a frame of %d bytes", export, size)
	}
	out, ok := i.Memory().View(at, size)
	if !ok {
		return nil, nil, broken("%s returned a frame outside its memory", export)
	}
	if free, err = i.Account().Hold(len(out)); err != nil {
		return nil, nil, err
	}
	resp, err := abi.DecodeReply(out) // which copies what is valid
	if err == nil {
		return resp, free, nil
	}
	free()
	if bad, ok := errors.AsType[*abi.FrameError](err); ok {
		err = broken("%s returned a bad frame: %v", export, bad)
	}
	return nil, nil, err
}

func broken(format string, args ...any) error {
	return fmt.Errorf("broke the ABI: "+format, args...)
}
