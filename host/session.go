package host

import "time"

// SessionKind is what a session is.
type SessionKind string

const (
	SessionCall   SessionKind = "call"   // one request and its answer
	SessionEvents SessionKind = "events" // an event stream
	SessionSocket SessionKind = "socket" // a websocket
)

// SessionInfo describes a session to people, on its own replica and on others.
// Nothing is decided by it. The names of its JSON are those of the HTTP API; the
// store keeps the same.
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
	Cause      error       `json:"-"` // why it ended, nil while it lives; known on its own replica only
}

// Ending is the fact that live sessions have to end, on whichever replica they are.
type Ending struct {
	User UserID
	// Session, when set, is the one session that ends.
	Session string
	// Login, when set and Session is not, means the sessions of this login. When
	// neither is set, all sessions of the user end.
	Login LoginID
	Cause error
}
