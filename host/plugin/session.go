package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Socket is the person's end of a session before its upgrade was answered.
type Socket interface {
	// Accept answers the upgrade with the first of the client's subprotocols
	// that is among protocols, or with none. It is called once.
	Accept(protocols []string) (capability.Client, error)
}

// Close codes of a session (RFC 6455, section 7.4).
const (
	closeNormal   = 1000
	closeTooLarge = 1009
)

const maxReason = 120 // bytes; a close frame holds 123

// Session runs a socket route until plugin, person or ctx end it. A refusal
// before the upgrade is returned as an error or a response and nothing was
// accepted; accepted reports whether the socket was. An error after that has
// been told to nobody yet.
func (g *Generation) Session(ctx context.Context, c *Call, s Socket) (_ *abi.Response, accepted bool, err error) {
	route := c.Match.Route.Name
	i, err := g.module.Acquire(ctx)
	if err != nil {
		return nil, false, g.failure(route, acquireFault(ctx, err))
	}
	released := false
	release := func() {
		if !released {
			released = true
			g.module.Release(i)
		}
	}
	defer release()
	sock := &socket{ctx: ctx, upgrade: s}
	defer sock.stop()
	state := &call{caller: c.Caller, socket: sock, log: c.Caller.Logger}
	defer state.release()

	frame, err := exchange(withCall(ctx, state), i, abi.ExportSession, abi.AppendRequest(nil, c.request(ctx)))
	release() // a spliced session holds no instance
	var resp *abi.Response
	if err == nil && frame != nil {
		resp, err = decode(abi.ExportSession, frame)
	}
	switch {
	case err != nil:
		return nil, sock.client != nil, g.failure(route, err)
	case state.spliced != nil:
		return sock.splice(state.spliced)
	case sock.client != nil:
		sock.client.Close(closeNormal, "")
		return nil, true, nil
	case resp != nil:
		return resp, false, nil
	}
	return nil, false, g.failure(route, broken("%s neither answered nor used the session", abi.ExportSession))
}

// splice hands the upstream to the client and stays until it ends.
func (s *socket) splice(up capability.Stream) (_ *abi.Response, accepted bool, err error) {
	defer up.Close()
	client, err := s.accept(up.Subprotocols()...)
	if err != nil {
		return nil, false, err
	}
	return nil, true, up.Splice(s.ctx, client)
}

// socket is a session's client as the guest's imports see it.
type socket struct {
	ctx     context.Context // of the session
	upgrade Socket
	client  capability.Client // nil until accepted
	closed  bool              // by the guest

	messages chan abi.Message // from the reader, once next was called; closed at its end
	done     chan struct{}
	reader   sync.WaitGroup
}

func (s *socket) accept(protocols ...string) (capability.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	client, err := s.upgrade.Accept(protocols)
	if err == nil {
		s.client = client
	}
	return client, err
}

// read starts the reader. It holds one message at most, so that a guest that
// does not ask makes the client wait.
func (s *socket) read(client capability.Client) {
	s.messages, s.done = make(chan abi.Message), make(chan struct{})
	s.reader.Go(func() {
		defer close(s.messages)
		for {
			binary, data, err := client.Read()
			if err != nil {
				return
			}
			if len(data) > abi.MaxBody {
				client.Close(closeTooLarge, "message is too large")
				return
			}
			m := abi.Message{Kind: abi.MessageText, Data: data}
			if binary {
				m.Kind = abi.MessageBinary
			}
			select {
			case s.messages <- m:
			case <-s.done:
				return
			}
		}
	})
}

// stop ends the reader. The client's connection is closed by then or by this.
func (s *socket) stop() {
	if s.messages == nil {
		return
	}
	close(s.done)
	s.client.Close(closeNormal, "")
	s.reader.Wait()
}

func sessionImports() []sandbox.Import {
	def := func(name string, s sandbox.Signature, call func(context.Context, *call, sandbox.Memory, []uint64)) sandbox.Import {
		return sandbox.Import{Module: abi.ModuleSession, Name: name, Signature: s,
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
		client, err := s.accept()
		if err != nil {
			stack[0] = status(abi.StatusClosed)
			return
		}
		s.read(client)
	}
	ptr, capacity := uint32(stack[0]), uint32(stack[1])
	timer := time.NewTimer(time.Duration(int32(uint32(stack[2]))) * time.Millisecond)
	defer timer.Stop()
	var msg abi.Message
	select {
	case got, ok := <-s.messages:
		msg = got
		if !ok {
			msg = abi.Message{Kind: abi.MessageClose}
		}
	case <-timer.C:
		msg = abi.Message{Kind: abi.MessageIdle}
	case <-ctx.Done():
		sandbox.Stop(context.Cause(ctx))
	}
	c.live()
	stack[0] = c.answer(m, ptr, capacity, abi.AppendMessage(nil, &msg))
}

// send is (ptr, n) -> status.
func send(_ context.Context, c *call, m sandbox.Memory, stack []uint64) {
	s := c.socket
	if s.closed || c.spliced != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	frame, ok := copyFrame(m, stack[0], stack[1])
	if !ok {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	msg, err := abi.DecodeMessage(frame)
	if err != nil || msg.Kind > abi.MessageBinary {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	client, err := s.accept()
	if err == nil {
		c.live()
		err = client.Write(msg.Kind == abi.MessageBinary, msg.Data)
	}
	if err != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	stack[0] = status(abi.StatusOK)
}

// closeSession is (code, ptr, n) -> status.
func closeSession(_ context.Context, c *call, m sandbox.Memory, stack []uint64) {
	s := c.socket
	reason, ok := m.Copy(uint32(stack[1]), min(uint32(stack[2]), maxReason))
	code := int(stack[0])
	if !ok || code != closeNormal && (code < 4000 || code > 4999) {
		stack[0] = status(abi.StatusInvalid)
		return
	}
	if s.closed || c.spliced != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	client, err := s.accept()
	if err != nil {
		stack[0] = status(abi.StatusClosed)
		return
	}
	s.closed = true
	client.Close(code, printable(string(reason)))
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
