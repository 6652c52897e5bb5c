package door

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// keepAliveEvery is the time between comments on a silent stream, so that proxies do not
// close it.
const keepAliveEvery = 30 * time.Second

// noRetry is the time in milliseconds, 24 days, before a browser reconnects to a stream
// that has ended. Without it, a browser would reconnect in seconds.
const noRetry = math.MaxInt32

// events runs an event stream (HTML, section 9.2, "Server-sent events"). The last event has
// the type "end" and the cause, so that a client can distinguish a complete stream from an
// interrupted one.
func (d *door) events(w http.ResponseWriter, r *http.Request, v *visit) error {
	s := &eventStream{w: w, ctl: http.NewResponseController(w), session: v.session, done: make(chan struct{}), writeTimeout: writeTimeout}
	forget := v.session.OnEnd(func(cause error) { s.Close(host.CloseCode(cause)) })
	defer forget()
	defer s.keeper.Wait()
	defer s.Close(host.CloseNormal, "")
	resp, accepted, err := v.plugin.Session(v.session.Context(), v.call, s)
	switch {
	case accepted:
		gateway.RequestOf(r.Context()).LogEnd(r.Context(), "event stream ended", err)
		return nil
	case err != nil:
		s.refuse()
		return err
	}
	s.refuse()
	if resp.Status/100 == 3 {
		// A browser follows it with the user's cookie, to a stream that the plugin chose, and shows
		// that to the plugin's page.
		return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it redirects an event stream"}
	}
	return d.writeResponse(w, r, v, resp)
}

// eventStream is the client of an event route: a plugin.Socket until it is accepted, and
// then a capability.Client.
type eventStream struct {
	session *session.Session
	done    chan struct{}
	keeper  sync.WaitGroup
	// writeTimeout bounds one write.
	writeTimeout time.Duration

	mu     sync.Mutex // guards the fields below and every use of the response
	w      http.ResponseWriter
	ctl    *http.ResponseController
	opened bool
	closed bool
}

// Accept begins the answer.
func (s *eventStream) Accept([]string, int) (capability.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.session.Cause()
	}
	eventHeader(s.w.Header())
	s.w.WriteHeader(http.StatusOK)
	s.opened = true
	s.keeper.Go(s.keepAlive)
	return s, s.flush(func(*bufio.Writer) {})
}

func eventHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would buffer events
}

// refuse makes Accept fail, so that the caller writes the response.
func (s *eventStream) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
}

// End closes the stream; see plugin.Socket.
func (s *eventStream) End(cause error) { s.Close(host.CloseCode(cause)) }

func (*eventStream) Subprotocol() string { return "" }

// Read waits for the end: a client of an event stream sends nothing.
func (s *eventStream) Read() (bool, []byte, error) {
	<-s.done
	return false, nil, host.ErrClientGone
}

// Write sends one event. The data is text; each line becomes a line of the event.
func (s *eventStream) Write(binary bool, data []byte) error {
	if binary {
		return host.E(host.Invalid, "", "an event stream carries text")
	}
	return s.WriteEvent("", "", data)
}

// WriteEvent sends one event with a name and an id; see plugin.EventClient.
func (s *eventStream) WriteEvent(name, id string, data []byte) error {
	head := ""
	if name != "" {
		head = "event: " + name + "\n"
	}
	if id != "" {
		head += "id: " + id + "\n"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return host.ErrClientGone
	}
	if !s.session.Alive() {
		return s.session.Cause()
	}
	return s.send(head, data)
}

// Touch counts as use of the session.
func (s *eventStream) Touch() { s.session.Touch() }

// send writes one event, with the fields of head first. It needs s.mu.
func (s *eventStream) send(head string, data []byte) error {
	return s.flush(func(b *bufio.Writer) {
		_, _ = b.WriteString(head)
		for more := true; more; {
			line := data
			// CR also ends a line (HTML, 9.2.5), so text with a CR could forge fields.
			k := bytes.IndexAny(data, "\r\n")
			if more = k >= 0; more {
				line, data = data[:k], bytes.TrimPrefix(data[k:], []byte("\r"))
				if len(data) > 0 && data[0] == '\n' {
					data = data[1:]
				}
			}
			_, _ = b.WriteString("data: ")
			_, _ = b.Write(line)
			if b.WriteByte('\n') != nil {
				return
			}
		}
		_ = b.WriteByte('\n')
	})
}

// eventBuffer is what is written of an event at a time. A whole event is never copied: one
// of line ends alone is seven times its data.
const eventBuffer = 1 << 10

// flush has write write within writeTimeout. It removes the deadline afterwards, because on HTTP/2
// a deadline that passes resets the stream. It needs s.mu.
func (s *eventStream) flush(write func(*bufio.Writer)) error {
	_ = s.ctl.SetWriteDeadline(time.Now().Add(s.writeTimeout)) // if it fails, the write ends with the connection
	b := bufio.NewWriterSize(s.w, eventBuffer)
	write(b)
	err := b.Flush() // or why an earlier write failed
	if err == nil {
		err = s.ctl.Flush()
	}
	if err != nil {
		return host.ErrClientGone
	}
	_ = s.ctl.SetWriteDeadline(time.Time{})
	return nil
}

func (s *eventStream) keepAlive() {
	t := time.NewTicker(keepAliveEvery)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			s.mu.Lock()
			if !s.closed && s.session.Alive() {
				// net/http detects that the client has disconnected.
				_ = s.flush(func(b *bufio.Writer) { _, _ = b.WriteString(": alive\n\n") })
			}
			s.mu.Unlock()
		}
	}
}

// Close sends the event "end" with code and reason, which is the last. A browser should
// reconnect only after a restart of the host.
func (s *eventStream) Close(code int, reason string) error {
	// A write to a client that does not read holds the lock; it must not delay a
	// logout.
	_ = s.ctl.SetWriteDeadline(time.Now().Add(gateway.Linger))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	if !s.opened {
		return nil
	}
	why, err := json.Marshal(map[string]any{"code": code, "reason": reason})
	if err != nil {
		return err
	}
	head := "event: end\n"
	if code != host.CloseRestart {
		head += fmt.Sprintf("retry: %d\n", noRetry)
	}
	return s.send(head, why)
}
