package gateway

import (
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
	"github.com/seed-a3fb47d6/bulkhead/host"
)

// refusalKey, with the value "close", makes the host open a refused websocket and close it
// at once: a browser shows a page the close code and its reason, but nothing of an upgrade
// that was answered with plain HTTP.
const (
	refusalKey   = "bulkhead-refusal"
	refusalClose = "close"
)

// closesRefusal reports whether a refusal of r is sent as a close code. Pages of another
// site cannot request this.
func (g *Gateway) closesRefusal(r *http.Request) bool {
	if !websocket.IsWebSocketUpgrade(r) {
		return false
	}
	own, _ := ownQuery(r.URL.RawQuery)
	return checkRefusal(own[refusalKey]) == nil && own[refusalKey] != nil && g.Authn.CheckOrigin(r) == nil
}

func checkRefusal(values []string) error {
	if len(values) > 1 || len(values) == 1 && values[0] != refusalClose {
		return host.E(host.Invalid, "", "%s must be given once and be %q", refusalKey, refusalClose)
	}
	return nil
}

// closeRefused answers an upgrade that was refused with e by closing it, and
// reports whether it could.
func closeRefused(w http.ResponseWriter, r *http.Request, e *host.Error) bool {
	// A browser that offers subprotocols fails a socket that selects none.
	conn, err := Upgrade(w, r, websocket.Subprotocols(r))
	if err != nil {
		return false
	}
	RequestOf(r.Context()).w.status = e.HTTPStatus() // for the access log
	code, reason := refusalCode(e)
	_ = HangUp(conn, code, reason) // fails only if the client has disconnected
	return true
}

// refusalCode returns 4000 plus the status of e's kind. It does not use e's own status,
// which a plugin can choose and which could look like the host's end of a session. The
// reason is e's code, such as reason_required, or its message if it has none.
func refusalCode(e *host.Error) (code int, reason string) {
	code, reason = host.CloseFailed, e.Public()
	if status := e.Kind.HTTPStatus(); status < 500 || e.Kind == host.Unavailable {
		code = 4000 + status
	}
	if isCode(e.Detail) {
		reason = e.Detail
	}
	return code, reason
}

// isCode reports whether detail is a code rather than a sentence.
func isCode(detail string) bool {
	return detail != "" && strings.Trim(detail, "abcdefghijklmnopqrstuvwxyz_") == ""
}
