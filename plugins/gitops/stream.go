package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() {
	session.Handle("helm-releases-stream", releasesStream)
	session.Handle("argocd-applications-stream", collectionStream("items", argoCollections))
	session.Handle("kustomizations-stream", collectionStream("kustomizations", func(*sdk.Request) ([]followed, error) { return fluxCollections(fluxTypes[:1]), nil }))
	session.Handle("flux-objects-stream", collectionStream("items", fluxCollectionsOf))
	session.Handle("operators-stream", collectionStream("operators", func(*sdk.Request) ([]followed, error) { return []followed{operatorCollection}, nil }))
	session.Handle("operator-subscriptions-stream", collectionStream("subscriptions", func(*sdk.Request) ([]followed, error) { return []followed{subscriptionCollection}, nil }))
	session.Handle("drifts-stream", collectionStream("drifts", func(r *sdk.Request) ([]followed, error) { return []followed{driftCollection(r)}, nil }))
}

// lookEvery is the time between two looks at the clusters of a stream that follows.
const lookEvery = time.Second

// part is one collection of one cluster in a stream.
type part struct {
	cluster string
	cursor  string
	// changes asks the host for what has changed since the cursor. An item that cannot be
	// shown is left out.
	changes func(p *part) (*partChanges, error)
}

// partChanges are changes of a part as the stream shows them.
type partChanges struct {
	cursor   string
	complete bool
	more     bool
	items    []any
	removed  []removedItem
}

// removedItem names an object that does not exist any more, or that the person may not see
// any more.
type removedItem struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// stream is an event stream over clusters. Its id says how far the client knows each part,
// so that a client that connects again gets only what has changed since.
type stream struct {
	request *sdk.Request
	session *session.Session
	key     string // of the items in an event
	parts   []*part
	failed  map[string]string // what was last said of a cluster
	done    doneEvent
}

// doneEvent is the data of the event "done", which is the last of a stream that is complete.
type doneEvent struct {
	TotalClusters     int `json:"totalClusters"`
	CompletedClusters int `json:"completedClusters"`
	SkippedOffline    int `json:"skippedOffline"`
}

// run sends the state of every cluster and then, if the query has follow=true, its changes
// until the client goes away.
func (s *stream) run() error {
	s.resume(s.request.Header("Last-Event-ID"))
	s.failed = map[string]string{}
	for first := true; ; first = false {
		clusters := s.clusters()
		refused := error(nil)
		for _, cluster := range clusters {
			err := s.look(cluster, first)
			if errors.Is(err, session.ErrClosed) {
				return nil
			}
			if err != nil {
				refused = err
				if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Status == 401 || first && len(clusters) == 1 {
					return err
				}
			}
		}
		if first && s.request.Query("follow") != "true" {
			s.done.TotalClusters = len(clusters)
			return session.Done(s.send("done", s.done))
		}
		if refused != nil && len(s.failed) == len(clusters) && sdk.StatusOf(refused) == 403 {
			return refused // nothing is permitted any more
		}
		if _, err := s.session.Next(lookEvery); !errors.Is(err, session.ErrTimeout) {
			return session.Done(err)
		}
	}
}

func (s *stream) clusters() (names []string) {
	for _, p := range s.parts {
		if !slices.Contains(names, p.cluster) {
			names = append(names, p.cluster)
		}
	}
	return names
}

// look sends what is new in a cluster. The error is that of the cluster, if the stream is
// about one cluster or the error is not the cluster's; others are sent.
func (s *stream) look(cluster string, first bool) error {
	all := &partChanges{}
	var failure error
	for _, p := range s.parts {
		if p.cluster != cluster {
			continue
		}
		err := s.read(p, all)
		if err != nil && !absent(err) {
			failure = err
		}
	}
	if len(all.items)+len(all.removed) > 0 || failure == nil && (first || all.complete) {
		data := map[string]any{"cluster": cluster, s.key: orEmpty(all.items), "complete": all.complete}
		if len(all.removed) > 0 {
			data["removed"] = all.removed
		}
		if err := s.send("cluster_data", data); err != nil {
			return err
		}
	}
	if failure == nil {
		if delete(s.failed, cluster); first {
			s.done.CompletedClusters++
		}
		return nil
	}
	return s.fail(cluster, failure, first)
}

// read adds the changes of a part to all.
func (s *stream) read(p *part, all *partChanges) error {
	for {
		c, err := p.changes(p)
		if err != nil {
			return err
		}
		p.cursor = c.cursor
		all.complete = all.complete || c.complete
		all.items = append(all.items, c.items...)
		all.removed = append(all.removed, c.removed...)
		if !c.more {
			return nil
		}
	}
}

// fail says once that a cluster cannot be read.
func (s *stream) fail(cluster string, err error, first bool) error {
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Status == 401 || first && len(s.clusters()) == 1 {
		return err
	}
	if first && e.Status == 503 {
		s.done.SkippedOffline++
	}
	if s.failed[cluster] == e.Message {
		return err
	}
	s.failed[cluster] = e.Message
	name, data := "cluster_error", map[string]any{"cluster": cluster, "status": e.Status, "message": e.Message}
	if e.Detail != "" {
		data["detail"] = e.Detail
	}
	if e.Status == 503 {
		name, data["reason"] = "cluster_skipped", "offline"
	}
	if sent := s.send(name, data); sent != nil {
		return sent
	}
	return err
}

func (s *stream) send(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return s.session.SendEvent(name, s.id(), string(text))
}

