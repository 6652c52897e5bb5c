package session

import "github.com/seed-a3fb47d6/bulkhead/host"

// Scope is a set of sessions and logins to end. The functions below make one; the zero
// Scope is empty.
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

// OneSession is the user's session with this id, on any replica.
func OneSession(user host.UserID, id string) Scope {
	return Scope{kind: oneSession, user: user, id: id}
}

// OneLogin is one login and its sessions.
func OneLogin(user host.UserID, login host.LoginID) Scope {
	return Scope{kind: oneLogin, user: user, login: login}
}

// OtherLogins is every login of the user except keep, and their sessions.
func OtherLogins(user host.UserID, keep host.LoginID) Scope {
	return Scope{kind: otherLogins, user: user, login: keep}
}

// LoginAndSessions is one login, and every session of the user under any login. The
// user's other logins stay.
func LoginAndSessions(user host.UserID, login host.LoginID) Scope {
	return Scope{kind: loginAndSessions, user: user, login: login}
}

// LoginsOf is every login and every session of the user.
func LoginsOf(user host.UserID) Scope { return Scope{kind: loginsOf, user: user} }

// SessionsOf is every session of the user. Logins stay, so the user may open new sessions
// at once.
func SessionsOf(user host.UserID) Scope { return Scope{kind: sessionsOf, user: user} }

// Selected is the sessions of a list, or part of a list, that Ender.List returned.
func Selected(list []host.SessionInfo) Scope {
	ids := make(map[string]bool, len(list))
	for i := range list {
		ids[list[i].ID] = true
	}
	return Scope{kind: selected, list: list, ids: ids}
}

// Everybody is the sessions of all users that Ender.List shows.
func Everybody() Scope { return Scope{kind: everybody} }

// scopeOf returns the scope of an ending that a replica committed.
func scopeOf(e *host.Ending) Scope {
	switch {
	case e.Session != "":
		return OneSession(e.User, e.Session)
	case e.Login != "":
		return OneLogin(e.User, e.Login)
	}
	return SessionsOf(e.User)
}

// byUser reports whether all sessions of the scope belong to one user.
func (sc *Scope) byUser() bool { return sc.kind != nothing && sc.kind < selected }

// contains reports whether a session is in the scope. If the scope has a user, the session
// must be that user's.
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
