package plugin

import (
	"context"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Socket is the user's end of a session before its upgrade was answered.
type Socket interface {
	// Accept answers the upgrade with the first of the client's subprotocols
	// that is among protocols; where protocols is empty, with none. longest bounds
	// the client's messages, in bytes; 0 leaves that to the socket. It is called
	// once.
	Accept(protocols []string, longest int) (capability.Client, error)
	// End closes an accepted client and tells it why the host ended it; nil is a
	// regular end. What was closed before stays as it was.
	End(cause error)
}

// EventClient is a client that receives events with names and ids: that of an event route.
type EventClient interface {
	// WriteEvent sends one event (HTML, section 9.2.6). An empty name or id is left out.
	WriteEvent(name, id string, text []byte) error
}

// Counter is a client that counts a message while it arrives, which can take as long as the
// client likes.
type Counter interface {
	// Count has the bytes of a message counted by hold until Read returns. It is called
	// before the first Read.
	Count(hold func(n int) (free func(), err error))
}

// sessionBurst is how long the guest of a session may compute at once, in processor
// time, from one message of its client to the next: a session lives for hours, and
// has no other bound on it.
const sessionBurst = time.Second

const maxReason = 120 // bytes; a close frame holds 123

// Session runs a socket or event route until plugin, user or ctx end it. A
// refusal before the upgrade is returned as an error or a response and nothing
// was accepted; accepted reports whether the socket was. It is closed then, and
// the error is for the log.
func (g *Generation) Session(ctx context.Context, c *Call, s Socket) (_ *abi.Response, accepted bool, err error) {
	ctx, span := g.span(ctx, "bulkhead.plugin.session", c)
	defer span.End()
	i, release, err := g.acquire(ctx, c.Caller.Principal.User)
	if err != nil {
		return nil, false, g.failure(ctx, c, err)
	}
	sock := &socket{ctx: ctx, upgrade: s, record: c.Obligations.Record}
	state := &call{caller: c.Caller, socket: sock, log: c.Caller.Logger, account: i.Account()}
	sock.account = state.account
	defer g.people.settle(c.Caller.Principal.User)
	defer state.release()

	resp, held, err := enter(sandbox.WithBurst(withCall(ctx, state), sessionBurst), i, abi.ExportSession, abi.AppendRequest(nil, c.request(ctx)))
	release() // a spliced session holds no instance
	if err == nil {
		c.answered(g, held)
	}
	if err = c.lost(err); err != nil {
		err = g.failure(ctx, c, err)
	}
	switch {
	case sock.client != nil && state.spliced == nil:
		sock.end(c.Caller.Authority, err)
		return nil, true, err
	case sock.refused != nil:
		return nil, false, sock.refused
	case err != nil:
		return nil, false, err
	case state.spliced != nil:
		return sock.splice(c.Caller.Authority, state.spliced)
	case resp != nil:
		return resp, false, nil
	}
	return nil, false, g.failure(ctx, c, broken("%s neither answered nor used the session", abi.ExportSession))
}

// splice hands the upstream to the client and stays until it ends.
func (s *socket) splice(auth host.Authority, up capability.Stream) (_ *abi.Response, accepted bool, err error) {
	defer up.Close()
	client, err := s.accept(up.Subprotocols(), up.MaxMessage())
	if err != nil {
		return nil, false, err
	}
	err = up.Splice(s.ctx, client)
	s.end(auth, err)
	return nil, true, err
}

// socket is a session's client as the guest's imports see it.
type socket struct {
	ctx     context.Context // of the session
	upgrade Socket
	account sandbox.Account // of the session's instance
	record  host.Record
	client  capability.Client // nil until accepted
	refused error             // why it cannot be accepted
	closed  bool              // by the guest

	messages chan message // from the reader, once next was called; closed at its end
	done     chan struct{}
	reader   sync.WaitGroup
}

// message is one of the client's, counted until it is freed.
type message struct {
	abi.Message
	free func()
}

// own is the client for a guest that speaks to it by itself. Nothing can record
// that.
func (s *socket) own() (capability.Client, error) {
	if s.record != host.RecordNothing && s.refused == nil {
		s.refused = &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: "obligation_not_supported"}
	}
	return s.accept(nil, 0)
}

func (s *socket) accept(protocols []string, longest int) (capability.Client, error) {
	if s.client == nil && s.refused == nil {
		s.client, s.refused = s.upgrade.Accept(protocols, longest)
	}
	return s.client, s.refused
}

// read starts the reader. It holds one message at most, so that a guest that
// does not ask makes the client wait.
func (s *socket) read(client capability.Client) {
	s.messages, s.done = make(chan message), make(chan struct{})
	if c, ok := client.(Counter); ok {
		c.Count(s.account.Hold)
	}
	s.reader.Go(func() {
		defer close(s.messages)
		for {
			binary, data, err := client.Read()
			if err != nil {
				return
			}
			client.Touch()
			if len(data) > abi.MaxBody {
				client.Close(host.CloseTooLarge, "message is too large")
				return
			}
			free, err := s.account.Hold(len(data))
			if err != nil {
				client.Close(host.CloseTooLarge, "your calls and sessions use all the memory they may")
				return
			}
			m := message{abi.Message{Kind: abi.MessageText, Data: data}, free}
			if binary {
				m.Kind = abi.MessageBinary
			}
			select {
			case s.messages <- m:
			case <-s.done:
				free()
				return
			}
		}
	})
}

