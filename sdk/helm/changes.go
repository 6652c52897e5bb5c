package helm

import (
	"net/url"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Changes is what has changed in the list of releases.
type Changes struct {
	Cursor string `json:"cursor"` // for the next call, on any replica of the host
	// Complete means that Releases is the whole list: at the first call, when the host
	// does not remember the cursor any more, and when the person's rights have changed.
	Complete bool          `json:"complete"`
	Releases []Release     `json:"releases"` // the newest revisions of those that have changed
	Removed  []ReleaseName `json:"removed"`
}

// ReleaseName names a release.
type ReleaseName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Changes waits for changes of the releases of a namespace, or of all that the person may
// see if it is empty, and returns them. An empty cursor asks for the whole list. It waits at
// most 20 seconds, in whole seconds. In the cluster it needs what a list needs.
func (c Cluster) Changes(namespace, cursor string, wait time.Duration) (*Changes, error) {
	var segments []string
	if namespace != "" {
		segments = []string{"namespace", namespace}
	}
	target, err := rest.URL("helm", string(c), segments...)
	if err != nil {
		return nil, err
	}
	query := url.Values{"changes": {"true"}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if seconds := int(wait / time.Second); seconds > 0 {
		query.Set("wait", strconv.Itoa(seconds))
	}
	var out Changes
	if err := rest.Do(fetch, "GET", target+"?"+query.Encode(), nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}
