package state

import (
	"encoding/base64"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Where records live in the store. Logins are below their user so that one
// range ends all of them.
const (
	root      = "bulkhead/v1/"
	loginRoot = root + "login/"
	markRoot  = root + "mark/"
	keyRoot   = root + "key/"
	beatPlace = root + "beat"
)

// loginKey names a login together with the user under whom it is stored.
type loginKey struct {
	user host.UserID
	id   host.LoginID
}

func (k loginKey) place() string { return loginsOf(k.user) + string(k.id) }

func loginsOf(user host.UserID) string { return loginRoot + escape(user) + "/" }

func markOf(user host.UserID) string { return markRoot + escape(user) }

func parseLogin(place string) (loginKey, bool) {
	user, id, ok := strings.Cut(strings.TrimPrefix(place, loginRoot), "/")
	u, known := unescape(user)
	return loginKey{u, host.LoginID(id)}, ok && known && id != ""
}

func parseMark(place string) (host.UserID, bool) {
	return unescape(strings.TrimPrefix(place, markRoot))
}

func escape(user host.UserID) string { return base64.RawURLEncoding.EncodeToString([]byte(user)) }

func unescape(s string) (host.UserID, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return host.UserID(b), err == nil && len(b) > 0
}
