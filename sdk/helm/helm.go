// Package helm is the client of capability "helm": releases of a cluster, read
// and changed as the person whom the plugin serves. The host holds the
// credentials and the charts' repositories.
//
// Names may come straight from a request: one that is empty or is no name is a
// 400 that names it. Other errors are *sdk.Error as the host made them: 403
// from policy or grant, 404 for a release that is not there, 502 with Helm's
// own text in Detail.
package helm

import (
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Cluster is a cluster by its name in the operator's config.
type Cluster string

// Release is the newest revision of a release. Updated is RFC 3339.
type Release struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	Revision   int    `json:"revision"`
	Updated    string `json:"updated"`
	Status     string `json:"status"`
	Chart      string `json:"chart"`
	Version    string `json:"version"`
	AppVersion string `json:"appVersion"`
}

// Revision is one entry of a release's history.
type Revision struct {
	Revision    int    `json:"revision"`
	Updated     string `json:"updated"`
	Status      string `json:"status"`
	Chart       string `json:"chart"`
	Version     string `json:"version"`
	AppVersion  string `json:"appVersion"`
	Description string `json:"description"`
}

// Upgrade says what to install, or to upgrade a release to. Version is a version
// or a constraint ("^1.2", ">=1.0 <2"); empty is the newest release. Values is
// YAML text of one mapping.
//
// Of the values that the release has so far, an upgrade keeps nothing by default,
// also if Values is empty. ReuseValues keeps all of them, also the defaults of the
// old chart; a new default of the chart is then absent. ResetThenReuseValues keeps
// those that were given, over the defaults of the new chart. Either merges Values
// into what it keeps. Setting both is a 400. Helm's options have the same names.
type Upgrade struct {
	Chart                string `json:"chart"`
	Version              string `json:"version"`
	Values               string `json:"values"`
	ReuseValues          bool   `json:"reuseValues"`
	ResetThenReuseValues bool   `json:"resetThenReuseValues"`
}

// Result is the outcome of a change: the release, and Helm's text for people.
type Result struct {
	Release Release `json:"release"`
	Output  string  `json:"output"`
}

// List is releases. Of a namespace that the cluster does not let the person read,
// Errors says so, and the rest is here all the same.
type List struct {
	Releases []Release        `json:"releases"`
	Errors   []NamespaceError `json:"errors"`
}

// NamespaceError is why one namespace is left out of a List. Status is as HTTP
// has it: 403.
type NamespaceError struct {
	Namespace string `json:"namespace"`
	Status    int    `json:"status"`
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
}

// Releases lists the releases of a namespace; an empty one means all that the
// person may see.
func (c Cluster) Releases(namespace string) (*List, error) {
	var segments []string
	if namespace != "" {
		segments = []string{"namespace", namespace}
	}
	target, err := rest.URL("helm", string(c), segments...)
	if err != nil {
		return nil, err
	}
	var out List
	if err := rest.Do(fetch, "GET", target, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// History lists up to limit revisions of a release, the newest ones; zero leaves the
// number to the host.
func (c Cluster) History(namespace, release string, limit int) ([]Revision, error) {
	query := url.Values{}
	if limit > 0 {
		query.Set("max", strconv.Itoa(limit))
	}
	var out struct {
		History []Revision `json:"history"`
	}
	err := c.release("GET", namespace, release, "/history", query, nil, &out)
	return out.History, err
}

// Values returns the values of a release as a JSON object. Revision zero is the
// newest; all includes the chart's defaults.
func (c Cluster) Values(namespace, release string, revision int, all bool) (json.RawMessage, error) {
	query := url.Values{}
	if revision > 0 {
		query.Set("revision", strconv.Itoa(revision))
	}
	if all {
		query.Set("all", "true")
	}
	var out struct {
		Values json.RawMessage `json:"values"`
	}
	err := c.release("GET", namespace, release, "/values", query, nil, &out)
	return out.Values, err
}

// Upgrade installs a release or upgrades it.
func (c Cluster) Upgrade(namespace, release string, u Upgrade) (*Result, error) {
	return c.change("POST", namespace, release, "/upgrade", u)
}

// Rollback returns a release to an earlier revision, which makes a new one.
func (c Cluster) Rollback(namespace, release string, revision int) (*Result, error) {
	return c.change("POST", namespace, release, "/rollback", struct {
		Revision int `json:"revision"`
	}{revision})
}

// Uninstall removes a release and its history. Only Output of the Result is
// set.
func (c Cluster) Uninstall(namespace, release string) (*Result, error) {
	return c.change("DELETE", namespace, release, "", nil)
}

func (c Cluster) change(method, namespace, release, verb string, in any) (*Result, error) {
	var out Result
	if err := c.release(method, namespace, release, verb, nil, in, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// release makes a call about one release.
func (c Cluster) release(method, namespace, release, verb string, query url.Values, in, out any) error {
	target, err := rest.URL("helm", string(c), "namespace", namespace, "release", release)
	if err != nil {
		return err
	}
	target += verb
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return rest.Do(fetch, method, target, in, out)
}
