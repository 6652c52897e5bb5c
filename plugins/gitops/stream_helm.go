package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

// releasesStream follows the newest revision of every release.
func releasesStream(r *sdk.Request, s *session.Session) error {
	clusters, namespace, err := scopeOf(r)
	if err != nil {
		return err
	}
	st := &stream{request: r, session: s, key: "releases"}
	for _, cluster := range clusters {
		st.parts = append(st.parts, &part{cluster: string(cluster), changes: func(p *part) (*partChanges, error) {
			return releaseChanges(cluster, namespace, p.cursor)
		}})
	}
	return st.run()
}

func releaseChanges(cluster helm.Cluster, namespace, cursor string) (*partChanges, error) {
	found, err := cluster.Changes(namespace, cursor, 0)
	if err != nil {
		return nil, err
	}
	out := &partChanges{cursor: found.Cursor, complete: found.Complete}
	for _, release := range found.Releases {
		out.items = append(out.items, releaseItem{string(cluster), release})
	}
	for _, gone := range found.Removed {
		out.removed = append(out.removed, removedItem{Namespace: gone.Namespace, Name: gone.Name})
	}
	return out, nil
}
