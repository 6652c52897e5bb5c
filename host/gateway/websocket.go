package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

const (
	handshakeTimeout = 10 * time.Second
	maxCloseReason   = 123 // bytes of a close frame's reason (RFC 6455, section 5.5)
)

// Linger is how long a connection stays open so that the client can read why it ends.
const Linger = time.Second

// Upgrade answers the upgrade of a request that passed authn.CheckOrigin, with the first of
// the client's subprotocols that is in protocols. Without an error the caller must end the
// connection with HangUp.
func Upgrade(w http.ResponseWriter, r *http.Request, protocols []string) (*websocket.Conn, error) {
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout, Subprotocols: protocols,
		CheckOrigin: func(*http.Request) bool { return true },
		Error:       func(http.ResponseWriter, *http.Request, int, error) {},
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err == nil {
		RequestOf(r.Context()).w.status = http.StatusSwitchingProtocols // the upgrader bypasses the responseWriter
	}
	return conn, err
}

// HangUp closes conn with a close frame of code and reason, which is truncated to the size
// of a frame. The descriptor stays open for Linger, because a connection that is closed
// with unread input is reset, and the client would lose the frame. HangUp may be called
// while another goroutine reads or writes.
func HangUp(conn *websocket.Conn, code int, reason string) error {
	reason = text.Cut(strings.ToValidUTF8(reason, ""), maxCloseReason)
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(Linger))
	_ = conn.SetReadDeadline(time.Unix(1, 0)) // interrupts a blocked read
	if half, ok := conn.NetConn().(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		time.AfterFunc(Linger, func() { conn.Close() })
		return nil
	}
	return conn.Close()
}
