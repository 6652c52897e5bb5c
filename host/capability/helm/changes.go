package helm

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// changesShown is the answer to a request for what has changed in a list of releases.
type changesShown struct {
	Cursor   string         `json:"cursor"`             // for the next request
	Complete bool           `json:"complete,omitempty"` // Releases is the whole list
	Releases []*releaseInfo `json:"releases"`
	Removed  []releaseName  `json:"removed,omitempty"`
}

type releaseName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// changes answers which releases have changed since a cursor: their newest revisions.
func (h *Helm) changes(ctx context.Context, p *capability.Permit, q *request) (*abi.Response, error) {
	w := cluster.Watch{Collection: releaseSecrets(q.namespace), Cursor: q.cursor, Wait: q.within, Limit: math.MaxInt}
	if q.namespace == "" && !p.Narrowing.All() {
		w.Within = p.Narrowing.Contains
	}
	ask := func() (*cluster.Changes, error) {
		return h.clusters.Watch(ctx, q.cluster, p.Obligations.Impersonate, p.Caller.Authority, &w)
	}
	found, err := ask()
	if err != nil {
		return nil, err
	}
	out := changesShown{Cursor: found.Cursor, Complete: found.Complete, Releases: []*releaseInfo{}}
	touched := map[releaseName]bool{}
	for _, c := range found.List {
		if k, ok := parseKey(c.Namespace, c.Name); ok {
			touched[releaseName{k.namespace, k.release}] = true
		}
	}
	if len(touched) == 0 {
		return answer(out)
	}
	all := found
	if !found.Complete {
		w.Cursor, w.Wait = "", 0
		if all, err = ask(); err != nil {
			return nil, err
		}
	}
	newest, err := newestOf(all.List)
	if err != nil {
		return nil, err
	}
	for n := range touched {
		if info := newest[n]; info != nil {
			out.Releases = append(out.Releases, info)
		} else if !found.Complete {
			out.Removed = append(out.Removed, n)
		}
	}
	slices.SortFunc(out.Releases, func(a, b *releaseInfo) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(out.Removed, func(a, b releaseName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return answer(out)
}

// newestOf returns the newest revision of each release.
func newestOf(all []cluster.Change) (map[releaseName]*releaseInfo, error) {
	newest := map[releaseName]*releaseInfo{}
	for _, c := range all {
		info := new(releaseInfo)
		if err := json.Unmarshal(c.Object, info); err != nil {
			return nil, &host.Error{Kind: host.Internal, Op: name, Message: "what is kept of a release cannot be read", Err: err}
		}
		n := releaseName{info.Namespace, info.Name}
		if newest[n] == nil || newest[n].Revision < info.Revision {
			newest[n] = info
		}
	}
	return newest, nil
}

// releaseSecrets is the collection of the Secrets that record releases, of which only what
// a list shows is kept. An empty namespace means all.
func releaseSecrets(namespace string) cluster.Collection {
	return cluster.Collection{
		Version: "v1", Resource: "secrets", Namespace: namespace, Selector: "owner=helm", Name: cluster.SharedReleases, Keep: keepInfo, ListSuffices: true,
	}
}

// keepInfo returns what a list shows of the release in a Secret; nil if it is damaged or not
// of helm, as in lists.
func keepInfo(secret []byte) (json.RawMessage, error) {
	var s struct {
		Metadata struct{ Namespace, Name string }
		Data     struct{ Release []byte }
	}
	if err := json.Unmarshal(secret, &s); err != nil {
		return nil, nil
	}
	k, ok := parseKey(s.Metadata.Namespace, s.Metadata.Name)
	if !ok {
		return nil, nil
	}
	text, err := unpack(s.Data.Release, newBudget(maxRelease))
	if err != nil {
		return nil, nil
	}
	rel, err := decodeRelease(text, false)
	if err == nil {
		err = k.check(rel)
	}
	if err != nil {
		return nil, nil
	}
	return json.Marshal(describe(rel))
}
