package helm

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	defaultHistory = 20
	maxNamespaces  = 500
	parallel       = 4
	maxTries       = 5 // revisions of a release that are tried until one can be read
)

// list lists the newest readable revision of every release. An unreadable record hides
// neither other releases nor the revision before it.
func (r *run) list(ctx context.Context) (*abi.Response, error) {
	namespaces, err := r.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	s, partial := r.records(), capability.NewPartial(len(namespaces))
	keys, err := s.keysIn(ctx, namespaces, partial)
	if err != nil {
		return nil, r.failure(err)
	}
	slices.SortFunc(keys, newestFirst)
	releases, next := r.page(slices.Collect(byRelease(keys)))
	found := make([]*releaseInfo, len(releases))
	if len(namespaces) == 1 && namespaces[0] == "" {
		partial = capability.NewPartial(len(releases)) // the number of namespaces is unknown
	}
	looked := newBudget(maxListed)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, revisions := range releases {
		group.Go(func() (err error) {
			defer capability.Recover(r.logger, name, &err)
			if found[i], err = s.newestReadable(ctx, revisions, looked); err != nil {
				return partial.Without(revisions[0].namespace, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, r.failure(err)
	}
	unreachable, err := partial.Result()
	if err != nil {
		return nil, r.failure(err)
	}
	infos := slices.DeleteFunc(found, func(r *releaseInfo) bool { return r == nil })
	return answer(listed{infos, unreachable, next})
}

// page returns the part of sorted releases that the request is about, and where the next
// part begins; "" if nothing follows.
func (r *run) page(releases [][]key) (part [][]key, next string) {
	first := 0
	if r.after != (key{}) {
		first, _ = slices.BinarySearchFunc(releases, r.after, func(keys []key, after key) int {
			if cmp.Or(cmp.Compare(keys[0].namespace, after.namespace), cmp.Compare(keys[0].release, after.release)) <= 0 {
				return -1
			}
			return 1
		})
	}
	part = releases[first:]
	if r.limit > 0 && len(part) > r.limit {
		part = part[:r.limit]
		last := part[len(part)-1][0]
		next = last.namespace + "/" + last.release
	}
	return part, next
}

// keysIn returns the keys of the revisions in the namespaces. Namespaces that the user
// may not read in the cluster are added to partial.
func (s *records) keysIn(ctx context.Context, namespaces []string, partial *capability.Partial) ([]key, error) {
	found := make([][]key, len(namespaces))
	var total atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, namespace := range namespaces {
		group.Go(func() (err error) {
			defer capability.Recover(s.logger, name, &err)
			found[i], err = s.keys(ctx, namespace, map[string]string{"owner": "helm"})
			if err != nil {
				return partial.Without(namespace, err)
			}
			if total.Add(int64(len(found[i]))) > maxKeys {
				return tooManyKeys()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// byRelease splits sorted keys into those of each release.
func byRelease(keys []key) iter.Seq[[]key] {
	return func(yield func([]key) bool) {
		for len(keys) > 0 {
			n := slices.IndexFunc(keys, func(k key) bool { return k.namespace != keys[0].namespace || k.release != keys[0].release })
			if n < 0 {
				n = len(keys)
			}
			if !yield(keys[:n]) {
				return
			}
			keys = keys[n:]
		}
	}
}

// newestReadable describes the first of the revisions that can be read, nil if
// none of the first few can.
func (s *records) newestReadable(ctx context.Context, revisions []key, b *budget) (*releaseInfo, error) {
	for _, k := range revisions[:min(len(revisions), maxTries)] {
		rel, err := s.read(ctx, k, false, b)
		switch {
		case err == nil:
			info := describe(rel)
			return &info, nil
		case errors.Is(err, errDamaged):
			s.skip(err)
		case !errors.Is(err, driver.ErrReleaseNotFound):
			return nil, err
		}
	}
	return nil, nil
}

// namespaces returns the namespaces to list; an empty name means all at once.
func (r *run) namespaces(ctx context.Context) ([]string, error) {
	if r.namespace != "" || r.within.All() {
		return []string{r.namespace}, nil
	}
	names, ok := r.within.Names(dnsname.IsLabel)
	if !ok {
		all, err := r.client.Namespaces(ctx)
		if err != nil {
			return nil, err
		}
		names = r.within.Among(all)
	}
	if len(names) > maxNamespaces {
		return nil, host.E(host.Unprocessable, name, "the list covers over %d namespaces; name one", maxNamespaces)
	}
	return names, nil
}

// history leaves out revisions that cannot be read, unless all of them cannot.
func (r *run) history(ctx context.Context) (*abi.Response, error) {
	s := r.records()
	keys, err := s.history(ctx, r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	infos, looked := []revisionInfo{}, newBudget(maxListed)
	var damaged error
	for _, k := range keys {
		if len(infos) == cmp.Or(r.max, defaultHistory) {
			break
		}
		rel, err := s.read(ctx, k, false, looked)
		switch {
		case err == nil:
			infos = append(infos, describeRevision(rel))
		case errors.Is(err, errDamaged):
			s.skip(err)
			damaged = err
		case !errors.Is(err, driver.ErrReleaseNotFound):
			return nil, r.failure(err)
		}
	}
	if len(infos) == 0 {
		return nil, r.failure(cmp.Or(damaged, driver.ErrReleaseNotFound))
	}
	return answer(map[string]any{"history": infos})
}
