package helm

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// failure converts an error of helm to one for the user. Few errors of helm have a type;
// the time of the error says most: until the record of a new revision is written, nothing
// has changed, and helm refuses the chart or the values.
func (r *run) failure(err error) error {
	op := name + "." + r.action
	fail := func(kind host.Kind, message string) error {
		return &host.Error{Kind: kind, Op: op, Message: message, Detail: err.Error(), Err: err}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrReleaseNotFound):
		return &host.Error{Kind: host.NotFound, Op: op, Message: "release not found", Err: err}
	case errors.Is(err, driver.ErrReleaseExists), says(err, "another operation (install/upgrade/rollback) is in progress"), says(err, "cannot re-use a name that is still in use"):
		return r.rival()
	case says(err, driver.ErrNoDeployedReleases.Error()):
		return fail(host.Conflict, "the release has no deployed revision to start from")
	case says(err, "invalid ownership metadata"):
		return fail(host.Conflict, "an object of the chart already exists and belongs to another owner")
	}
	e := r.client.Failure(op, r.action+" failed", err)
	if x, ok := errors.AsType[*host.Error](e); !ok || x.Kind != host.Upstream || x.Message != r.action+" failed" {
		return e
	}
	switch {
	case says(err, "timed out waiting for the condition"), says(err, "context deadline exceeded"):
		return fail(host.Timeout, "the operation took too long: a hook or the cluster did not finish in time")
	case hookFailed.MatchString(err.Error()):
		return fail(host.Unprocessable, "a hook of the chart failed")
	case r.action == actUpgrade && r.store != nil && !r.store.began.Load():
		return fail(host.Unprocessable, "the chart cannot be used with these values in this cluster")
	}
	return e
}

// rival is the error of an operation that began at the same time as another one.
func (r *run) rival() error {
	s := r.records()
	if keys, err := s.history(context.Background(), r.release); err == nil {
		if h, err := s.head(context.Background(), keys[0]); err == nil && h.claimed() {
			return inProgress(h.claim.String())
		}
	}
	return inProgress("it began at the same time; try again when it has ended")
}

func says(err error, text string) bool { return strings.Contains(err.Error(), text) }

// hookFailed matches helm's messages about a hook that failed.
var hookFailed = regexp.MustCompile(`\b(job|pod) \S+ failed\b|pre-install: |post-install: |hooks failed: |warning: Hook `)

// testFailed matches helm's messages about a test that ended and failed.
var testFailed = regexp.MustCompile(`\b(job|pod) \S+ failed\b`)

// selfContained refuses a chart if its values.schema.json, or a subchart's, refers to an
// external document, which the host would fetch. A schema may refer to itself and to the
// drafts of JSON Schema, which the validator contains.
func selfContained(c *chart.Chart) error {
	if len(c.Schema) > 0 {
		var schema any
		if err := json.Unmarshal(c.Schema, &schema); err != nil {
			return host.E(host.Unprocessable, name, "values.schema.json of chart %q is not JSON", c.Name())
		}
		if ref := foreign(schema); ref != "" {
			return host.E(host.Unprocessable, name, "values.schema.json of chart %q refers to %q; it may refer only to itself, as in #/$defs/x", c.Name(), ref)
		}
	}
	for _, d := range c.Dependencies() {
		if err := selfContained(d); err != nil {
			return err
		}
	}
	return nil
}

var draft = regexp.MustCompile(`^https?://json-schema\.org/`)

// foreign returns a reference in the schema to another document, or "". Every string
// under such a key counts, wherever it is: refusing a property called $ref is a small
// loss.
func foreign(schema any) string {
	switch s := schema.(type) {
	case map[string]any:
		for k, v := range s {
			text, ok := v.(string)
			if ok && (k == "$ref" || k == "$dynamicRef" || k == "$recursiveRef" || k == "$schema") &&
				!strings.HasPrefix(text, "#") && !draft.MatchString(text) {
				return text
			}
			if ref := foreign(v); ref != "" {
				return ref
			}
		}
	case []any:
		for _, v := range s {
			if ref := foreign(v); ref != "" {
				return ref
			}
		}
	}
	return ""
}
