package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Bounds of a merged list.
const (
	maxNamespaces = 500
	parallel      = 4
)

// list is the answer of a list. Errors has the namespaces that could not be read; a list
// of the API server itself has none.
type list struct {
	APIVersion string                   `json:"apiVersion"`
	Kind       string                   `json:"kind"`
	Metadata   json.RawMessage          `json:"metadata"`
	Items      []json.RawMessage        `json:"items"`
	Errors     []capability.Unreachable `json:"errors,omitempty"`
}

// listWithin lists each namespace that the narrowing permits and merges the items. The
// result is complete except for the namespaces in its errors: limit and continue are
// not passed on. Once the items exceed the size of an answer, it stops asking.
func listWithin(ctx context.Context, client *cluster.Client, q *request, within capability.Narrowing, logger *slog.Logger) (*abi.Response, error) {
	names, err := reachable(ctx, client, within)
	if err != nil {
		return nil, err
	}
	lists := make([]list, len(names))
	partial := capability.NewPartial(len(names))
	var total atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, namespace := range names {
		group.Go(func() (err error) {
			defer capability.Recover(logger, name, &err)
			if err := ctx.Err(); err != nil {
				return err // the first error is the one that counts
			}
			if err := listOne(ctx, client, q, namespace, &lists[i]); err != nil {
				return partial.Without(namespace, err)
			}
			if total.Add(lists[i].size()) > abi.MaxBody {
				return host.E(host.Upstream, name, "the answer is over %d bytes; narrow the request", abi.MaxBody)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := merge(lists)
	if all.Errors, err = partial.Result(); err != nil {
		return nil, err
	}
	return all.answer()
}

// size returns the size of the items in an answer, with their commas.
func (l *list) size() (n int64) {
	for _, item := range l.Items {
		n += int64(len(item)) + 1
	}
	return n
}

func reachable(ctx context.Context, client *cluster.Client, within capability.Narrowing) ([]string, error) {
	names, ok := within.Names(dnsname.IsLabel)
	if !ok {
		all, err := client.Namespaces(ctx)
		if err != nil {
			return nil, err
		}
		names = within.Among(all)
	}
	if len(names) > maxNamespaces {
		return nil, host.E(host.Unprocessable, name, "the list covers over %d namespaces; name one", maxNamespaces)
	}
	return names, nil
}

func listOne(ctx context.Context, client *cluster.Client, q *request, namespace string, into *list) error {
	prefix := "/api/" + q.access.Version
	if q.access.Group != "" {
		prefix = "/apis/" + q.access.Group + "/" + q.access.Version
	}
	query := maps.Clone(q.target.Query)
	delete(query, "limit")
	delete(query, "continue")
	text, err := get(ctx, client, prefix+"/namespaces/"+namespace+"/"+q.access.Resource, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return noList(err)
	}
	return nil
}

// listNamespaces lists the namespaces themselves, as far as the narrowing permits. If
// their names are known, it gets them one by one: a user who may see a few namespaces
// seldom has the cluster's permission to list all.
func listNamespaces(ctx context.Context, client *cluster.Client, q *request, within capability.Narrowing) (*abi.Response, error) {
	found := list{APIVersion: "v1", Kind: "NamespaceList", Metadata: json.RawMessage("{}"), Items: []json.RawMessage{}}
	names, known := within.Names(dnsname.IsLabel)
	selects := q.target.Query.Has("labelSelector") || q.target.Query.Has("fieldSelector")
	if len(names) > maxNamespaces {
		return nil, host.E(host.Unprocessable, name, "the list covers over %d namespaces; name one", maxNamespaces)
	}
	if known && !selects {
		partial := capability.NewPartial(len(names))
		for _, namespace := range names {
			item, err := get(ctx, client, q.path+"/"+namespace, nil)
			switch {
			case host.KindOf(err) == host.NotFound:
			case err != nil:
				if err := partial.Without(namespace, err); err != nil {
					return nil, err
				}
			default:
				found.Items = append(found.Items, item)
			}
		}
		var err error
		if found.Errors, err = partial.Result(); err != nil {
			return nil, err
		}
	} else {
		query := maps.Clone(q.target.Query)
		delete(query, "limit")
		delete(query, "continue")
		text, err := get(ctx, client, q.path, query)
		if err != nil {
			return nil, err
		}
		var all list
		if err := json.Unmarshal(text, &all); err != nil {
			return nil, noList(err)
		}
		for _, item := range all.Items {
			var n struct{ Metadata struct{ Name string } }
			if err := json.Unmarshal(item, &n); err != nil {
				return nil, noList(err)
			}
			if within.Contains(n.Metadata.Name) {
				found.Items = append(found.Items, item)
			}
		}
	}
	return found.answer()
}

func get(ctx context.Context, client *cluster.Client, path string, query url.Values) (json.RawMessage, error) {
	resp, err := client.Do(ctx, &cluster.Request{
		Method: http.MethodGet, Path: path, Query: query,
		Header: http.Header{"Accept": {"application/json"}}, Limit: abi.MaxBody,
	})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func noList(err error) error {
	return &host.Error{Kind: host.Upstream, Op: name, Message: "the cluster's answer is not a list", Err: err}
}

func (l list) answer() (*abi.Response, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: body}, nil
}

// merge drops the metadata, because the resource version of one namespace's list is
// meaningless for the others.
func merge(lists []list) list {
	all := list{Metadata: json.RawMessage("{}"), Items: []json.RawMessage{}}
	for _, l := range lists {
		all.APIVersion = cmp.Or(all.APIVersion, l.APIVersion)
		all.Kind = cmp.Or(all.Kind, l.Kind)
		all.Items = append(all.Items, l.Items...)
	}
	all.APIVersion, all.Kind = cmp.Or(all.APIVersion, "v1"), cmp.Or(all.Kind, "List")
	return all
}
