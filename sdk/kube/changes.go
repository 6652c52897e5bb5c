package kube

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// ChangesOptions say which changes of a collection are asked for.
type ChangesOptions struct {
	// Cursor is that of the answer before; empty: the whole state.
	Cursor        string
	Wait          time.Duration // for a change, if there is none yet; whole seconds, at most 20
	LabelSelector string
}

// Changes is what has changed in a collection.
type Changes struct {
	// Cursor is for the next call, on any replica of the host.
	Cursor string `json:"cursor"`
	// Complete means that Events begin the whole state: forget what was there before.
	// The host does that at the first call, when it does not remember the cursor any
	// more, and when the person's rights have changed.
	Complete bool `json:"complete"`
	// More means that the rest follows at once: ask again with Wait 0.
	More   bool     `json:"more"`
	Events []Change `json:"events"`
}

// Change is one object that has changed.
type Change struct {
	Type   string          `json:"type"`   // "MODIFIED", also if the object is new, or "DELETED"
	Object json.RawMessage `json:"object"` // of a deleted one, metadata with name and namespace
}

// Deleted reports whether the object does not exist any more.
func (c *Change) Deleted() bool { return c.Type == "DELETED" }

// Changes waits for changes of the collection at path and returns them. Unlike Watch, it
// begins with the objects that exist, and many callers can share one watch of the API server
// (the operator's sharedWatches), so it is for lists that many people look at. It needs the
// verb watch in the grant and in policy, and list and watch in the cluster.
func (c Cluster) Changes(path string, o ChangesOptions) (*Changes, error) {
	query := url.Values{"changes": {"true"}}
	if o.Cursor != "" {
		query.Set("cursor", o.Cursor)
	}
	if seconds := int(o.Wait / time.Second); seconds > 0 {
		query.Set("wait", strconv.Itoa(seconds))
	}
	if o.LabelSelector != "" {
		query.Set("labelSelector", o.LabelSelector)
	}
	var out Changes
	return &out, c.do("GET", path+"?"+query.Encode(), "", nil, &out)
}
