// Package session is for routes of the kinds socket and events: the plugin exchanges
// messages with one client until either side ends the session.
//
//	session.Handle("chat", func(r *sdk.Request, s *session.Session) error {
//		for m, err := range s.Messages(0) {
//			if err != nil {
//				return err
//			}
//			if err := s.Send(m); err != nil {
//				return session.Done(err)
//			}
//		}
//		return nil
//	})
//
// The client's upgrade is answered at the first call on the Session. A handler
// that returns an error before that refuses the upgrade as plain HTTP, so check
// everything first.
//
// The host owns the connection. When the client disconnects, Next and Send return
// ErrClosed. When the user logs out, is no longer permitted or reaches a limit, the host
// ends the stream and the guest itself: a plugin cannot delay this, and must not rely on
// cleanup code.
package session

import (
	"encoding/json"
	"errors"
	"iter"
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
	// ErrClosed means that the session has ended: the client disconnected, or the
	// session was closed or spliced.
	ErrClosed = errors.New("session is closed")
	// ErrTimeout means that no message arrived in the time given to Next. The session
	// continues.
	ErrTimeout = errors.New("nothing arrived in time")
)

// Done returns nil for ErrClosed and err otherwise, since a handler usually returns because
// the session has ended.
func Done(err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Handle registers the handler of the socket or event route with this name in the manifest,
// as sdk.Handle does for unary routes. The session ends when handle returns.
func Handle(name string, handle func(*sdk.Request, *Session) error) {
	if handle == nil {
		guest.HandleSession(name, nil)
	}
	guest.HandleSession(name, func(r *abi.Request) error {
		return handle(sdk.NewRequest(r), &Session{})
	})
}

// Route registers the handler of the socket or event route with this method and path in the
// manifest, as sdk.Route does for unary routes.
func Route(pattern string, handle func(*sdk.Request, *Session) error) {
	if handle == nil {
		guest.SessionPattern(pattern, nil)
	}
	guest.SessionPattern(pattern, func(r *abi.Request) error {
		return handle(sdk.NewRequest(r), &Session{})
	})
}

// Session is one client's connection. Use it only in the goroutine of its handler.
type Session struct {
	in, out []byte
}

// firstMessage is the initial size of the message buffer; a longer message makes it grow.
const firstMessage = 4 << 10

// Next waits for the client's next message, at most timeout; zero or less means until the
// session ends. A waiting plugin uses no processor time. The host stops a plugin that
// computes for more than a second between two messages of its client. Errors are
// ErrTimeout, ErrClosed, or a failure of the host.
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

// milliseconds rounds up, so that a short time-out does not become zero.
func milliseconds(d time.Duration) uint32 {
	if d <= 0 {
		return math.MaxInt32
	}
	return uint32(min((int64(d)+int64(time.Millisecond)-1)/int64(time.Millisecond), math.MaxInt32))
}

// Send sends a Text or Binary message of at most 8 MiB. On an event stream a Text message
// is the data of one event. The data of a Text message must be UTF-8. Errors are ErrClosed
// or a problem of the message.
func (s *Session) Send(m Message) error {
	if m.Kind != Text && m.Kind != Binary {
		return errors.New("session: a message must be Text or Binary")
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

// Messages yields the client's messages until the session ends. It yields ErrTimeout, and goes
// on, if none arrives within timeout; zero or less waits until the session ends. Any other error
// ends it.
//
//	for m, err := range s.Messages(0) {
func (s *Session) Messages(timeout time.Duration) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Next(timeout)
			if errors.Is(err, ErrClosed) || !yield(m, err) || err != nil && !errors.Is(err, ErrTimeout) {
				return
			}
		}
	}
}

// SendEach sends each value of values to the client as JSON, in a Text message of its own, such
// as the events of kube.Watch. It returns nil when there are no more or the session has ended,
// and otherwise the first error of values, of encoding or of sending.
func SendEach[T any](s *Session, values iter.Seq2[T, error]) error {
	for v, err := range values {
		if err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := s.Send(Message{Kind: Text, Data: text}); err != nil {
			return Done(err)
		}
	}
	return nil
}

// SendText is Send of a text message.
func (s *Session) SendText(text string) error { return s.Send(Message{Kind: Text, Data: []byte(text)}) }

// SendEvent sends one event of an event stream, with a name (HTML, section 9.2.6: the
// event's type) and an id, both of which may be empty; see abi.SplitEvent for their bounds.
// A client that connects again sends the last id in the header Last-Event-ID. Errors are
// those of Send; on a socket, events cannot be sent.
func (s *Session) SendEvent(name, id, text string) error {
	data := abi.EventData(name, id, []byte(text))
	if _, _, _, ok := abi.SplitEvent(data); !ok || len(data) > abi.MaxBody {
		return errors.New("session: the event's name, id or text is not valid, or it is over 8 MiB")
	}
	s.out = abi.AppendMessage(s.out[:0], &Message{Kind: abi.MessageEvent, Data: data})
	return statusError("send", abi.Status(send(s.out)))
}

// maxReason is the longest reason that the host accepts, in bytes; a close frame has room
// for 123 (RFC 6455, section 5.5).
const maxReason = 120

// Close ends the session with a close code, 1000 or one of 4000 to 4399 and 4600 to 4999
// (RFC 6455, section 7.4), and a reason, which is truncated to 120 bytes. For any other
// code it returns an error and the session continues: 4400 to 4599 are the host's, so that
// clients can rely on them, for example after a logout. If a handler returns an error, the
// session closes with 4000 if its status is 400 to 499, otherwise with 1011; the reason is
// its message.
func (s *Session) Close(code int, reason string) error {
	if int(uint32(code)) != code || !abi.MayClose(uint32(code)) {
		return errors.New("session: close code " + strconv.Itoa(code) + " must be 1000, 4000 to 4399 or 4600 to 4999")
	}
	return statusError("close", abi.Status(closeWith(uint32(code), cut(reason))))
}

// Splice connects the client to a stream that a capability opened: from now on the host
// moves the bytes and enforces limits and revocation. It must be the last call of a
// handler, which then returns. It is refused after Next, because messages that were already
// read would be lost.
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
