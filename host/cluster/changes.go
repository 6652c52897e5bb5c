package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Collection is the objects of one resource that a Watch is about.
type Collection struct {
	Group, Version, Resource string // the core group is empty
	Namespace                string // empty: all
	Selector                 string // of labels; empty: all
	// Name is what Config.SharedWatches calls the collection; empty: the resource and
	// its group. Collections of one name must have the same Keep.
	Name string
	// Keep returns what is kept of an object; nil leaves the object out. If Keep is nil,
	// objects are kept without their managed fields.
	Keep func(object []byte) (json.RawMessage, error)
	// ListSuffices means that a user needs no right to watch the resource: who may list it
	// can list it again. If a watch of the user's own is refused, that is what happens.
	ListSuffices bool
}

// verbs are the rights that a user needs to see the collection.
func (c *Collection) verbs() []string {
	if c.ListSuffices {
		return []string{"list"}
	}
	return []string{"list", "watch"}
}

func (c *Collection) name() string {
	if c.Group == "" {
		return cmp.Or(c.Name, c.Resource)
	}
	return cmp.Or(c.Name, c.Resource+"."+c.Group)
}

func (c *Collection) path() string {
	path := "/api/" + c.Version
	if c.Group != "" {
		path = "/apis/" + c.Group + "/" + c.Version
	}
	if c.Namespace != "" {
		path += "/namespaces/" + c.Namespace
	}
	return path + "/" + c.Resource
}

// firstList is how long a watch waits for the first list of its collection.
const firstList = 10 * time.Second

// Watch asks for the changes of a collection since a Cursor.
type Watch struct {
	Collection
	Cursor string        // of an earlier Changes; empty or unknown: the whole state
	Wait   time.Duration // for a change, if there is none yet
	// Within reports whether the caller may see objects of the namespace, apart from the
	// cluster's RBAC; nil: of all, and objects without a namespace.
	Within func(namespace string) bool
	Limit  int // of the objects in one answer, in bytes, about
}

// Changes is the answer to a Watch.
type Changes struct {
	// Complete means that List is, or begins, the whole state: what the caller knew
	// before does not count any more.
	Complete bool
	List     []Change
	More     bool   // the rest follows at once, with the Cursor
	Cursor   string // for the next Watch, on any replica
}

// Change is an object that exists now as it is, or does not exist any more.
type Change struct {
	Deleted         bool
	Namespace, Name string
	Object          json.RawMessage // nil if Deleted
}

// Watch returns the changes of a collection since w.Cursor that the user may see. It waits
// for at most w.Wait until there is one.
//
// All watches of one collection of a cluster share one watch of the API server, if the
// configuration lets the host share it: the host itself then follows all objects, and the
// API server is asked, as the user, in which namespaces the user may list and watch them.
// The answer counts for 10 seconds; the API server itself would not ask again during a
// watch. Otherwise the watches of one user share one that is the user's own. A watch of the
// API server ends when nobody has asked for 30 seconds, or the authority of all who did is
// lost.
//
// Errors are those of As and the API server's refusals; host.Forbidden if the user may list
// and watch no namespace; host.Unprocessable if the objects are too many to follow.
func (s *Set) Watch(ctx context.Context, cluster string, user *host.Impersonation, auth host.Authority, w *Watch) (*Changes, error) {
	client, err := s.As(ctx, cluster, user, auth)
	if err != nil {
		return nil, err
	}
	m := s.members[cluster]
	f, err := m.feeds.join(m, w, user, auth)
	if err != nil {
		return nil, err
	}
	first := time.NewTimer(firstList)
	defer first.Stop()
	timer := time.NewTimer(w.Wait)
	defer timer.Stop()
	for waited := false; ; {
		changed := f.changing()
		limit := first.C
		namespaces, ready, err := f.namespaces()
		if err != nil {
			return nil, err
		}
		if ready {
			seen, err := m.rights.visible(ctx, client, w, namespaces)
			if err != nil {
				return nil, err
			}
			if c := f.since(w, seen); waited || c.Complete || len(c.List) > 0 {
				return c, nil
			}
			limit = timer.C
		} else if waited {
			return nil, host.E(host.Unavailable, op, "cluster %q has not listed %s yet; try again", cluster, w.name())
		}
		waited = true // unless something changes before
		select {
		case <-changed:
			waited = false
		case <-limit:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Watches returns how many watches of API servers Watch has open.
func (s *Set) Watches() (n int) {
	for _, m := range s.members {
		n += m.feeds.count()
	}
	return n
}

// SharedReleases is the name of Helm's releases in Config.SharedWatches. They are Secrets,
// which the host watches under no other name.
const SharedReleases = "releases.helm.sh"

// shares reports whether the host may follow the collection as itself.
func (c *Config) shares(of *Collection) bool {
	for _, name := range c.SharedWatches {
		if group, all := strings.CutPrefix(name, "*."); name == of.name() || all && of.Name == "" && of.Group == group {
			return true
		}
	}
	return false
}

// refusedWatch explains to the operator what the host lacks for a shared watch.
func refusedWatch(c *Collection, cluster string, err error) error {
	return &host.Error{Kind: host.Upstream, Op: op, Err: err,
		Message: fmt.Sprintf("the host may not watch %s in cluster %q", c.name(), cluster),
		Detail:  "sharedWatches names it: the host's own identity needs list and watch on it",
	}
}

// acceptObjects asks for whole objects.
var acceptObjects = http.Header{"Accept": {"application/json"}}
