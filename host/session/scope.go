package session

import "github.com/seed-a3fb47d6/bulkhead/host"

// Scope says which sessions end, and which logins with them. The functions below
// make one; the zero Scope ends nothing.
type Scope struct {
	kind  scopeKind
	user  host.UserID
	login host.LoginID
	id    string
	list  []host.SessionInfo
	ids   map[string]bool
}

type scopeKind uint8

const (
	nothing scopeKind = iota
	oneSession
	oneLogin
	otherLogins
	loginAndSessions
	loginsOf
	sessionsOf
	selected
	everybody
)

// OneSession is the user's session with this id, on whichever replica it is.
func OneSession(user host.UserID, id string) Scope {
	return Scope{kind: oneSession, user: user, id: id}
}

// OneLogin is one login and the sessions that were opened under it.
func OneLogin(user host.UserID, login host.LoginID) Scope {
	return Scope{kind: oneLogin, user: user, login: login}
}

// OtherLogins is every login of the user but keep, and the sessions of those.
func OtherLogins(user host.UserID, keep host.LoginID) Scope {
	return Scope{kind: otherLogins, user: user, login: keep}
}

// LoginAndSessions is one login and every session of the user, whichever login it
// was opened under. The user's other logins stay.
func LoginAndSessions(user host.UserID, login host.LoginID) Scope {
	return Scope{kind: loginAndSessions, user: user, login: login}
}

// LoginsOf is every login and every session of the user.
func LoginsOf(user host.UserID) Scope { return Scope{kind: loginsOf, user: user} }

// SessionsOf is every session of the user. Logins stay, so that the user may open
// new sessions at once.
func SessionsOf(user host.UserID) Scope { return Scope{kind: sessionsOf, user: user} }

// Selected is the sessions of a list that Ender.List returned, or of a part of it.
func Selected(list []host.SessionInfo) Scope {
	ids := make(map[string]bool, len(list))
	for i := range list {
		ids[list[i].ID] = true
	}
	return Scope{kind: selected, list: list, ids: ids}
}

// Everybody is the sessions of all users that Ender.List shows.
func Everybody() Scope { return Scope{kind: everybody} }

// scopeOf is the scope of an ending that a replica committed.
func scopeOf(e *host.Ending) Scope {
	switch {
	case e.Session != "":
		return OneSession(e.User, e.Session)
	case e.Login != "":
		return OneLogin(e.User, e.Login)
	}
	return SessionsOf(e.User)
}

// byUser reports whether the scope is of one user's sessions.
func (sc *Scope) byUser() bool { return sc.kind != nothing && sc.kind < selected }

// contains reports whether a session of the scope's user, or of any user if the
// scope is not of one, is in the scope.
func (sc *Scope) contains(s *Session) bool {
	switch sc.kind {
	case oneSession:
		return s.named(sc.id)
	case selected:
		s.mu.Lock()
		defer s.mu.Unlock()
		return sc.ids[s.id]
	}
	return sc.containsLogin(s.principal.Login.ID)
}

func (sc *Scope) containsLogin(id host.LoginID) bool {
	switch sc.kind {
	case oneLogin:
		return id == sc.login
	case otherLogins:
		return id != sc.login
	}
	return sc.kind != nothing
}