// end closes the client and waits for the reader. Why the host ends a session is
// the host's to say: an error that comes from elsewhere must not look like it.
func (s *socket) end(auth host.Authority, err error) {
	if err != nil && auth.Alive() && !errors.Is(err, host.ErrIdle) && !errors.Is(err, host.ErrTooLong) {
		code, reason := host.CloseFailed, host.Internal.String()
		if e, ok := errors.AsType[*host.Error](err); ok {
			reason = text.Printable(e.Public())
			if e.Status >= 400 && e.Status < 500 {
				code = host.CloseRefused
			}
		}
		_ = s.client.Close(code, reason) // a client that is gone needs no reason
	}
	s.upgrade.End(err)
	if s.messages != nil {
		close(s.done)
		s.reader.Wait()
	}
}

func sessionImports() []sandbox.Import {
	def := func(name string, s sandbox.Signature, call func(context.Context, *call, sandbox.Memory, []uint64)) sandbox.Import {
		return sandbox.Import{Module: abi.ModuleSession, Name: name, Signature: s, Cost: ownCost,
			Call: func(ctx context.Context, m sandbox.Memory, stack []uint64) {
				c := callOf(ctx)
				c.live()
				if c.socket == nil {
					stack[0] = status(abi.StatusRefused)
					return
				}
				call(ctx, c, m, stack)
			}}
	}
	return []sandbox.Import{
		def(abi.ImportNext, signature(i64, i32, i32, i32), next),
		def(abi.ImportSend, signature(i32, i32, i32), send),
		def(abi.ImportClose, signature(i32, i32, i32, i32), closeSession),
		def(abi.ImportSplice, signature(i32, i32), splice),
	}
}

func status(s abi.Status) uint64 { return uint64(int64(s)) }

// next is (ptr, cap, timeoutMs) -> length of a Message frame.
func next(ctx context.Context, c *call, m sandbox.Memory, stack []uint64) {
	s := c.socket
	if s.closed || c.spliced != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	if s.messages == nil {
		client, err := s.own()
		if err != nil {
			stack[0] = status(abi.StatusClosed)
			return
		}
		s.read(client)
	}
	ptr, capacity := uint32(stack[0]), uint32(stack[1])
	c.keep(answer{})
	sandbox.Refuel(ctx)
	timer := time.NewTimer(time.Duration(int32(uint32(stack[2]))) * time.Millisecond)
	defer timer.Stop()
	var msg abi.Message
	select {
	case got, ok := <-s.messages:
		if !ok {
			msg = abi.Message{Kind: abi.MessageClose}
			break
		}
		c.keep(answer{free: got.free}) // counts it wherever this ends
		msg = got.Message
		sandbox.Rested(ctx)
	case <-timer.C:
		msg = abi.Message{Kind: abi.MessageIdle}
	case <-ctx.Done():
		sandbox.Stop(context.Cause(ctx))
	}
	c.live()
	free := c.kept.free
	if c.kept = (answer{}); free == nil {
		free = c.hold(usual)
	}
	stack[0] = c.answer(m, ptr, capacity, answer{abi.AppendMessageHead(nil, &msg), msg.Data, free})
}

// send is (ptr, n) -> status.
func send(_ context.Context, c *call, m sandbox.Memory, stack []uint64) {
	s := c.socket
	if s.closed || c.spliced != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	frame, ok := viewFrame(m, stack[0], stack[1])
	if !ok {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	free := c.hold(len(frame)) // decoding copies it
	defer free()
	msg, err := abi.DecodeMessage(frame)
	if err != nil || !sendable(msg) {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	client, err := s.own()
	events, takesEvents := client.(EventClient)
	switch {
	case err != nil:
	case msg.Kind != abi.MessageEvent:
		c.live()
		err = client.Write(msg.Kind == abi.MessageBinary, msg.Data)
	case !takesEvents:
		stack[0] = status(abi.StatusInvalid)
		return
	default:
		name, id, text, _ := abi.SplitEvent(msg.Data)
		c.live()
		err = events.WriteEvent(name, id, text)
	}
	if err != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	client.Touch()
	stack[0] = status(abi.StatusOK)
}

// sendable reports whether a guest may send a message like m.
func sendable(m *abi.Message) bool {
	switch m.Kind {
	case abi.MessageText:
		return utf8.Valid(m.Data)
	case abi.MessageBinary:
		return true
	case abi.MessageEvent:
		_, _, _, ok := abi.SplitEvent(m.Data)
		return ok
	}
	return false
}

// closeSession is (code, ptr, n) -> status.
func closeSession(_ context.Context, c *call, m sandbox.Memory, stack []uint64) {
	s := c.socket
	reason, ok := m.Copy(uint32(stack[1]), min(uint32(stack[2]), maxReason))
	code := uint32(stack[0])
	if !ok || !abi.MayClose(code) {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	if s.closed || c.spliced != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	client, err := s.own()
	if err != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	s.closed = true
	client.Close(int(code), text.Printable(string(reason)))
	stack[0] = status(abi.StatusOK)
}

// splice is (stream) -> status. It only marks the stream: the bytes move once
// the guest has returned and its instance is gone.
func splice(_ context.Context, c *call, _ sandbox.Memory, stack []uint64) {
	n := stack[0]
	switch {
	case n == 0 || n > uint64(len(c.streams)):
		stack[0] = status(abi.StatusInvalid)
	case c.spliced != nil || c.socket.closed || c.socket.messages != nil:
		stack[0] = status(abi.StatusRefused)
	default:
		c.spliced = c.streams[n-1]
		stack[0] = status(abi.StatusOK)
	}
}
