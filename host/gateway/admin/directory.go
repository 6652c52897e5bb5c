package admin

import (
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// Directory is the part of the directory that administrators may see; *directory.Directory
// implements it and documents the methods.
type Directory interface {
	Revision() uint64
	Problems() []directory.Problem
	Sources() []directory.SourceStatus
}

// directory handles GET /api/admin/directory: the entries that the directory leaves
// out, and the state of the clusters that it reads.
func (a *admin) directory(w http.ResponseWriter, _ *http.Request) error {
	type source struct {
		Cluster string     `json:"cluster"`
		Known   bool       `json:"known"`
		Entries int        `json:"entries"`
		Problem string     `json:"problem,omitempty"`
		Since   *time.Time `json:"since,omitempty"`
	}
	sources := []source{}
	for _, s := range a.Directory.Sources() {
		x := source{Cluster: s.Cluster, Known: s.Known, Entries: s.Objects, Problem: s.Problem}
		if s.Problem != "" {
			x.Since = &s.Since
		}
		sources = append(sources, x)
	}
	problems := append([]directory.Problem{}, a.Directory.Problems()...)
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"revision": a.Directory.Revision(), "clusters": sources, "problems": problems})
	return nil
}
