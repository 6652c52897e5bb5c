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

// Labels of a record whose operation is under way. They say which operation of
// which replica owns it, and until when: it has ended by then, however it ended.
const (
	labelOperation = "bulkhead.internal/operation"
	labelUntil     = "bulkhead.internal/until" // Unix seconds
)

// clockSkew is how far the clocks of replicas may be apart.
const clockSkew = 30 * time.Second

// claim is what an operation writes on the records that it leaves pending.
type claim struct {
	operation string
	until     time.Time
}

// unfinished reports whether a record of this status waits for its operation.
func unfinished(s release.Status) bool { return s.IsPending() || s == release.StatusUninstalling }

// ownLabel reports whether a label of a record's Secret is no label of the release.
func ownLabel(label string) bool {
	return label == labelOperation || label == labelUntil || slices.Contains(driver.GetSystemLabels(), label)
}

// Name is what helm calls this kind of storage.
func (*records) Name() string { return driver.SecretsDriverName }

// Create writes a new revision; driver.ErrReleaseExists if it is there.
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

// replace replaces the revision, if it still has this resource version; empty:
// whatever it has.
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

// secretOf is the Secret as helm's own driver makes it, with the claim while the
// operation is under way.
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

// pack is the opposite of unpack.
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
		return nil, host.E(host.Unprocessable, name, "the release is over %d KiB and does not fit a Secret", maxPacked>>10)
	}
	return packed, nil
}

// owner says whose operation a record waits for: the claim, and whether there is
// one.
func owner(labels map[string]string) (c claim, ok bool) {
	seconds, err := strconv.ParseInt(labels[labelUntil], 10, 64)
	if err != nil || labels[labelOperation] == "" {
		return claim{}, false
	}
	return claim{labels[labelOperation], time.Unix(seconds, 0)}, true
}

// gone reports whether the operation of the claim has ended for certain.
func (c claim) gone(now time.Time) bool { return now.After(c.until.Add(clockSkew)) }

// fail marks the record as failed because of why, if it is still the one that was
// read. helm then takes the release for one that can be upgraded.
func (s *records) fail(k key, r *release.Release, version, why string) error {
	r.Info.Status, r.Info.Description = release.StatusFailed, why
	return s.replace(k.secret(), r, version)
}
