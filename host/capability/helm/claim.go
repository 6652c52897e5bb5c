package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

// Times of a claim. An operation renews the claim on its record while it runs. Others take
// the record over once they have seen no renewal for claimLife, by their own clock; the
// operation itself stops before that.
const (
	renewEvery = 2 * time.Second
	fenceAfter = 8 * time.Second  // the child's requests are refused this long after the last renewal
	claimLife  = 12 * time.Second // without a renewal, the operation has ended
	watchEvery = 500 * time.Millisecond
	// longGone is the age from which a claim is not watched: no two clocks differ by it.
	longGone = 5 * time.Minute
)

// claimed reports whether an operation is in progress.
func (h *head) claimed() bool { return h.claim != nil && unfinished(h.status) }

// claimAnnotation is the annotation of a record's Secret that contains the claim of the
// operation in progress, or of the one that wrote the record, in JSON. Helm's own storage
// removes it with each write.
const claimAnnotation = "bulkhead.internal/operation"

// claim is who works on a release.
type claim struct {
	ID      string    `json:"id"` // of the operation
	Action  string    `json:"action"`
	User    string    `json:"user"`
	Since   time.Time `json:"since"`
	Renewed time.Time `json:"renewed"`           // by the clock of the operation's host
	Objects int       `json:"objects,omitempty"` // that the operation has changed
	Cancel  bool      `json:"cancel,omitempty"`  // its owner has asked it to stop
}

// String says who works on the release and since when.
func (c *claim) String() string {
	return fmt.Sprintf("%s by %s since %s", c.Action, c.User, c.Since.UTC().Format(time.RFC3339))
}

// encode returns the annotation of a claim that is renewed now.
func (c claim) encode() string {
	c.Renewed = time.Now()
	text, _ := json.Marshal(c) // it contains nothing that cannot be encoded
	return string(text)
}

// decodeClaim returns the claim in annotations, or nil if they have no readable claim.
func decodeClaim(annotations map[string]string) *claim {
	c := new(claim)
	if err := json.Unmarshal([]byte(annotations[claimAnnotation]), c); err != nil || c.ID == "" {
		return nil
	}
	return c
}

// head is the metadata of a record.
type head struct {
	version string // of the Secret
	status  release.Status
	claim   *claim
}

// head reads the metadata of a record. The error is driver.ErrReleaseNotFound if it does
// not exist.
func (s *records) head(ctx context.Context, k key) (*head, error) {
	resp, err := s.get(ctx, k, http.Header{"Accept": {"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}})
	if err != nil {
		return nil, err
	}
	var o struct {
		Metadata struct {
			ResourceVersion     string
			Labels, Annotations map[string]string
		}
	}
	if err := json.Unmarshal(resp.Body, &o); err != nil {
		return nil, k.damaged(err)
	}
	return &head{o.Metadata.ResourceVersion, release.Status(o.Metadata.Labels["status"]), decodeClaim(o.Metadata.Annotations)}, nil
}

// ended watches an unfinished record that another operation claims, until it is clear
// whether that operation still runs: nil means that it has ended without finishing the
// record, or that the record has changed. The error is of kind Conflict if it runs.
func (s *records) ended(ctx context.Context, k key, c *claim) error {
	if time.Since(c.Renewed) > longGone {
		return nil
	}
	began, tick := time.Now(), time.NewTicker(watchEvery)
	defer tick.Stop()
	for time.Since(began) < claimLife {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		switch now, err := s.head(ctx, k); {
		case errors.Is(err, driver.ErrReleaseNotFound):
			return nil
		case err != nil:
			return err
		case now.claim == nil || now.claim.ID != c.ID || !unfinished(now.status):
			return nil
		case !now.claim.Renewed.Equal(c.Renewed):
			return inProgress(now.claim.String())
		}
	}
	return nil
}

// renew changes the claim with this id on a record, and renews it if it is the caller's
// own. It returns the claim, nil if the record does not have it or is finished.
func (s *records) renew(ctx context.Context, k key, id string, own bool, change func(*claim)) (*claim, error) {
	resp, err := s.get(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	var o struct {
		APIVersion string                     `json:"apiVersion"`
		Kind       string                     `json:"kind"`
		Metadata   map[string]json.RawMessage `json:"metadata"`
		Type       string                     `json:"type"`
		Data       map[string]json.RawMessage `json:"data"`
	}
	var labels, annotations map[string]string
	if err := json.Unmarshal(resp.Body, &o); err != nil {
		return nil, k.damaged(err)
	}
	_ = json.Unmarshal(o.Metadata["labels"], &labels)
	_ = json.Unmarshal(o.Metadata["annotations"], &annotations)
	c := decodeClaim(annotations)
	if c == nil || c.ID != id || !unfinished(release.Status(labels["status"])) {
		return nil, nil
	}
	if change(c); own {
		c.Renewed = time.Now()
	}
	text, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	annotations[claimAnnotation] = string(text)
	if o.Metadata["annotations"], err = json.Marshal(annotations); err != nil {
		return c, err
	}
	delete(o.Metadata, "managedFields")
	body, err := json.Marshal(o)
	if err != nil {
		return c, err
	}
	resp, err = s.client.Do(ctx, &cluster.Request{
		Method: http.MethodPut, Path: secretPath(k.namespace, k.secret()), Body: body, Limit: maxSecret, Header: http.Header{"Content-Type": {"application/json"}},
	})
	if err == nil {
		err = resp.Err()
	}
	return c, err
}

// keep renews the claim of the operation until ctx ends. It calls lost once, and returns,
// if the claim was not renewed in time or is another operation's.
func (o *operation) keep(ctx context.Context, lost func(error)) {
	s := &records{client: o.closing, namespace: o.namespace, logger: o.logger}
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k, held := o.bridge.held()
		if !held {
			continue
		}
		now := time.Now()
		c, err := s.renew(ctx, k, o.claim.ID, true, func(c *claim) { c.Objects = o.bridge.changes() })
		if c != nil && err == nil {
			o.bridge.renewed(now)
		}
		if c != nil && c.Cancel {
			lost(errCanceled)
			return
		}
		// Without a claim, either the child has just written the end of the operation,
		// or another operation has taken the record over.
		if _, held = o.bridge.held(); held && err == nil && c == nil {
			lost(takenOver())
			return
		}
		if err := o.bridge.fenced(); err != nil {
			lost(err)
			return
		}
	}
}

// errCanceled is the cause of an operation that its owner has cancelled.
var errCanceled = host.E(host.Conflict, name, canceledText)

const canceledText = "the operation was cancelled"

// takenOver is the error of an operation whose record another one has taken over.
func takenOver() error {
	return host.E(host.Conflict, name, "another operation has taken the release over, since this one was not seen to be alive")
}
