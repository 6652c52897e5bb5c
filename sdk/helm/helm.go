// Package helm is the client of the capability "helm", which reads and changes releases of
// a cluster as the user. The host has the credentials and the chart repositories.
//
// Names may come directly from a request: an empty or invalid name is an error with status
// 400 that names it. Other errors are *sdk.Error from the host: 403 from policy or grant,
// 404 for a release that does not exist, 502 with Helm's own text in Detail.
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

// Upgrade is the chart and the values of an installation or upgrade. Version is a version
// or a constraint ("^1.2", ">=1.0 <2"); empty means the newest version. Values is a YAML
// mapping.
//
// By default an upgrade keeps none of the release's present values, also if Values is
// empty. ReuseValues keeps all of them, including the defaults of the old chart; new
// defaults of the new chart are then absent. ResetThenReuseValues keeps those that users
// gave, over the defaults of the new chart. Both merge Values into the kept values.
// Setting both is an error with status 400. Helm's options have the same names.
type Upgrade struct {
	Chart                string `json:"chart"`
	Version              string `json:"version"`
	Values               string `json:"values"`
	ReuseValues          bool   `json:"reuseValues"`
	ResetThenReuseValues bool   `json:"resetThenReuseValues"`
	// Wait waits until the chart's objects are ready. Atomic waits too, and undoes an
	// operation that fails: an upgrade is rolled back, an installation uninstalled.
	Wait   bool `json:"wait,omitempty"`
	Atomic bool `json:"atomic,omitempty"`
	// DryRun renders the chart, compares it with the present manifest and changes
	// nothing. It excludes Wait and Atomic.
	DryRun bool `json:"dryRun,omitempty"`
}

// Rollback is a rollback to an earlier revision, which becomes a new one. Wait waits until
// its objects are ready.
type Rollback struct {
	Revision int  `json:"revision"`
	Wait     bool `json:"wait,omitempty"`
}

// Result is the outcome of a change: the release, and Helm's text for users. Redacted is
// set if a secret in it is hidden. Of a dry run, Release is the revision that would be
// written, and Objects is how its manifest differs from the present one.
type Result struct {
	Release  Release `json:"release"`
	Output   string  `json:"output"`
	Redacted bool    `json:"redacted"`
	// Repaired says which interrupted operation on the release was found and closed
	// before this one; empty if none.
	Repaired string       `json:"repaired"`
	DryRun   bool         `json:"dryRun"`
	Objects  []ObjectDiff `json:"objects"`
}

