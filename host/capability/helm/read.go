package helm

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	defaultHistory = 20
	maxNamespaces  = 500
	parallel       = 4
)

func (r *run) list(ctx context.Context) (*abi.Response, error) {
	namespaces, err := r.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	found := make([][]*release.Release, len(namespaces))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, namespace := range namespaces {
		group.Go(func() (err error) {
			found[i], err = r.listIn(namespace)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, r.failure(err)
	}
	infos := []releaseInfo{}
	for _, rel := range slices.Concat(found...) {
		infos = append(infos, describe(rel))
	}
	slices.SortFunc(infos, func(a, b releaseInfo) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return answer(map[string]any{"releases": infos})
}

// namespaces to list; one that is empty stands for all at once.
func (r *run) namespaces(ctx context.Context) ([]string, error) {
	if r.namespace != "" || r.within.All() {
		return []string{r.namespace}, nil
	}
	names, ok := r.within.Names()
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

func (r *run) listIn(namespace string) ([]*release.Release, error) {
	c, err := r.configuration(namespace)
	if err != nil {
		return nil, err
	}
	list := action.NewList(c)
	list.AllNamespaces = namespace == ""
	list.StateMask = action.ListAll
	return list.Run()
}

func (r *run) history() (*abi.Response, error) {
	c, err := r.configuration(r.namespace)
	if err != nil {
		return nil, r.failure(err)
	}
	revisions, err := c.Releases.History(r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	releaseutil.Reverse(revisions, releaseutil.SortByRevision)
	revisions = revisions[:min(len(revisions), cmp.Or(r.max, defaultHistory))]
	infos := make([]revisionInfo, len(revisions))
	for i, rel := range revisions {
		infos[i] = describeRevision(rel)
	}
	return answer(map[string]any{"history": infos})
}

func (r *run) showValues() (*abi.Response, error) {
	c, err := r.configuration(r.namespace)
	if err != nil {
		return nil, r.failure(err)
	}
	get := action.NewGetValues(c)
	get.Version, get.AllValues = r.revision, r.all
	values, err := get.Run(r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	if values == nil {
		values = map[string]any{}
	}
	return answer(map[string]any{"values": values})
}

// failure says what an error of helm means for the user.
func (r *run) failure(err error) error {
	op := name + "." + r.action
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrReleaseNotFound):
		return &host.Error{Kind: host.NotFound, Op: op, Message: "release not found", Err: err}
	case pending(err):
		return &host.Error{Kind: host.Conflict, Op: op, Message: "another operation on the release is under way",
			Detail: "if it was cut short, roll back to the last good revision", Err: err}
	}
	return cluster.Failure(op, r.action+" failed", err)
}
