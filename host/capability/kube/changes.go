package kube

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	maxWait    = 20 * time.Second
	answerSize = 4 << 20 // of one answer; an object may be added to it
)

// changesOf reads a request for changes: GET of a collection with changes=true, and with
// cursor (of the answer before), wait (0 to 20 seconds) and labelSelector if wanted.
func changesOf(q *request) (*cluster.Watch, error) {
	t := q.target
	if err := t.Only(name, "changes", "cursor", "wait", "labelSelector"); err != nil {
		return nil, err
	}
	if q.access.Verb != "list" || q.access.Resource == apiResources || t.Query.Get("changes") != "true" {
		return nil, host.E(host.Invalid, name, "changes are those of a collection: GET with changes=true")
	}
	q.access.Verb = "watch"
	a := &q.access
	w := &cluster.Watch{
		Collection: cluster.Collection{Group: a.Group, Version: a.Version, Resource: a.Resource, Namespace: a.Namespace, Selector: t.Query.Get("labelSelector")},
		Cursor:     t.Query.Get("cursor"), Limit: answerSize,
	}
	if v := t.Query.Get("wait"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > int(maxWait/time.Second) {
			return nil, host.E(host.Invalid, name, "the query's wait must be a number of seconds from 0 to %d", int(maxWait/time.Second))
		}
		w.Wait = time.Duration(n) * time.Second
	}
	return w, nil
}

// changed is the answer to a request for changes.
type changed struct {
	Kind     string        `json:"kind"`
	Cursor   string        `json:"cursor"`             // for the next request
	Complete bool          `json:"complete,omitempty"` // begins the whole state
	More     bool          `json:"more,omitempty"`     // the rest follows at once
	Events   []changeEvent `json:"events"`
}

// changeEvent is an event: of type MODIFIED, also for an object
// that is new, or DELETED, with the object's name and namespace only.
type changeEvent struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// changes answers what has changed since the cursor.
func (k *Kube) changes(ctx context.Context, p *capability.Permit, q *request) (*abi.Response, error) {
	if len(p.Obligations.Redact) > 0 {
		return nil, &host.Error{Kind: host.Forbidden, Op: name, Message: "you may not watch this", Detail: "not_redactable"}
	}
	w := *q.changes
	if w.Namespace == "" && !p.Narrowing.All() {
		w.Within = p.Narrowing.Contains
	}
	found, err := k.clusters.Watch(ctx, q.target.Cluster, p.Obligations.Impersonate, p.Caller.Authority, &w)
	if err != nil {
		return nil, err
	}
	out := changed{Kind: "Changes", Cursor: found.Cursor, Complete: found.Complete, More: found.More, Events: make([]changeEvent, len(found.List))}
	for i, c := range found.List {
		e := changeEvent{"MODIFIED", c.Object}
		if c.Deleted {
			var gone struct {
				Metadata struct {
					Namespace string `json:"namespace,omitempty"`
					Name      string `json:"name"`
				} `json:"metadata"`
			}
			gone.Metadata.Namespace, gone.Metadata.Name = c.Namespace, c.Name
			if e.Object, err = json.Marshal(gone); err != nil {
				return nil, err
			}
			e.Type = "DELETED"
		}
		out.Events[i] = e
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: body}, nil
}
