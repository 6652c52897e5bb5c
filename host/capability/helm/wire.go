package helm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

type releaseInfo struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	Revision   int    `json:"revision"`
	Updated    string `json:"updated"` // RFC 3339
	Status     string `json:"status"`
	Chart      string `json:"chart"`
	Version    string `json:"version"` // the chart's
	AppVersion string `json:"appVersion"`
}

// listed is the answer of a list. Errors has the namespaces that could not be read. Next
// is the value of "after" for the next part of the list, empty if there is none.
type listed struct {
	Releases []*releaseInfo           `json:"releases"`
	Errors   []capability.Unreachable `json:"errors,omitempty"`
	Next     string                   `json:"next,omitempty"`
}

// valuesShown is the answer about values. Redacted has JSON Pointers to values that the
// user may not see.
type valuesShown struct {
	Values   map[string]any `json:"values"`
	Redacted []string       `json:"redacted,omitempty"`
}

type notesShown struct {
	Revision int    `json:"revision"`
	Notes    string `json:"notes"`
	Redacted bool   `json:"redacted,omitempty"`
}

type manifestShown struct {
	Revision int    `json:"revision"`
	Manifest string `json:"manifest"` // YAML
	Redacted bool   `json:"redacted,omitempty"`
}

type diffShown struct {
	From     int          `json:"from"`
	To       int          `json:"to"`
	Objects  []objectDiff `json:"objects"`
	Redacted bool         `json:"redacted,omitempty"`
}

type revisionInfo struct {
	Revision    int    `json:"revision"`
	Updated     string `json:"updated"`
	Status      string `json:"status"`
	Chart       string `json:"chart"`
	Version     string `json:"version"`
	AppVersion  string `json:"appVersion"`
	Description string `json:"description"`
}

// upgradeBody is the body of an upgrade or installation. An upgrade uses these values of
// the existing release:
//
//   - by default none: the release gets Values and the chart's own defaults, also if
//     Values is empty;
//   - with ReuseValues all of them, including the defaults of the old chart; Values
//     are merged into them, and new defaults of the new chart are absent;
//   - with ResetThenReuseValues those that users gave; Values are merged into them,
//     over the defaults of the new chart.
//
// The two exclude each other and have no effect on an installation.
type upgradeBody struct {
	Chart                string `json:"chart"`   // REPOSITORY/CHART
	Version              string `json:"version"` // a version or a constraint such as ^1.2; empty: the newest release
	Values               string `json:"values"`  // YAML, one mapping
	ReuseValues          bool   `json:"reuseValues"`
	ResetThenReuseValues bool   `json:"resetThenReuseValues"`
	// Wait waits until the chart's objects are ready. Atomic also undoes an operation
	// that fails: an upgrade is rolled back, an installation uninstalled.
	Wait   bool `json:"wait"`
	Atomic bool `json:"atomic"`
	// DryRun renders the chart, compares it with the present manifest, and changes
	// nothing. It excludes Wait and Atomic.
	DryRun bool `json:"dryRun"`
}

// keep sets which of the release's values an upgrade keeps. Without it, helm would keep
// all of them if none are given.
func (b *upgradeBody) keep(a *action.Upgrade) {
	a.ReuseValues, a.ResetThenReuseValues = b.ReuseValues, b.ResetThenReuseValues
	a.ResetValues = !b.ReuseValues && !b.ResetThenReuseValues
}

// waits reports whether the operation waits for the chart's objects.
func (b *upgradeBody) waits() bool { return b.Wait || b.Atomic }

type rollbackBody struct {
	Revision int  `json:"revision"`
	Wait     bool `json:"wait"` // until the objects are ready
}

// changed is the answer of a change. Output is the chart's notes, or one line; Redacted
// is set if a secret in it is hidden.
type changed struct {
	Release  releaseInfo `json:"release"`
	Output   string      `json:"output"`
	Redacted bool        `json:"redacted,omitempty"`
	// Repaired says which interrupted operation was found and closed; empty if none.
	Repaired string `json:"repaired,omitempty"`
}

// uninstalled is the answer of an uninstallation.
type uninstalled struct {
	Output   string `json:"output"`
	Repaired string `json:"repaired,omitempty"`
}

// planned is the answer of a dry run. Release is the revision that would be written,
// Objects how its manifest differs from the present one.
type planned struct {
	changed
	DryRun  bool         `json:"dryRun"`
	Objects []objectDiff `json:"objects"`
}

// tested is the answer of a test. Passed is false if a test failed; Failure says why.
type tested struct {
	Release releaseInfo `json:"release"`
	Output  string      `json:"output"`
	Passed  bool        `json:"passed"`
	Failure string      `json:"failure,omitempty"`
	Tests   []testInfo  `json:"tests"`
}

type testInfo struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Phase     string `json:"phase"`               // Succeeded, Failed, Running or Unknown
	Started   string `json:"started,omitempty"`   // RFC 3339
	Completed string `json:"completed,omitempty"` // RFC 3339
}

func describe(r *release.Release) releaseInfo {
	v := describeRevision(r)
	return releaseInfo{
		Name: r.Name, Namespace: r.Namespace, Revision: v.Revision, Updated: v.Updated,
		Status: v.Status, Chart: v.Chart, Version: v.Version, AppVersion: v.AppVersion,
	}
}

// describeRevision tolerates missing parts, since releases are read from Secrets that
// others can write.
func describeRevision(r *release.Release) revisionInfo {
	v := revisionInfo{Revision: r.Version}
	if r.Info != nil {
		v.Status, v.Description = r.Info.Status.String(), r.Info.Description
		if at := r.Info.LastDeployed; !at.IsZero() {
			v.Updated = at.UTC().Format(time.RFC3339)
		}
	}
	if r.Chart != nil && r.Chart.Metadata != nil {
		m := r.Chart.Metadata
		v.Chart, v.Version, v.AppVersion = m.Name, m.Version, m.AppVersion
	}
	return v
}

func notes(r *release.Release, otherwise string) string {
	if r.Info == nil {
		return otherwise
	}
	return cmp.Or(r.Info.Notes, otherwise)
}

func answer(v any) (*abi.Response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: body}, nil
}

func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = more
			return &host.Error{Kind: host.Invalid, Op: name, Message: "something follows the body's JSON object", Err: err}
		}
		return nil
	}
	return &host.Error{Kind: host.Invalid, Op: name, Message: "invalid request body", Detail: err.Error(), Err: err}
}
