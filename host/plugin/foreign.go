package plugin

import (
	"context"
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// foreign is what a call of a module of another ABI has of the host; see adapter.Env.
type foreign struct {
	g     *Generation
	c     *call
	frees []func()
}

func (f *foreign) Fetch(ctx context.Context, capability string, r *abi.Request) (*abi.Response, error) {
	f.c.live()
	if f.c.caller == nil {
		return nil, host.E(host.Unavailable, "", "capabilities are not available outside a request")
	}
	freeRoom, err := f.c.account.Hold(roomBytes + len(r.Body))
	if err != nil {
		return nil, err
	}
	defer freeRoom()
	resp, err := f.g.granted.Fetch(ctx, f.c.caller, capability, r)
	if err == nil {
		err = f.Hold(len(resp.Body) + bytesOf(resp.Header) + usual)
	}
	if err != nil {
		return nil, err
	}
	f.c.live()
	return resp, nil
}

// heldBytes is what remembering one Hold takes, about: a guest chooses how many there are, and may
// choose that each is of nothing.
const heldBytes = 128

func (f *foreign) Hold(n int) error {
	free, err := f.c.account.Hold(heldBytes + n)
	if err == nil {
		f.frees = append(f.frees, free)
	}
	return err
}

func (f *foreign) Log(ctx context.Context, level slog.Level, line string) {
	if f.c.logs++; f.c.logs <= maxLogs {
		f.c.log.Log(ctx, level, text.Printable(text.Cut(line, maxLogLine)), "plugin", f.g.name)
	}
}

// free ends what Hold has counted.
func (f *foreign) free() {
	for _, free := range f.frees {
		free()
	}
}

// handle enters the module for a request, whatever its ABI. The answer is counted until it
// is freed.
func (g *Generation) handle(ctx context.Context, i *sandbox.Instance, c *Call, state *call) (_ *abi.Response, free func(), err error) {
	if g.adapter == nil {
		resp, free, err := enter(ctx, i, abi.ExportHandle, c.frame(ctx))
		if err == nil && resp == nil {
			free()
			err = broken("%s returned no frame", abi.ExportHandle)
		}
		return resp, free, err
	}
	env := &foreign{g: g, c: state}
	resp, err := g.adapter.Handle(ctx, i, env, c.request(ctx))
	if err != nil {
		env.free()
		return nil, nil, err
	}
	return resp, env.free, nil
}

// aside runs do for a call without a user, such as a start.
func (g *Generation) aside(ctx context.Context, i *sandbox.Instance, do func(context.Context, *sandbox.Instance, *foreign) error) error {
	state := &call{log: g.log, account: i.Account()}
	env := &foreign{g: g, c: state}
	defer env.free()
	return do(withCall(ctx, state), i, env)
}
