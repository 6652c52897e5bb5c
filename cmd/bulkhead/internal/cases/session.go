package cases

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Step is one thing that happens in a session: one of its fields is given. After the last
// step the client leaves, unless that is Close.
type Step struct {
	Send    *Content  `json:"send,omitempty"`    // the client sends it; base64 is a binary message
	Receive *Received `json:"receive,omitempty"` // the next that the plugin sends
	Close   *Closed   `json:"close,omitempty"`   // the plugin ends the session
}

// Received is a message or an event. What is absent is not compared.
type Received struct {
	Content
	Contains string `json:"contains,omitempty"`
	Event    string `json:"event,omitempty"` // of an event: its name
	ID       string `json:"id,omitempty"`    // of an event
}

// Closed is how a session ends.
type Closed struct {
	Code   int    `json:"code,omitempty"`   // 1000 if absent
	Reason string `json:"reason,omitempty"` // not compared if absent
}

// patience is how long a step may take.
const patience = 10 * time.Second

func (c *Case) checkSession() error {
	if c.Socket != nil && c.Events != nil {
		return errors.New("socket: excludes events")
	}
	for kind, steps := range map[string]*[]Step{"socket": c.Socket, "events": c.Events} {
		if steps == nil {
			continue
		}
		if c.Answer.Status >= 400 && len(*steps) > 0 {
			return fmt.Errorf("%s: a session that is refused has no steps", kind)
		}
		for i, s := range *steps {
			if err := s.check(kind, i == len(*steps)-1); err != nil {
				return fmt.Errorf("%s[%d]: %w", kind, i, err)
			}
		}
	}
	return nil
}

func (s *Step) check(kind string, last bool) error {
	switch {
	case !one(s.Send != nil, s.Receive != nil, s.Close != nil):
		return errors.New("give one of send, receive and close")
	case s.Send != nil && kind == "events":
		return errors.New("send: the client of an event stream sends nothing")
	case s.Close != nil && !last:
		return errors.New("close: must be the last step")
	case s.Receive != nil && kind == "socket" && (s.Receive.Event != "" || s.Receive.ID != ""):
		return errors.New("receive: a socket's messages have neither event nor id")
	case s.Send != nil:
		return s.Send.check()
	case s.Receive != nil:
		return s.Receive.Content.check()
	}
	return nil
}

// message is what a client receives.
type message struct {
	binary    bool
	event, id string
	data      []byte
	closed    *Closed // the end instead of a message
}

func (m *message) String() string {
	switch {
	case m.closed != nil:
		return fmt.Sprintf("the end, with code %d and reason %q", m.closed.Code, m.closed.Reason)
	case m.binary:
		return fmt.Sprintf("the binary message %.300x", m.data)
	case m.event != "":
		return fmt.Sprintf("the event %s: %.300q", m.event, m.data)
	}
	return fmt.Sprintf("%.300q", m.data)
}

// wire is the client's end of a session.
type wire interface {
	send(*Content) error
	// receive returns the next message, or how the session has ended.
	receive() (*message, error)
	// leave disconnects.
	leave()
}

// session opens the session of a case and takes its steps.
func (r *rig) session(ctx context.Context, c *Case) (status int, problems []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open, steps := r.stream, c.Events
	if c.Socket != nil {
		open, steps = r.dial, c.Socket
	}
	w, resp, err := open(ctx, c, cancel)
	if err != nil {
		return 0, nil, err
	}
	if w == nil {
		if c.Answer.Status == 0 {
			c = &Case{Answer: Answer{Status: http.StatusOK}} // so that the refusal is a problem
		}
		problems, err = c.Answer.check(resp)
		return resp.StatusCode, problems, err
	}
	defer w.leave()
	if c.Answer.Status >= 400 {
		return resp.StatusCode, []string{fmt.Sprintf("the session was opened, want the refusal %d", c.Answer.Status)}, nil
	}
	for i, s := range *steps {
		if problem := s.take(w); problem != "" {
			return resp.StatusCode, []string{fmt.Sprintf("step %d: %s", i, problem)}, nil
		}
	}
	return resp.StatusCode, nil, nil
}

// take takes a step and returns what is wrong.
func (s *Step) take(w wire) string {
	if s.Send != nil {
		if err := w.send(s.Send); err != nil {
			return "the message could not be sent: " + err.Error()
		}
		return ""
	}
	got, err := w.receive()
	if err != nil {
		return err.Error()
	}
	if s.Close != nil {
		return s.Close.compare(got)
	}
	return s.Receive.compare(got)
}

