package host

import (
	"encoding/json"
	"testing"
	"time"
)

// earlierEntry is how a session was shared before it had the HTTP API's names.
// Replicas of both versions run side by side while one replaces the other.
type earlierEntry struct {
	Replica, ID                                        string
	User                                               UserID
	Login                                              LoginID
	Kind, Plugin, Route, Target, RequestID, RemoteAddr string
	Started                                            time.Time
}

func TestSharedSessionsAreReadByEarlierVersionsAndReadTheirs(t *testing.T) {
	began := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	old := earlierEntry{"r", "s", "ann", "l", "socket", "exec", "terminal", "dev/shop/web", "q", "10.0.0.1", began}
	now := SessionInfo{
		Replica: "r", ID: "s", User: "ann", Login: "l", Kind: SessionSocket, Plugin: "exec", Route: "terminal",
		Target: "dev/shop/web", RequestID: "q", RemoteAddr: "10.0.0.1", Started: began,
	}
	var readNow SessionInfo
	if text, err := json.Marshal(old); err != nil || json.Unmarshal(text, &readNow) != nil || readNow != now {
		t.Errorf("an entry of an earlier version is read as %+v", readNow)
	}
	var readThen earlierEntry
	if text, err := json.Marshal(now); err != nil || json.Unmarshal(text, &readThen) != nil || readThen != old {
		t.Errorf("an earlier version reads %+v", readThen)
	}
}
