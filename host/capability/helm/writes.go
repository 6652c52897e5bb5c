package helm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

// Labels of a record whose operation is in progress. They name the operation that owns
// the record and the time by which it has certainly ended.
const (
	labelOperation = "bulkhead.internal/operation"
	labelUntil     = "bulkhead.internal/until" // Unix seconds
)

// clockSkew is the greatest expected difference between replicas' clocks.
const clockSkew = 30 * time.Second

// claim is the labels that an operation writes on its pending records.
type claim struct {
	operation string
	until     time.Time
}

// unfinished reports whether a record of this status waits for its operation.
func unfinished(s release.Status) bool { return s.IsPending() || s == release.StatusUninstalling }

// ownLabel reports whether a label of a record's Secret is not one of the release.
func ownLabel(label string) bool {
	return label == labelOperation || label == labelUntil || slices.Contains(driver.GetSystemLabels(), label)
}

// Name returns helm's name of this kind of storage.
func (*records) Name() string { return driver.SecretsDriverName }

// Create writes a new revision. The error is driver.ErrReleaseExists if it exists.
func (s *records) Create(secret string, r *release.Release) error {
	s.began.Store(true)
	resp, err := s.write(http.MethodPost, secretPath(s.namespace, ""), secret, r, "createdAt", "")
	if err == nil && resp.Status == http.StatusConflict {
		return driver.ErrReleaseExists
	}
	if err == nil {
		err = resp.Err()
	}
	return err
}

// Update replaces a revision.
func (s *records) Update(secret string, r *release.Release) error { return s.replace(secret, r, "") }

// replace replaces the revision if it still has this resource version, or, if version is
// empty, whatever version it has.
func (s *records) replace(secret string, r *release.Release, version string) error {
	resp, err := s.write(http.MethodPut, secretPath(s.namespace, secret), secret, r, "modifiedAt", version)
	if err == nil && resp.Status == http.StatusNotFound {
		return driver.ErrReleaseNotFound
	}
	if err == nil {
		err = resp.Err()
	}
	return err
}

func (s *records) write(method, path, secret string, r *release.Release, stamp, version string) (*cluster.Response, error) {
	body, err := s.secretOf(secret, r, stamp, version)
	if err != nil {
		return nil, err
	}
	return s.client.Do(context.Background(), &cluster.Request{
		Method: method, Path: path, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Limit: maxSecret,
	})
}

// secretOf returns the Secret as helm's own driver makes it, with the claim while the
// operation is in progress.
func (s *records) secretOf(secret string, r *release.Release, stamp, version string) ([]byte, error) {
	packed, err := pack(r)
	if err != nil {
		return nil, err
	}
	labels := maps.Clone(r.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.DeleteFunc(labels, func(label, _ string) bool { return ownLabel(label) })
	labels[stamp] = strconv.FormatInt(time.Now().Unix(), 10)
	labels["name"], labels["owner"] = r.Name, "helm"
	labels["status"], labels["version"] = r.Info.Status.String(), strconv.Itoa(r.Version)
	if s.claim != nil && unfinished(r.Info.Status) {
		labels[labelOperation], labels[labelUntil] = s.claim.operation, strconv.FormatInt(s.claim.until.Unix(), 10)
	}
	type metadata struct {
		Name            string            `json:"name"`
		Namespace       string            `json:"namespace"`
		Labels          map[string]string `json:"labels"`
		ResourceVersion string            `json:"resourceVersion,omitempty"`
	}
	return json.Marshal(struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   metadata          `json:"metadata"`
		Type       string            `json:"type"`
		Data       map[string][]byte `json:"data"`
	}{"v1", "Secret", metadata{secret, s.namespace, labels, version}, "helm.sh/release.v1", map[string][]byte{"release": packed}})
}

// pack encodes what unpack decodes.
func pack(r *release.Release) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	packed := make([]byte, base64.StdEncoding.EncodedLen(buf.Len()))
	base64.StdEncoding.Encode(packed, buf.Bytes())
	if len(packed) > maxPacked {
		return nil, host.E(host.Unprocessable, name, "the release is over %d KiB and does not fit into a Secret", maxPacked>>10)
	}
	return packed, nil
}

// owner returns the claim on a pending record; ok is false if it has none.
func owner(labels map[string]string) (c claim, ok bool) {
	seconds, err := strconv.ParseInt(labels[labelUntil], 10, 64)
	if err != nil || labels[labelOperation] == "" {
		return claim{}, false
	}
	return claim{labels[labelOperation], time.Unix(seconds, 0)}, true
}

// gone reports whether the operation of the claim has certainly ended.
func (c claim) gone(now time.Time) bool { return now.After(c.until.Add(clockSkew)) }

// fail marks the record as failed, with the reason why, if it has not changed since it
// was read. Helm then allows upgrades of the release.
func (s *records) fail(k key, r *release.Release, version, why string) error {
	r.Info.Status, r.Info.Description = release.StatusFailed, why
	return s.replace(k.secret(), r, version)
}
