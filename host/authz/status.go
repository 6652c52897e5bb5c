package authz

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
)

// Status is the state of a running engine, for operators.
type Status struct {
	RevisionStatus
	Log    *audit.Status `json:"log,omitempty"`
	Shadow *ShadowStatus `json:"shadow,omitempty"`
}

// RevisionStatus is a source and its published revision.
type RevisionStatus struct {
	Revision  uint64    `json:"revision"` // 0: none has arrived yet
	Since     time.Time `json:"since"`
	Origin    string    `json:"origin"`
	Digest    string    `json:"digest"`
	Bundle    string    `json:"bundle,omitempty"` // the bundle's own name of its revision
	Tests     int       `json:"tests"`
	Cached    bool      `json:"cached"`            // whether decisions are cached
	Problem   string    `json:"problem,omitempty"` // why a newer revision is not published
	SourceOut string    `json:"unreachable,omitempty"`
}

func (t *track) status() RevisionStatus {
	r := t.current.Load()
	from := r.content
	if latest := t.latest.Load(); latest != nil && latest.Digest == from.Digest {
		from = latest // the same content, but from the source itself instead of the copy on disk, or with another name
	}
	s := RevisionStatus{
		Revision: r.number, Since: r.at, Origin: from.Origin, Digest: from.Digest, Bundle: from.Revision,
		Tests: r.passed, Cached: r.cacheable,
	}
	if err := t.failed.Load(); err != nil {
		s.Problem = err.Message
	}
	if err := t.away.Load(); err != nil {
		s.SourceOut = err.Message
	}
	return s
}

// Status returns the published revision and the state of the log and the shadow.
func (e *Engine) Status() Status {
	s := Status{RevisionStatus: e.track.status()}
	if e.decisions != nil {
		s.Log = e.decisions.Status()
	}
	if e.shadow != nil {
		s.Shadow = e.shadow.status()
	}
	return s
}
