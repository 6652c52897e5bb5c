package sdktest

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Outcome is the result of a session.
type Outcome struct {
	// Accepted is set if the client's upgrade was answered. If not, Response is the
	// plain HTTP answer that the client got instead.
	Accepted bool
	Response *Response

	Sent []abi.Message
	// CloseCode and CloseReason are those that the client gets when the plugin ends the
	// session: by Close, or by an error of the handler after the session was accepted. 0: the
	// handler returned, and the host closes with 1000.
	CloseCode   int
	CloseReason string
	Spliced     int // the stream that was connected to the client, 0 if none
}

// Text returns a client's text message, for Session.
func Text(s string) abi.Message { return abi.Message{Kind: abi.MessageText, Data: []byte(s)} }

// Binary returns a client's binary message.
func Binary(b []byte) abi.Message { return abi.Message{Kind: abi.MessageBinary, Data: b} }

// Idle makes one Next of the plugin time out.
func Idle() abi.Message { return abi.Message{Kind: abi.MessageIdle} }

// Session runs a socket or event route to its end. The client sends the messages, one at
// each Next of the plugin, and then disconnects.
func (h *Harness) Session(r Request, messages ...abi.Message) *Outcome {
	h.t.Helper()
	route, req, refused := h.match(r, manifest.Socket, manifest.Events)
	if refused != nil {
		return &Outcome{Response: fromError(refused)}
	}
	req.Host.Route, req.Host.Action = route.Name, h.instance+":"+route.Action
	s := &script{messages: messages, events: route.Kind == manifest.Events}
	resp := h.run(guest.Session, req, s)
	if !s.out.Accepted || resp.Err != nil {
		h.checkResponse(resp)
		s.out.Response = resp
	}
	if x := resp.Err; s.out.Accepted && x != nil && !s.over() {
		s.out.CloseCode, s.out.CloseReason = closeOf(x)
	}
	return &s.out
}

// closeOf is how the host closes an accepted session whose handler has failed.
func closeOf(x *abi.Error) (code int, reason string) {
	if x.Status >= 400 && x.Status < 500 {
		return 4000, x.Message
	}
	return 1011, x.Message
}

// script is the client's side of a session.
type script struct {
	mu       sync.Mutex
	messages []abi.Message
	read     bool
	events   bool // the client receives events
	out      Outcome
}

func (s *script) over() bool { return s.out.CloseCode != 0 || s.out.Spliced != 0 }

func (c *host) Next(buf []byte, _ uint32) int64 {
	s := c.script
	if s == nil {
		return int64(abi.StatusRefused)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over() {
		return int64(abi.StatusClosed)
	}
	s.out.Accepted, s.read = true, true
	m := abi.Message{Kind: abi.MessageClose}
	if len(s.messages) > 0 {
		m, s.messages = s.messages[0], s.messages[1:]
	}
	return c.deliver(buf, abi.AppendMessage(nil, &m))
}

func (c *host) Send(frame []byte) int32 {
	s := c.script
	if s == nil {
		return int32(abi.StatusRefused)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := abi.DecodeMessage(bytes.Clone(frame))
	switch {
	case s.over():
		return int32(abi.StatusClosed)
	case err != nil || !sendable(m) || m.Kind == abi.MessageEvent && !s.events:
		return int32(abi.StatusInvalid)
	}
	s.out.Accepted = true
	s.out.Sent = append(s.out.Sent, *m)
	return int32(abi.StatusOK)
}

// sendable reports whether a plugin may send a message like m.
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

func (c *host) Close(code uint32, reason []byte) int32 {
	s := c.script
	if s == nil {
		return int32(abi.StatusRefused)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !abi.MayClose(code):
		return int32(abi.StatusInvalid)
	case s.over():
		return int32(abi.StatusClosed)
	}
	s.out.Accepted, s.out.CloseCode, s.out.CloseReason = true, int(code), string(reason)
	return int32(abi.StatusOK)
}

func (c *host) Splice(stream uint32) int32 {
	s := c.script
	if s == nil {
		return int32(abi.StatusRefused)
	}
	c.mu.Lock()
	opened := c.streams
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case stream == 0 || int(stream) > opened:
		return int32(abi.StatusInvalid)
	case s.over() || s.read:
		return int32(abi.StatusRefused)
	}
	s.out.Accepted, s.out.Spliced = true, int(stream)
	return int32(abi.StatusOK)
}
