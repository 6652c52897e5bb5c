package plugin

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	maxLogLine = 8 << 10 // of one log import
	maxLogs    = 1000    // log imports per call; more are dropped
	maxStreams = 16      // open per call
	// streamBytes is what an open stream takes of the host, about: its connection's
	// buffers, and the goroutines that serve it.
	streamBytes = 64 << 10
	// roomBytes are counted before a capability is asked; its answer, which may be
	// abi.MaxBody, is counted when it has arrived.
	roomBytes = 1 << 20

	// What the host does for a guest, in processor time: it encodes and decodes,
	// asks policy, and writes a record.
	fetchCost = 50 * time.Microsecond
	ownCost   = 5 * time.Microsecond
)

// own are the modules that every plugin may import.
var own = []string{abi.ModuleABI, abi.ModuleLog, abi.ModuleSession}

// imports is what the plugin may link: the ABI's own modules and one module
// for each capability that it was granted, or can do without.
func (g *Generation) imports() []sandbox.Import {
	list := []sandbox.Import{
		{
			Module: abi.ModuleABI, Name: abi.ImportTake,
			Signature: signature(i64, i32, i32), Call: take, Cost: ownCost,
		}, {
			Module: abi.ModuleLog, Name: abi.ImportWrite,
			Signature: signature(0, i32, i32, i32), Call: g.logWrite, Cost: ownCost,
		}, {
			Module: abi.ModuleLog, Name: abi.ImportRecord,
			Signature: signature(0, i32, i32, i32, i32, i32), Call: g.logRecord, Cost: ownCost,
		},
	}
	list = append(list, sessionImports()...)
	names := g.granted.Names()
	for _, name := range append(slices.Clone(names), g.denied...) {
		module := abi.CapabilityModule(name)
		list = append(list, sandbox.Import{
			Module: module, Name: abi.ImportFetch,
			Signature: signature(i64, i32, i32, i32, i32), Call: g.fetch(name), Cost: fetchCost,
		}, sandbox.Import{
			Module: module, Name: abi.ImportOpen,
			Signature: signature(i64, i32, i32, i32, i32), Call: g.open(name), Cost: fetchCost,
		})
	}
	return list
}

func signature(result sandbox.Type, params ...sandbox.Type) sandbox.Signature {
	s := sandbox.Signature{Params: params}
	if result != 0 {
		s.Results = []sandbox.Type{result}
	}
	return s
}

// live ends the guest if its session has lost its authority. It comes before
// every effect of a host call.
func (c *call) live() {
	if c.caller != nil && !c.caller.Authority.Alive() {
		sandbox.Stop(c.caller.Authority.Cause())
	}
}

func (g *Generation) fetch(name string) func(context.Context, sandbox.Memory, []uint64) {
	return func(ctx context.Context, m sandbox.Memory, stack []uint64) {
		outbound(ctx, m, stack, func(c *call, r *abi.Request) (*abi.Response, error) {
			return g.granted.Fetch(ctx, c.caller, name, r)
		})
	}
}

func (g *Generation) open(name string) func(context.Context, sandbox.Memory, []uint64) {
	return func(ctx context.Context, m sandbox.Memory, stack []uint64) {
		outbound(ctx, m, stack, func(c *call, r *abi.Request) (*abi.Response, error) {
			if len(c.streams) >= maxStreams {
				return nil, host.E(host.Limited, "open", "more than %d streams", maxStreams)
			}
			free := c.hold(streamBytes)
			s, err := g.granted.Open(ctx, c.caller, name, r)
			if err != nil {
				free()
				return nil, err
			}
			c.streams, c.held = append(c.streams, s), append(c.held, free)
			number := strconv.Itoa(len(c.streams))
			return &abi.Response{Status: 200, Header: []abi.Pair{{Name: abi.HeaderStream, Value: number}}}, nil
		})
	}
}