func (c *Closed) compare(got *message) string {
	code := c.Code
	if code == 0 {
		code = websocket.CloseNormalClosure
	}
	if got.closed == nil || got.closed.Code != code || c.Reason != "" && got.closed.Reason != c.Reason {
		return fmt.Sprintf("got %s, want %s", got, &message{closed: &Closed{code, c.Reason}})
	}
	return ""
}

func (r *Received) compare(got *message) string {
	switch {
	case got.closed != nil:
		return "the session has ended: got " + got.String()
	case r.Event != "" && r.Event != got.event:
		return fmt.Sprintf("got %s, want the event %s", got, r.Event)
	case r.ID != "" && r.ID != got.id:
		return fmt.Sprintf("got the id %q, want %q", got.id, r.ID)
	case r.given() && got.binary != (r.Base64 != ""):
		return fmt.Sprintf("got %s, which is of the other kind", got)
	case r.given() && !r.sameBody(got.data):
		return fmt.Sprintf("got %s, want %.300q", got, r.bytes())
	case !bytes.Contains(got.data, []byte(r.Contains)):
		return fmt.Sprintf("got %s, which does not contain %q", got, r.Contains)
	}
	return ""
}

// dial opens a websocket; without one, the answer says why.
func (r *rig) dial(ctx context.Context, c *Case, _ func()) (wire, *http.Response, error) {
	path, query, _ := strings.Cut(c.Request.Path, "?")
	target := strings.Replace(r.host.URL(), "http", "ws", 1) + "/ws/" + r.name + strings.TrimSuffix(path, "/")
	if query != "" {
		target += "?" + query
	}
	header := c.Request.header()
	dialer := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: header.Values("Sec-WebSocket-Protocol")}
	header.Del("Sec-WebSocket-Protocol")
	conn, resp, err := dialer.DialContext(ctx, target, header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil, resp, nil
	}
	if err != nil {
		return nil, nil, err
	}
	conn.SetReadLimit(maxAnswer)
	return &socketWire{conn}, resp, nil
}

type socketWire struct{ conn *websocket.Conn }

func (w *socketWire) send(c *Content) error {
	kind := websocket.TextMessage
	if c.Base64 != "" {
		kind = websocket.BinaryMessage
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	return w.conn.WriteMessage(kind, c.bytes())
}

func (w *socketWire) receive() (*message, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	kind, data, err := w.conn.ReadMessage()
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		return &message{closed: &Closed{e.Code, e.Text}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nothing was received: %w", err)
	}
	return &message{binary: kind == websocket.BinaryMessage, data: data}, nil
}

func (w *socketWire) leave() {
	_ = w.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	_ = w.conn.Close()
}

// stream opens an event stream; without one, the answer says why.
func (r *rig) stream(ctx context.Context, c *Case, cancel func()) (wire, *http.Response, error) {
	resp, err := r.send(ctx, &c.Request)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return nil, resp, nil
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, maxAnswer)
	return &eventWire{resp, in, cancel, time.AfterFunc(patience, cancel)}, resp, nil
}

type eventWire struct {
	resp   *http.Response
	in     *bufio.Scanner
	cancel func()
	timer  *time.Timer // ends a wait that is too long
}

func (*eventWire) send(*Content) error { return errors.New("an event stream has no way back") }

func (w *eventWire) receive() (*message, error) {
	w.timer.Reset(patience)
	m, some := &message{}, false
	for w.in.Scan() {
		name, value, _ := strings.Cut(w.in.Text(), ": ")
		switch name {
		case "event":
			m.event = value
		case "id":
			m.id = value
		case "data":
			if some {
				m.data = append(m.data, '\n')
			}
			m.data, some = append(m.data, value...), true
		case "":
			if !some {
				continue // a comment, which keeps the connection alive
			}
			if m.event == "end" {
				m.closed = &Closed{}
				return m, json.Unmarshal(m.data, m.closed)
			}
			return m, nil
		}
	}
	return nil, errors.New("nothing was received: the connection has ended, or the time")
}

func (w *eventWire) leave() {
	w.timer.Stop()
	w.cancel()
	_ = w.resp.Body.Close()
}
