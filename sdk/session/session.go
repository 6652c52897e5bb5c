// Package session is for routes of kind socket and events: the plugin talks
// with one client until either side ends it.
//
//	session.Handle("chat", func(r *sdk.Request, s *session.Session) error {
//		for {
//			m, err := s.Next(0)
//			if err != nil {
//				return session.Done(err)
//			}
//			if err := s.Send(m); err != nil {
//				return session.Done(err)
//			}
//		}
//	})
//
// The client's upgrade is answered at the first call on the Session. A handler
// that returns an error before that refuses the upgrade as plain HTTP, so check
// everything first.
//
// The host owns the connection. When the client goes away, Next and Send return
// ErrClosed. When the person logs out, loses the right to the session or
// reaches its limits, the host ends stream and guest itself: there is no call
// in which a plugin could hold that up, and no cleaning up to rely on.
package session

import (
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Message is one message of a session: Text or Binary, and its data.
type Message = abi.Message

// Kinds of messages.
const (
	Text   = abi.MessageText
	Binary = abi.MessageBinary
)

var (
	// ErrClosed means that the session is over: the client went away, or it
	// was closed or spliced.
	ErrClosed = errors.New("session is closed")
	// ErrTimeout means that nothing arrived in the time given to Next. The
	// session goes on.
	ErrTimeout = errors.New("nothing arrived in time")
)

// Done returns nil for ErrClosed and err otherwise: an ended session is an
// ordinary way for a handler to return.
func Done(err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Handle registers the handler of the socket or event route called name in the
// manifest, as sdk.Handle does for unary ones. The session ends when handle
// returns.
func Handle(name string, handle func(*sdk.Request, *Session) error) {
	if handle == nil {
		guest.HandleSession(name, nil)
	}
	guest.HandleSession(name, func(r *abi.Request) error {
		return handle(sdk.NewRequest(r), &Session{})
	})
}

// Session is one client's connection. It is for the goroutine of its handler.
type Session struct {
	in, out []byte
}

// A message is usually short; a longer one makes the buffer grow.
const firstMessage = 4 << 10

// Next waits for the client's next message, at most timeout; zero or less waits
// as long as the session lives. While it waits the plugin uses no CPU; one
// that computes for more than a second between two calls of the host is ended.
// Errors are ErrTimeout, ErrClosed, or a failure of the host.
func (s *Session) Next(timeout time.Duration) (Message, error) {
	if s.in == nil {
		s.in = make([]byte, firstMessage)
	}
	n := next(s.in, milliseconds(timeout))
	if n < 0 {
		return Message{}, statusError("next", abi.Status(n))
	}
	frame, err := guest.Receive(n, &s.in)
	if err != nil {
		return Message{}, err
	}
	m, err := abi.DecodeMessage(frame)
	switch {
	case err != nil:
		return Message{}, err
	case m.Kind == abi.MessageClose:
		return Message{}, ErrClosed
	case m.Kind == abi.MessageIdle:
		return Message{}, ErrTimeout
	}
	return *m, nil
}

// milliseconds rounds up, so that a short time-out is not a poll.
func milliseconds(d time.Duration) uint32 {
	if d <= 0 {
		return math.MaxInt32
	}
	return uint32(min((int64(d)+int64(time.Millisecond)-1)/int64(time.Millisecond), math.MaxInt32))
}

// Send sends a Text or Binary message of at most 8 MiB. On an event stream a
// Text message is one event's data. The data of a Text message is UTF-8. Errors are
// ErrClosed or what the host found wrong with the message.
func (s *Session) Send(m Message) error {
	if m.Kind != Text && m.Kind != Binary {
		return errors.New("session: a message to send is Text or Binary")
	}
	if len(m.Data) > abi.MaxBody {
		return errors.New("session: a message is over 8 MiB")
	}
	if m.Kind == Text && !utf8.Valid(m.Data) {
		return errors.New("session: a text message is not UTF-8")
	}
	s.out = abi.AppendMessage(s.out[:0], &m)
	return statusError("send", abi.Status(send(s.out)))
}

// SendText is Send of a text message.
func (s *Session) SendText(text string) error { return s.Send(Message{Kind: Text, Data: []byte(text)}) }

// What the host takes of a reason; a close frame holds 123 bytes (RFC 6455,
// section 5.5).
const maxReason = 120

// Close ends the session with a close code, 1000 or one of 4000 to 4399 and 4600
// to 4999 (RFC 6455, section 7.4), and a reason, cut to 120 bytes. With another
// code it returns an error and the session goes on: 4400 to 4599 are the host's,
// so that a client can trust what they say, such as that somebody logged out. A
// handler that returns an error closes with 4000 if its status is 400 to 499,
// otherwise with 1011; the reason is its message.
func (s *Session) Close(code int, reason string) error {
	if int(uint32(code)) != code || !abi.MayClose(uint32(code)) {
		return errors.New("session: close code " + strconv.Itoa(code) + " is not 1000, nor within 4000 to 4399 or 4600 to 4999")
	}
	return statusError("close", abi.Status(closeWith(uint32(code), cut(reason))))
}

// Splice hands the client to a stream that a capability opened: from now on
// the host moves the bytes and enforces limits and revocation. It is the last
// call of a handler, which then returns, and is refused after Next: a message
// already read would be lost.
func (s *Session) Splice(stream sdk.Stream) error {
	return statusError("splice", abi.Status(splice(uint32(stream))))
}

func cut(reason string) []byte {
	for len(reason) > maxReason {
		end := maxReason
		for end > 0 && reason[end]&0xc0 == 0x80 {
			end--
		}
		reason = reason[:end]
	}
	return []byte(reason)
}

func statusError(call string, s abi.Status) error {
	switch s {
	case abi.StatusOK:
		return nil
	case abi.StatusClosed:
		return ErrClosed
	case abi.StatusInvalid:
		return errors.New("session: " + call + ": the host found the call invalid")
	case abi.StatusRefused:
		return errors.New("session: " + call + ": not possible in this state")
	}
	return errors.New("session: " + call + ": status " + strconv.Itoa(int(s)))
}