// outbound is fetch and open: (req, n, resp, cap) -> length.
func outbound(ctx context.Context, m sandbox.Memory, stack []uint64, do func(*call, *abi.Request) (*abi.Response, error)) {
	c := callOf(ctx)
	c.live()
	resp, capacity := uint32(stack[2]), uint32(stack[3])
	frame, ok := viewFrame(m, stack[0], stack[1])
	if !ok {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	free := c.hold(len(frame)) // decoding copies it
	defer free()
	c.keep(answer{})
	stack[0] = c.answer(m, resp, capacity, reply(c, frame, do))
	c.live()
}

// viewFrame is a frame in the guest's memory, for a decoder, which copies it.
func viewFrame(m sandbox.Memory, ptr, n uint64) ([]byte, bool) {
	if n > abi.MaxFrame {
		return nil, false
	}
	return m.View(uint32(ptr), uint32(n))
}

// reply answers an outbound request.
func reply(c *call, frame []byte, do func(*call, *abi.Request) (*abi.Response, error)) answer {
	fail := func(err error) answer {
		frame := abi.AppendError(nil, capability.ErrorFrame(err))
		return answer{head: frame, free: c.hold(len(frame))}
	}
	r, err := abi.DecodeRequest(frame)
	if err != nil {
		return fail(host.E(host.Invalid, "", "%w", err))
	}
	if len(frame) > len(r.URL)+usual {
		// The texts are parts of the frame's copy. What a stream or a record keeps of
		// them must not keep that, which is counted no longer then.
		r.Method, r.URL = strings.Clone(r.Method), strings.Clone(r.URL)
	}
	if c.caller == nil {
		return fail(host.E(host.Unavailable, "", "capabilities are not available outside a request"))
	}
	freeRoom := c.hold(roomBytes)
	defer freeRoom()
	resp, err := do(c, r)
	if err != nil {
		return fail(err)
	}
	if len(resp.Body) > abi.MaxBody {
		return fail(host.E(host.TooLarge, "", "the answer is larger than %d MiB", abi.MaxBody>>20))
	}
	free := c.hold(len(resp.Body) + bytesOf(resp.Header) + usual)
	return answer{abi.AppendResponseHead(nil, resp), resp.Body, free}
}

// answer writes a to the guest's buffer, or keeps it for take, and returns its
// length.
func (c *call) answer(m sandbox.Memory, ptr, capacity uint32, a answer) uint64 {
	n := len(a.head) + len(a.tail)
	if n > int(capacity) {
		c.keep(a)
		return uint64(n)
	}
	defer a.free()
	if !m.Write(ptr, a.head) || !m.Write(ptr+uint32(len(a.head)), a.tail) {
		return status(abi.StatusInvalid)
	}
	return uint64(n)
}

// take is (ptr, cap) -> length of the kept frame, 0 without one.
func take(ctx context.Context, m sandbox.Memory, stack []uint64) {
	c := callOf(ctx)
	c.live()
	a := c.kept
	if a.free == nil {
		stack[0] = 0
		return
	}
	c.kept = answer{}
	stack[0] = c.answer(m, uint32(stack[0]), uint32(stack[1]), a)
}

// logWrite is (level, ptr, n): one record in the host's log, under the
// plugin's name and the request's id.
func (g *Generation) logWrite(ctx context.Context, m sandbox.Memory, stack []uint64) {
	g.record(ctx, m, stack, nil)
}

// logRecord is (level, ptr, n, attributes, size): as logWrite, with attributes. They are in a
// group of their own, so that none passes for one of the host's.
func (g *Generation) logRecord(ctx context.Context, m sandbox.Memory, stack []uint64) {
	g.record(ctx, m, stack, func() []any {
		size := uint32(stack[4])
		if size > abi.MaxAttributeBytes {
			return []any{"malformed", true}
		}
		data, ok := m.View(uint32(stack[3]), size)
		if !ok {
			return []any{"malformed", true}
		}
		list, err := abi.DecodeAttributes(data)
		if err != nil {
			return []any{"malformed", true}
		}
		var attrs []any
		for _, p := range list {
			attrs = append(attrs, text.Printable(p.Name), text.Printable(p.Value))
		}
		return attrs
	})
}

func (g *Generation) record(ctx context.Context, m sandbox.Memory, stack []uint64, attributes func() []any) {
	c := callOf(ctx)
	if c.logs++; c.logs > maxLogs {
		return
	}
	line, ok := m.Copy(uint32(stack[1]), min(uint32(stack[2]), maxLogLine))
	if !ok {
		return
	}
	args := []any{"plugin", g.name}
	if attributes != nil {
		args = append(args, slog.Group("attributes", attributes()...))
	}
	level := slog.Level(min(max(int32(uint32(stack[0])), int32(slog.LevelDebug)), int32(slog.LevelError)))
	message := text.Printable(string(line))
	c.log.Log(ctx, level, message, args...)
	trace.Of(ctx).Event(message)
}

// output is a line that the guest printed instead of logging, or a trace: its
// first line is the message.
func (g *Generation) output(ctx context.Context, printed string) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	lines := strings.Split(printed, "\n")
	for i := range lines {
		lines[i] = text.Printable(lines[i])
	}
	attrs := []any{"plugin", g.name, "output", true}
	if len(lines) > 1 {
		attrs = append(attrs, "trace", strings.Join(lines[1:], "\n"))
	}
	c.log.Info(lines[0], attrs...)
}