// id encodes the parts' cursors; it is empty if they are too many.
func (s *stream) id() string {
	cursors := make([]string, len(s.parts))
	for i, p := range s.parts {
		cursors[i] = p.cluster + "=" + p.cursor
	}
	id := base64.RawURLEncoding.EncodeToString([]byte(strings.Join(cursors, " ")))
	if len(id) > maxID {
		return ""
	}
	return id
}

const maxID = 1024 // of the host

// resume takes the cursors of an id that is of the same parts.
func (s *stream) resume(id string) {
	text, err := base64.RawURLEncoding.DecodeString(id)
	cursors := strings.Split(string(text), " ")
	if err != nil || len(cursors) != len(s.parts) {
		return
	}
	for i, c := range cursors {
		cluster, cursor, ok := strings.Cut(c, "=")
		if !ok || cluster != s.parts[i].cluster {
			return
		}
		s.parts[i].cursor = cursor // the host checks it
	}
}

// followed is the objects of one type and how a stream shows them.
type followed struct {
	kind, api, plural, selector string
	// show returns what is shown of an object, nil if it is left out.
	show func(cluster string, object json.RawMessage) (any, error)
}

// collectionStream makes the handler of a stream over collections.
func collectionStream(key string, of func(*sdk.Request) ([]followed, error)) func(*sdk.Request, *session.Session) error {
	return func(r *sdk.Request, s *session.Session) error {
		clusters, namespace, err := scopeOf(r)
		if err != nil {
			return err
		}
		collections, err := of(r)
		if err != nil {
			return err
		}
		st := &stream{request: r, session: s, key: key}
		for _, cluster := range clusters {
			for _, c := range collections {
				st.parts = append(st.parts, c.part(kube.Cluster(cluster), namespace))
			}
		}
		return st.run()
	}
}

// scopeOf reads the clusters and the namespace that a list or stream is about.
func scopeOf(r *sdk.Request) ([]helm.Cluster, string, error) {
	clusters, err := clustersOf(r.Query("cluster"))
	if err != nil {
		return nil, "", err
	}
	namespace := r.Query("namespace")
	if namespace != "" {
		err = checkName("namespace", namespace)
	}
	return clusters, namespace, err
}

func (c followed) part(cluster kube.Cluster, namespace string) *part {
	path := collection(c.api, namespace, c.plural)
	return &part{cluster: string(cluster), changes: func(p *part) (*partChanges, error) {
		found, err := cluster.Changes(path, kube.ChangesOptions{Cursor: p.cursor, LabelSelector: c.selector})
		if err != nil {
			return nil, err
		}
		out := &partChanges{cursor: found.Cursor, complete: found.Complete, more: found.More}
		for i := range found.Events {
			e := &found.Events[i]
			if !e.Deleted() {
				item, err := c.show(string(cluster), e.Object)
				if err != nil {
					return nil, err
				}
				if item != nil {
					out.items = append(out.items, item)
				}
				continue
			}
			var gone struct{ Metadata objectMeta }
			if err := json.Unmarshal(e.Object, &gone); err != nil {
				return nil, err
			}
			out.removed = append(out.removed, removedItem{c.kind, gone.Metadata.Namespace, gone.Metadata.Name})
		}
		return out, nil
	}}
}

// showing makes a collection's show of a function on the decoded object.
func showing[T any](plural string, show func(cluster string, object *T) any) func(string, json.RawMessage) (any, error) {
	return func(cluster string, text json.RawMessage) (any, error) {
		var object T
		if err := json.Unmarshal(text, &object); err != nil {
			return nil, sdk.Errorf(502, "cluster %s: %s: an object cannot be read: %v", cluster, plural, err)
		}
		return show(cluster, &object), nil
	}
}

func argoCollections(r *sdk.Request) ([]followed, error) {
	project := r.Query("project")
	return []followed{{api: argoPath, plural: "applications", show: showing("applications", func(cluster string, a *application) any {
		if project != "" && project != a.Spec.Project {
			return nil
		}
		return a.summary(cluster)
	})}}, nil
}

func fluxCollectionsOf(r *sdk.Request) ([]followed, error) {
	types, err := fluxTypesOf(r)
	return fluxCollections(types), err
}

func fluxCollections(types []fluxType) (list []followed) {
	for _, t := range types {
		list = append(list, followed{kind: t.kind, api: t.api, plural: t.plural, show: showing(t.plural, func(cluster string, c *fluxContent) any {
			return c.summary(t, cluster)
		})})
	}
	return list
}

var operatorCollection = followed{api: olmPath, plural: "clusterserviceversions", show: showing("clusterserviceversions", func(cluster string, c *serviceVersion) any {
	if c.copied() {
		return nil
	}
	return c.shown(cluster)
})}

var subscriptionCollection = followed{api: olmPath, plural: "subscriptions", show: showing("subscriptions", func(cluster string, s *olmSubscription) any {
	return s.shown(cluster)
})}

// driftCollection compares a path that was synced whenever its inventory changes, which is
// after every sync.
func driftCollection(r *sdk.Request) followed {
	return followed{api: "/api/v1", plural: "configmaps", selector: inventoryLabel + "=true", show: func(cluster string, text json.RawMessage) (any, error) {
		var inventory configMap
		if err := json.Unmarshal(text, &inventory); err != nil {
			return nil, sdk.Errorf(502, "cluster %s: an inventory cannot be read: %v", cluster, err)
		}
		p, err := comparePath(r, kube.Cluster(cluster), &inventory.Metadata)
		if err != nil {
			return nil, err
		}
		return p, nil
	}}
}
