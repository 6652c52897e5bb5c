package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Times of a socket.
const (
	pingEvery    = 30 * time.Second
	pongWithin   = 45 * time.Second // from the last sign of life
	writeTimeout = 10 * time.Second
)

// socket opens a plugin's socket. The upgrade is answered only when the
// plugin has accepted.
func (d *door) socket(w http.ResponseWriter, r *http.Request) error {
	if !websocket.IsWebSocketUpgrade(r) {
		// Policy decides first, as for any request, so that the existence of the
		// route is not revealed.
		v, err := d.open(r.Context(), r, host.SessionSocket)
		if err != nil {
			return err
		}
		v.close()
		return &host.Error{Kind: host.Invalid, Status: http.StatusUpgradeRequired, Message: "this route is a websocket"}
	}
	// net/http ends the request's context when the handler returns or the
	// connection is taken over; the session outlives neither by itself.
	v, err := d.open(context.WithoutCancel(r.Context()), r, host.SessionSocket)
	if err != nil {
		return err
	}
	defer v.close()
	up := &upgrade{w: w, r: r, session: v.session}
	defer up.close()
	resp, accepted, err := v.plugin.Session(v.session.Context(), v.call, up)
	req := gateway.RequestOf(r.Context())
	switch {
	case accepted:
		req.LogEnd(r.Context(), "socket ended", err)
		return nil
	case err != nil:
		return err
	case req.ClosesRefusal():
		return &host.Error{Kind: host.KindOfStatus(resp.Status), Message: fmt.Sprintf("the plugin answered with status %d", resp.Status)}
	}
	return d.writeResponse(w, r, v, resp)
}

// upgrade is a websocket request whose upgrade has not been answered yet.
type upgrade struct {
	w       http.ResponseWriter
	r       *http.Request
	session *session.Session
	client  *client
	forget  func()
}

// Accept answers the upgrade and ties the connection to the session: when the
// session ends, so does the connection, with the cause.
func (u *upgrade) Accept(protocols []string, longest int) (capability.Client, error) {
	among := func(p string) bool { return slices.Contains(protocols, p) }
	if len(protocols) > 0 && !slices.ContainsFunc(websocket.Subprotocols(u.r), among) {
		return nil, host.E(host.Invalid, "", "the websocket needs the subprotocol %s", strings.Join(protocols, " or "))
	}
	conn, err := gateway.Upgrade(u.w, u.r, protocols)
	if err != nil {
		return nil, host.E(host.Invalid, "", "the websocket handshake failed: %w", err)
	}
	u.client = newClient(conn, u.session)
	if longest > 0 {
		conn.SetReadLimit(int64(longest))
	}
	u.forget = u.session.OnEnd(func(cause error) { u.client.Close(host.CloseCode(cause)) })
	return u.client, nil
}

// End closes the connection; see plugin.Socket.
func (u *upgrade) End(cause error) { u.client.Close(host.CloseCode(cause)) }

func (u *upgrade) close() {
	if u.client != nil {
		u.forget()
		u.client.Close(host.CloseNormal, "")
		u.client.pinger.Wait()
	}
}

// client is the user's end of a socket.
type client struct {
	conn    *websocket.Conn
	session *session.Session
	done    chan struct{}
	pinger  sync.WaitGroup
	hold    func(n int) (free func(), err error) // counts a message while it arrives; nil: nothing does

	mu     sync.Mutex
	closed bool
}

func newClient(conn *websocket.Conn, s *session.Session) *client {
	c := &client{conn: conn, session: s, done: make(chan struct{})}
	conn.SetReadLimit(abi.MaxBody)
	_ = c.alive()
	conn.SetPongHandler(func(string) error { return c.alive() })
	c.pinger.Go(c.ping)
	return c
}

func (c *client) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
			if c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout)) != nil {
				// A plugin that does not read would not notice.
				c.session.End(host.ErrClientGone)
				return
			}
		}
	}
}

func (c *client) Subprotocol() string { return c.conn.Subprotocol() }

func (c *client) Read() (binary bool, data []byte, err error) {
	// Pongs are received only during a Read, so the time between two Reads says
	// nothing about the client.
	if c.alive() != nil {
		return false, nil, host.ErrClientGone
	}
	kind, from, err := c.conn.NextReader()
	if err == nil {
		data, err = c.message(from)
	}
	if err != nil {
		if e, ok := errors.AsType[*websocket.CloseError](err); !ok || e.Code == websocket.CloseAbnormalClosure {
			// Without a close frame, the client stopped answering or its connection
			// broke.
			_ = c.Close(host.CloseGone, host.ErrClientGone.Message)
		}
		return false, nil, host.ErrClientGone
	}
	if kind == websocket.TextMessage && !utf8.Valid(data) {
		_ = c.Close(host.CloseMalformed, "a text message is not UTF-8")
		return false, nil, host.ErrClientGone
	}
	if c.alive() != nil {
		return false, nil, host.ErrClientGone
	}
	return kind == websocket.BinaryMessage, data, nil
}

// Count implements plugin.Counter.
func (c *client) Count(hold func(n int) (free func(), err error)) { c.hold = hold }

// uncounted is how much of a message arrives before it counts, in bytes.
const uncounted = 4 << 10

// message reads a message.
func (c *client) message(from io.Reader) ([]byte, error) {
	if c.hold == nil {
		return io.ReadAll(from)
	}
	data := make([]byte, 0, uncounted)
	for {
		if len(data) == cap(data) {
			free, err := c.hold(cap(data)) // by which it grows
			if err != nil {
				_ = c.Close(host.CloseTooLarge, "your calls and sessions use all the memory they may")
				return nil, err
			}
			defer free() // a dozen times at most
			data = slices.Grow(data, cap(data))
		}
		n, err := from.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (c *client) Write(binary bool, data []byte) error {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	// The last check before bytes are sent: nothing is sent after a logout's answer.
	if !c.session.Alive() {
		return c.session.Cause()
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := c.conn.WriteMessage(kind, data); err != nil {
		return host.ErrClientGone
	}
	return nil
}

// Touch counts as use of the session.
func (c *client) Touch() { c.session.Touch() }

// Close sends a close frame and ends both directions at once.
func (c *client) Close(code int, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	close(c.done)
	return gateway.HangUp(c.conn, code, reason)
}

// alive extends the read deadline, unless the client was closed.
func (c *client) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.conn.SetReadDeadline(time.Now().Add(pongWithin))
}
