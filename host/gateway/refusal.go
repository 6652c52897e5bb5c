package gateway

import (
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
	"github.com/seed-a3fb47d6/bulkhead/host"
)

// refusalKey asks, with the value "close", that a websocket that is refused is
// opened and closed at once: a browser shows a page a close code and its reason,
// but nothing of an upgrade that was answered with plain HTTP.
const (
	refusalKey   = "bulkhead-refusal"
	refusalClose = "close"
)

// closesRefusal reports whether a refusal of r is told by a close code. A
// foreign page is told nothing.
func (g *Gateway) closesRefusal(r *http.Request) bool {
	if !websocket.IsWebSocketUpgrade(r) {
		return false
	}
	own, _ := ownQuery(r.URL.RawQuery)
	return checkRefusal(own[refusalKey]) == nil && own[refusalKey] != nil && g.Authn.CheckOrigin(r) == nil
}

func checkRefusal(values []string) error {
	if len(values) > 1 || len(values) == 1 && values[0] != refusalClose {
		return host.E(host.Invalid, "", "%s is not %q, given once", refusalKey, refusalClose)
	}
	return nil
}

// closeRefused answers an upgrade that was refused with e by closing it, and
// reports whether it could.
func closeRefused(w http.ResponseWriter, r *http.Request, e *host.Error) bool {
	// A browser that offers subprotocols gives up a socket that speaks none.
	conn, err := accept(w, r, websocket.Subprotocols(r))
	if err != nil {
		return false
	}
	infoOf(r.Context()).w.status = e.HTTPStatus() // for the access log
	code, reason := refusalCode(e)
	_ = hangUp(conn, code, reason) // a client that is gone needs no reason
	return true
}

// refusalCode is 4000 and the status of e's kind, so that a status that only a
// plugin knows is none of the codes by which the host ends a session. The reason
// is e's code where it has one, such as reason_required, otherwise its message.
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

// isCode tells codes from text that is for people.
func isCode(detail string) bool {
	return detail != "" && strings.Trim(detail, "abcdefghijklmnopqrstuvwxyz_") == ""
}
