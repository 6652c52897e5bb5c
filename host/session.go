package host

import "time"

// SessionKind is the kind of a session.
type SessionKind string

const (
	SessionCall   SessionKind = "call"   // one request and its answer
	SessionEvents SessionKind = "events" // an event stream
	SessionSocket SessionKind = "socket" // a websocket
)

// SessionInfo describes a session for lists, on its own replica and on others. No decision
// depends on it. Its JSON names are those of the HTTP API and of the store.
type SessionInfo struct {
	ID         string      `json:"id"`
	User       UserID      `json:"user"`
	Kind       SessionKind `json:"kind"`
	Plugin     string      `json:"plugin"`
	Route      string      `json:"route,omitempty"`
	Target     string      `json:"target,omitempty"` // "dev/shop/web-0"
	Started    time.Time   `json:"started"`
	LastUsed   time.Time   `json:"lastUsed,omitzero"` // known on its own replica only
	RemoteAddr string      `json:"remoteAddr,omitempty"`
	RequestID  string      `json:"requestId,omitempty"`
	Replica    string      `json:"replica"` // on which it runs
	Login      LoginID     `json:"login"`
	Cause      error       `json:"-"` // why it ended, nil while it is live; known on its own replica only
}

// Ending is the fact that live sessions must end, on every replica.
type Ending struct {
	User UserID
	// Session, if set, is the one session that ends.
	Session string
	// Login, if set and Session is not, means the sessions of this login. If neither is
	// set, all sessions of the user end.
	Login LoginID
	Cause error
}
