package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Call is one request for a plugin on behalf of a person.
type Call struct {
	Caller      *capability.Caller
	Match       *Match
	Obligations host.Obligations // of the route's decision
	URL         string           // path below the plugin's root, and query
	Header      []abi.Pair
	Body        []byte
}

// frame is the request as the guest gets it.
func (c *Call) frame(ctx context.Context) []byte {
	const usual = 1 << 10 // bytes beside the body
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

// call is the state of one entry into a guest: for whom it runs and what its
// imports have open. It belongs to the goroutine of the entry.
type call struct {
	caller  *capability.Caller // nil while the plugin starts
	socket  *socket            // nil outside a session
	log     *slog.Logger
	logs    int    // log imports so far
	kept    []byte // a result that did not fit the guest's buffer
	streams []capability.Stream
	spliced capability.Stream
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// release closes the streams that the guest opened.
func (c *call) release() {
	for _, s := range c.streams {
		_ = s.Close() // nothing is left to say to anybody
	}
}

// Handle runs a unary route. ctx carries the deadline and the session's end.
func (g *Generation) Handle(ctx context.Context, c *Call) (*abi.Response, error) {
	i, release, err := g.acquire(ctx, c.Caller.Principal.User)
	if err != nil {
		return nil, g.failure(ctx, c, err)
	}
	defer release()
	state := &call{caller: c.Caller, log: c.Caller.Logger}
	defer state.release()
	resp, err := enter(withCall(ctx, state), i, abi.ExportHandle, c.frame(ctx))
	if err = c.lost(err); err != nil {
		return nil, g.failure(ctx, c, err)
	}
	return resp, nil
}

// lost replaces the outcome of a call whose session has ended: how the guest
// then failed, or that it did not, is nobody's business.
func (c *Call) lost(err error) error {
	if c.Caller.Authority.Alive() {
		return err
	}
	return c.Caller.Authority.Cause()
}

// enter writes a frame into the guest, enters it, and copies its answer out.
func enter(ctx context.Context, i *sandbox.Instance, export string, frame []byte) (*abi.Response, error) {
	out, err := exchange(ctx, i, export, frame)
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, broken("%s returned no frame", export)
	}
	return decode(export, out)
}

func decode(export string, frame []byte) (*abi.Response, error) {
	resp, err := abi.DecodeReply(frame)
	if bad, ok := errors.AsType[*abi.FrameError](err); ok {
		return nil, broken("%s returned a bad frame: %v", export, bad)
	}
	return resp, err
}

func exchange(ctx context.Context, i *sandbox.Instance, export string, frame []byte) ([]byte, error) {
	if len(frame) > abi.MaxFrame {
		return nil, host.E(host.TooLarge, "", "the request is larger than a plugin can take")
	}
	ptr, err := i.Call(ctx, abi.ExportAlloc, uint64(len(frame)))
	if err != nil {
		return nil, err
	}
	if ptr == 0 || !i.Memory().Write(uint32(ptr), frame) {
		return nil, broken("%s(%d) returned no memory", abi.ExportAlloc, len(frame))
	}
	result, err := i.Call(ctx, export, ptr, uint64(len(frame)))
	if err != nil {
		return nil, err
	}
	at, size := uint32(result>>32), uint32(result)
	if size == 0 {
		return nil, nil
	}
	if size > abi.MaxFrame {
		return nil, broken("%s returned a frame of %d bytes", export, size)
	}
	out, ok := i.Memory().Copy(at, size)
	if !ok {
		return nil, broken("%s returned a frame outside its memory", export)
	}
	return out, nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("broke the ABI: "+format, args...)
}
