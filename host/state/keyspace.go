package state

import (
	"encoding/base64"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// defaultPrefix is where a deployment's records are below, unless it says
// otherwise.
const defaultPrefix = "bulkhead/"

// keySpace is the prefixes in the store below which records are. Facts are what the watch follows; the
// directory of live sessions is beside them, read on request. Logins
// are below their user so that one range ends all of them.
type keySpace struct {
	facts string // everything that the watch follows
	login string
	mark  string
	key   string
	cut   string
	end   string
	beat  string
	epoch string
	out   string
	want  string // what every replica should run

	live string // directory of live sessions
	run  string // what each replica reports that it runs
	once string // what happened and may not happen again

	uploads string // the index of uploads
	chunks  string // their content
}

func newKeySpace(prefix string) keySpace {
	facts := prefix + "v1/fact/"
	return keySpace{
		facts: facts,
		login: facts + "login/", mark: facts + "mark/", key: facts + "key/",
		cut: facts + "cut/", end: facts + "end/", beat: facts + "beat/", epoch: facts + "epoch",
		out: facts + "out/", want: facts + "want/",
		live: prefix + "v1/live/", run: prefix + "v1/run/", once: prefix + "v1/once/",
		uploads: prefix + "v1/uploads", chunks: prefix + "v1/chunk/",
	}
}

// loginKey names a login together with the user under whom it is stored.
type loginKey struct {
	user host.UserID
	id   host.LoginID
}

func (p *keySpace) ofLogin(k loginKey) string { return p.loginsOf(k.user) + string(k.id) }

func (p *keySpace) loginsOf(user host.UserID) string { return p.login + escape(user) + "/" }

func (p *keySpace) markOf(user host.UserID) string { return p.mark + escape(user) }

func (p *keySpace) cutOf(user host.UserID) string { return p.cut + escape(user) }

func (p *keySpace) endOf(user host.UserID, session string) string {
	return p.end + escape(user) + "/" + session
}

func (p *keySpace) outOf(k loginKey) string { return p.out + escape(k.user) + "/" + string(k.id) }

func (p *keySpace) liveOf(user host.UserID) string { return p.live + escape(user) + "/" }

func (p *keySpace) beatOf(replica string) string { return p.beat + replica }

func (p *keySpace) isBeat(place string) bool { return strings.HasPrefix(place, p.beat) }

func (p *keySpace) parseLogin(place string) (loginKey, bool) {
	user, id, ok := parseBelow(p.login, place)
	return loginKey{user, host.LoginID(id)}, ok
}

// parseBelow splits what is one name below a user.
func parseBelow(root, place string) (user host.UserID, name string, ok bool) {
	escaped, name, ok := strings.Cut(strings.TrimPrefix(place, root), "/")
	user, known := unescape(escaped)
	return user, name, ok && known && name != ""
}

func parseUser(root, place string) (host.UserID, bool) {
	return unescape(strings.TrimPrefix(place, root))
}

func escape(user host.UserID) string { return base64.RawURLEncoding.EncodeToString([]byte(user)) }

func unescape(s string) (host.UserID, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return host.UserID(b), err == nil && len(b) > 0
}
