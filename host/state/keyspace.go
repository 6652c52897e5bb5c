package state

import (
	"encoding/base64"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// defaultPrefix is the prefix of a deployment's records if its configuration gives
// none.
const defaultPrefix = "bulkhead/"

// keySpace is the prefixes of the records in the store. The watch follows the facts;
// the directory of live sessions is outside them and read on request. Logins are below
// their user, so that one range ends all of them.
type keySpace struct {
	facts         string // everything that the watch follows
	login         string
	notBefore     string
	key           string
	userEnding    string
	sessionEnding string
	beat          string
	epoch         string
	logout        string
	want          string // what every replica should run

	live string // directory of live sessions
	run  string // what each replica reports that it runs
	once string // names that Once has recorded

	uploads string // the index of uploads
	chunks  string // their content
}

func newKeySpace(prefix string) keySpace {
	facts := prefix + "v1/fact/"
	return keySpace{
		facts: facts,
		login: facts + "login/", notBefore: facts + "mark/", key: facts + "key/",
		userEnding: facts + "cut/", sessionEnding: facts + "end/", beat: facts + "beat/", epoch: facts + "epoch",
		logout: facts + "out/", want: facts + "want/",
		live: prefix + "v1/live/", run: prefix + "v1/run/", once: prefix + "v1/once/",
		uploads: prefix + "v1/uploads", chunks: prefix + "v1/chunk/",
	}
}

// loginKey names a login together with its user.
type loginKey struct {
	user host.UserID
	id   host.LoginID
}

func (p *keySpace) ofLogin(k loginKey) string { return p.loginsOf(k.user) + string(k.id) }

func (p *keySpace) loginsOf(user host.UserID) string { return p.login + escape(user) + "/" }

func (p *keySpace) notBeforeOf(user host.UserID) string { return p.notBefore + escape(user) }

func (p *keySpace) userEndingOf(user host.UserID) string { return p.userEnding + escape(user) }

func (p *keySpace) sessionEndingOf(user host.UserID, session string) string {
	return p.sessionEnding + escape(user) + "/" + session
}

func (p *keySpace) logoutOf(k loginKey) string { return p.logout + escape(k.user) + "/" + string(k.id) }

func (p *keySpace) liveOf(user host.UserID) string { return p.live + escape(user) + "/" }

func (p *keySpace) beatOf(replica string) string { return p.beat + replica }

func (p *keySpace) isBeat(key string) bool { return strings.HasPrefix(key, p.beat) }

func (p *keySpace) parseLogin(key string) (loginKey, bool) {
	user, id, ok := parseBelow(p.login, key)
	return loginKey{user, host.LoginID(id)}, ok
}

// parseBelow splits a key of the form ROOT USER "/" NAME.
func parseBelow(root, key string) (user host.UserID, name string, ok bool) {
	escaped, name, ok := strings.Cut(strings.TrimPrefix(key, root), "/")
	user, known := unescape(escaped)
	return user, name, ok && known && name != ""
}

func parseUser(root, key string) (host.UserID, bool) {
	return unescape(strings.TrimPrefix(key, root))
}

func escape(user host.UserID) string { return base64.RawURLEncoding.EncodeToString([]byte(user)) }

func unescape(s string) (host.UserID, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return host.UserID(b), err == nil && len(b) > 0
}