// Operation is the state of a change in the background. Status is InProgress, Succeeded,
// Failed or Canceled. The id is valid on every replica, and after a logout. Progress and,
// for the user who began it, Result, what the call itself would have answered, are known on
// the replica that runs the operation until ten minutes after its end; others know Release.
type Operation struct {
	ID        string          `json:"id"`
	Status    string          `json:"status"`
	Action    string          `json:"action"`
	User      string          `json:"user,omitempty"`
	StartTime string          `json:"startTime,omitempty"`
	Objects   int             `json:"objects"` // changed so far
	Progress  []Step          `json:"progress,omitempty"`
	Release   *Release        `json:"release,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *OperationError `json:"error,omitempty"`
}

// Step is a change of one object. Status is the API server's answer.
type Step struct {
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Status    int    `json:"status"`
}

// OperationError is why an operation failed. Status is an HTTP status.
type OperationError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// Tested is the outcome of a chart's tests. Passed is false if one failed; Failure says
// which and why.
type Tested struct {
	Release Release `json:"release"`
	Output  string  `json:"output"`
	Passed  bool    `json:"passed"`
	Failure string  `json:"failure"`
	Tests   []Test  `json:"tests"`
}

// Test is one test of a chart. Phase is Succeeded, Failed, Running or Unknown; Started and
// Completed are RFC 3339.
type Test struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Phase     string `json:"phase"`
	Started   string `json:"started,omitempty"`
	Completed string `json:"completed,omitempty"`
}

// Page is the part of a list that is requested. The zero value is the whole list.
type Page struct {
	Limit  int    // most releases; 0: all, at most 500
	After  string // List.Next of the part before; empty: from the beginning
	Within int    // seconds that the list may take; 0: the host's own limit of 30
}

// List is a list of releases, by namespace and name. Errors has the namespaces that the
// user may not read in the cluster; the list contains the others. Next is Page.After of
// the next part, empty if there is none.
type List struct {
	Releases []Release        `json:"releases"`
	Errors   []NamespaceError `json:"errors"`
	Next     string           `json:"next"`
}

// Values are the values of a release, a JSON object. Redacted has JSON Pointers to those
// that are secret and that the user may not see.
type Values struct {
	Values   json.RawMessage `json:"values"`
	Redacted []string        `json:"redacted,omitempty"`
}

// Notes are the notes of a revision. Redacted is set if a secret in them is hidden.
type Notes struct {
	Revision int    `json:"revision"`
	Notes    string `json:"notes"`
	Redacted bool   `json:"redacted,omitempty"`
}

// Manifest is the manifest of a revision, in YAML. Redacted is set if a secret in it is
// hidden.
type Manifest struct {
	Revision int    `json:"revision"`
	Manifest string `json:"manifest"`
	Redacted bool   `json:"redacted,omitempty"`
}

// Diff is how the manifests of two revisions differ. Redacted is set if secrets in it are
// hidden; those that differ are marked.
type Diff struct {
	From     int          `json:"from"`
	To       int          `json:"to"`
	Objects  []ObjectDiff `json:"objects"`
	Redacted bool         `json:"redacted,omitempty"`
}

// ObjectDiff is one object of a Diff. Change is "added", "removed" or "changed"; Diff is a
// unified diff of its YAML, empty with Omitted if it is too long to be compared.
type ObjectDiff struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	Change     string `json:"change"`
	Diff       string `json:"diff"`
	Omitted    bool   `json:"omitted,omitempty"`
}

// NamespaceError is why a namespace is missing from a List. Status is an HTTP status such
// as 403.
type NamespaceError struct {
	Namespace string `json:"namespace"`
	Status    int    `json:"status"`
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
}

// Releases lists the releases of a namespace; an empty namespace means all that the user
// may see.
func (c Cluster) Releases(namespace string, page Page) (*List, error) {
	var segments []string
	if namespace != "" {
		segments = []string{"namespace", namespace}
	}
	target, err := rest.URL("helm", string(c), segments...)
	if err != nil {
		return nil, err
	}
	query := numbers(map[string]int{"limit": page.Limit, "within": page.Within})
	if page.After != "" {
		query.Set("after", page.After)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var out List
	if err := rest.Do(fetch, "GET", target, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// History lists the newest revisions of a release, up to limit; zero means the host's
// default.
func (c Cluster) History(namespace, release string, limit int) ([]Revision, error) {
	var out struct {
		History []Revision `json:"history"`
	}
	err := c.release("GET", namespace, release, "/history", numbers(map[string]int{"max": limit}), nil, &out)
	return out.History, err
}

// Values returns the values of a release. Revision zero means the newest; with all, the
// result includes the chart's defaults.
func (c Cluster) Values(namespace, release string, revision int, all bool) (*Values, error) {
	query := numbers(map[string]int{"revision": revision})
	if all {
		query.Set("all", "true")
	}
	return read[Values](c, namespace, release, "/values", query)
}

// Notes returns the notes of a release. Revision zero means the newest.
func (c Cluster) Notes(namespace, release string, revision int) (*Notes, error) {
	return read[Notes](c, namespace, release, "/notes", numbers(map[string]int{"revision": revision}))
}

// Manifest returns the manifest of a release. Revision zero means the newest.
func (c Cluster) Manifest(namespace, release string, revision int) (*Manifest, error) {
	return read[Manifest](c, namespace, release, "/manifest", numbers(map[string]int{"revision": revision}))
}

// Diff compares the manifests of two revisions. Zero for "to" means the newest, zero for
// "from" the one before "to".
func (c Cluster) Diff(namespace, release string, from, to int) (*Diff, error) {
	return read[Diff](c, namespace, release, "/diff", numbers(map[string]int{"from": from, "to": to}))
}

// numbers returns a query of the numbers that are not zero.
func numbers(of map[string]int) url.Values {
	query := url.Values{}
	for key, n := range of {
		if n > 0 {
			query.Set(key, strconv.Itoa(n))
		}
	}
	return query
}

func read[T any](c Cluster, namespace, release, what string, query url.Values) (*T, error) {
	out := new(T)
	if err := c.release("GET", namespace, release, what, query, nil, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Upgrade installs a release or upgrades it.
func (c Cluster) Upgrade(namespace, release string, u Upgrade) (*Result, error) {
	return c.change("POST", namespace, release, "/upgrade", u)
}

// Rollback rolls a release back to an earlier revision, as a new revision.
func (c Cluster) Rollback(namespace, release string, r Rollback) (*Result, error) {
	return c.change("POST", namespace, release, "/rollback", r)
}

// Test runs the tests of the chart of a deployed release. A test that fails is no error.
func (c Cluster) Test(namespace, release string) (*Tested, error) {
	out := new(Tested)
	if err := c.release("POST", namespace, release, "/test", nil, nil, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Uninstall removes a release and its history. Only Output of the Result is
// set.
func (c Cluster) Uninstall(namespace, release string) (*Result, error) {
	return c.change("DELETE", namespace, release, "", nil)
}

// BeginUpgrade is Upgrade in the background: it does not wait for the end. The operation
// may take 15 minutes, and ends with the user's login; the release can then be changed
// again.
func (c Cluster) BeginUpgrade(namespace, release string, u Upgrade) (*Operation, error) {
	return c.begin("POST", namespace, release, "/upgrade", u)
}

// BeginRollback is Rollback in the background; see BeginUpgrade.
func (c Cluster) BeginRollback(namespace, release string, r Rollback) (*Operation, error) {
	return c.begin("POST", namespace, release, "/rollback", r)
}

// BeginUninstall is Uninstall in the background; see BeginUpgrade.
func (c Cluster) BeginUninstall(namespace, release string) (*Operation, error) {
	return c.begin("DELETE", namespace, release, "", nil)
}

// BeginTest is Test in the background; see BeginUpgrade.
func (c Cluster) BeginTest(namespace, release string) (*Operation, error) {
	return c.begin("POST", namespace, release, "/test", nil)
}

func (c Cluster) begin(method, namespace, release, verb string, in any) (*Operation, error) {
	out := new(Operation)
	if err := c.release(method, namespace, release, verb, url.Values{"async": {"true"}}, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Operation returns the state of an operation on a release, when it has ended or after
// wait seconds, at most 20.
func (c Cluster) Operation(namespace, release, id string, wait int) (*Operation, error) {
	query := numbers(map[string]int{"wait": wait})
	query.Set("id", id)
	return read[Operation](c, namespace, release, "/operation", query)
}

// Cancel stops an operation, which the user must have begun, and returns its state.
func (c Cluster) Cancel(namespace, release, id string) (*Operation, error) {
	out := new(Operation)
	if err := c.release("DELETE", namespace, release, "/operation", url.Values{"id": {id}}, nil, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (c Cluster) change(method, namespace, release, verb string, in any) (*Result, error) {
	var out Result
	if err := c.release(method, namespace, release, verb, nil, in, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// release makes a call for one release.
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
