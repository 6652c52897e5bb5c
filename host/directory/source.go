package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Object is one custom resource. It is read-only.
type Object struct {
	Namespace, Name string
	UID, Version    string         // equal pairs mean equal content
	Content         map[string]any // JSON values, whole numbers as int64
}

// Source is a cluster whose custom resources are entries. Its methods answer
// from memory and are safe for concurrent use.
type Source interface {
	// Cluster returns the cluster's name.
	Cluster() string
	// Objects returns the objects last read from the cluster. Known is false if it
	// was never read.
	Objects() (list []Object, known bool)
	// Problem returns why Objects may be out of date, or nil.
	Problem() error
	// Changed returns a channel that is closed when the results of the other
	// methods may have changed.
	Changed() <-chan struct{}
}

// SourceStatus is the status of one source.
type SourceStatus struct {
	Cluster string    `json:"cluster"`
	Known   bool      `json:"known"` // it has been read at least once
	Objects int       `json:"objects"`
	Problem string    `json:"problem,omitempty"` // why the entries may be out of date
	Since   time.Time `json:"since,omitzero"`    // of Problem
}

// feed is the directory's state of one source.
type feed struct {
	Source
	changed <-chan struct{}
	objects map[string]cachedObject // by namespace/name of each kind
	status  SourceStatus
}

type cachedObject struct {
	uid, version string
	parsed       *parsed
}

// awaitFeeds waits until the sources are read, so that a host does not start with
// an empty directory. An unreachable source delays Open by patience only.
func (d *Directory) awaitFeeds(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, f := range d.feeds {
		for known := false; !known && ctx.Err() == nil; {
			changed := f.Changed()
			if _, known = f.Objects(); !known {
				select {
				case <-changed:
				case <-ctx.Done():
				}
			}
		}
	}
}

// follow calls reload whenever the files or a source may have changed, when a
// membership ends, and at intervals, until ctx is done.
func (d *Directory) follow(ctx context.Context, files <-chan struct{}) {
	wake := make(chan struct{}, 1)
	for _, f := range d.feeds {
		d.done.Go(func() {
			for {
				select {
				case <-f.changed:
				case <-ctx.Done():
					return
				}
				f.changed = f.Changed()
				signal(wake)
			}
		})
	}
	look := time.NewTimer(d.pause())
	defer look.Stop()
	for {
		select {
		case <-files:
		case <-wake:
		case <-look.C:
		case <-ctx.Done():
			return
		}
		_ = d.reload() // Degraded reports the error
		look.Reset(d.pause())
	}
}

// lookEvery is the longest wait of follow. A failing source, a jump of the wall
// clock and a suspended machine are not always announced.
const lookEvery = 5 * time.Second

// pause returns how long the current snapshot stays valid without a change, at most
// lookEvery; lookAgain while files are changing.
func (d *Directory) pause() time.Duration {
	if d.resting.seen != [sha256.Size]byte{} {
		return lookAgain
	}
	if until := d.current.Load().until; !until.IsZero() {
		return min(until.Sub(d.now()), lookEvery)
	}
	return lookEvery
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read parses new and changed objects of the source. Same reports that none
// changed.
func (f *feed) read(d *Directory) (all []*parsed, same bool) {
	list, known := f.Objects()
	f.note(d, len(list), known)
	next := make(map[string]cachedObject, len(list))
	same = f.objects != nil
	for _, o := range list {
		kind, _ := o.Content["kind"].(string)
		key := kind + "/" + o.Namespace + "/" + o.Name
		c, ok := f.objects[key]
		if !ok || c.uid != o.UID || c.version != o.Version {
			c, same = cachedObject{o.UID, o.Version, parseObject(f.Cluster(), &o, d.kept(f.Cluster(), o.Namespace))}, false
		}
		next[key] = c
	}
	same = same && len(next) == len(f.objects)
	f.objects = next
	for _, key := range slices.Sorted(maps.Keys(next)) {
		all = append(all, next[key].parsed)
	}
	return all, same
}

// note stores the status and logs its changes.
func (f *feed) note(d *Directory, objects int, known bool) {
	s, old := SourceStatus{Cluster: f.Cluster(), Known: known, Objects: objects}, f.status
	if err := f.Problem(); err != nil {
		s.Problem, s.Since = err.Error(), time.Now()
	} else if !known {
		s.Problem, s.Since = "was never read", time.Now()
	}
	if s.Problem != "" && old.Problem != "" {
		s.Since = old.Since
	}
	switch {
	case s.Problem == old.Problem:
	case s.Problem != "" && known:
		d.log.Warn("directory.clusters: the last known entries stay in force", "cluster", s.Cluster, "entries", objects, "problem", s.Problem)
	case s.Problem != "":
		d.log.Warn("directory.clusters: the users of this cluster are unknown", "cluster", s.Cluster, "problem", s.Problem)
	default:
		d.log.Info("directory.clusters: entries are current again", "cluster", s.Cluster, "entries", objects)
	}
	f.status = s
}

// kept lists the shipped roles that a custom resource of the namespace may not
// replace.
func (d *Directory) kept(cluster, namespace string) []string {
	if slices.Contains(d.replace[cluster], namespace) {
		return nil
	}
	return d.shipped
}

// parseObject reads a custom resource like a document of a file. Its place is
// CLUSTER/NAMESPACE/NAME, without a line. A role with one of the kept names is left
// out.
func parseObject(cluster string, o *Object, kept []string) *parsed {
	r := &reader{file: cluster + "/" + o.Namespace + "/" + o.Name}
	spec, ok := o.Content["spec"]
	if !ok {
		spec = map[string]any{}
	}
	root := node(map[string]any{
		"apiVersion": o.Content["apiVersion"], "kind": o.Content["kind"],
		"metadata": map[string]any{"name": o.Name}, "spec": spec,
	})
	out := &parsed{}
	e, ok := r.entry(root)
	switch {
	case r.kind == kindRole && slices.Contains(kept, r.id):
		r.problems = nil // other errors in it do not matter
		r.bad(0, "the role ships with the host; a custom resource replaces it only from a namespace in directory.clusters[].replaceShippedRoles")
	case ok:
		e.cluster = cluster
		out.entries = append(out.entries, e)
	case r.kind == kindRole:
		out.spoiled = append(out.spoiled, r.id)
	}
	out.problems = r.problems
	return out
}

// node returns a JSON value as the YAML node that the reader expects.
func node(v any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, scalar("!!str", key), node(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, node(item))
		}
		return n
	case string:
		return scalar("!!str", v)
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	case int64:
		return scalar("!!int", strconv.FormatInt(v, 10))
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return scalar("!!float", strconv.FormatFloat(v, 'f', 1, 64))
		}
		return scalar("!!float", strconv.FormatFloat(v, 'g', -1, 64))
	case nil:
		return scalar("!!null", "null")
	}
	return scalar("!!str", fmt.Sprint(v))
}

// statuses returns the statuses of all sources, sorted by cluster.
func (d *Directory) statuses() []SourceStatus {
	list := make([]SourceStatus, 0, len(d.feeds))
	for _, f := range d.feeds {
		list = append(list, f.status)
	}
	slices.SortFunc(list, func(a, b SourceStatus) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return list
}
