package authz

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
)

// Status is what an operator asks of a running engine.
type Status struct {
	RevisionStatus
	Log    *audit.Status `json:"log,omitempty"`
	Shadow *ShadowStatus `json:"shadow,omitempty"`
}

// RevisionStatus is a source and the revision of it that is in use.
type RevisionStatus struct {
	Revision  uint64    `json:"revision"` // 0: none has arrived yet
	Since     time.Time `json:"since"`
	Origin    string    `json:"origin"`
	Digest    string    `json:"digest"`
	Bundle    string    `json:"bundle,omitempty"` // the bundle's own name of its revision
	Tests     int       `json:"tests"`
	Cached    bool      `json:"cached"`            // whether decisions are
	Problem   string    `json:"problem,omitempty"` // why a newer revision does not serve
	SourceOut string    `json:"unreachable,omitempty"`
}

func (t *track) status() RevisionStatus {
	r := t.current.Load()
	from := r.content
	if latest := t.latest.Load(); latest != nil && latest.Digest == from.Digest {
		from = latest // the same, from the place itself and no longer from the copy on disk, or by another name
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

// Status says what serves and how log and shadow do.
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
