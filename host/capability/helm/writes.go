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

// unfinished reports whether a record of this status waits for its operation.
func unfinished(s release.Status) bool { return s.IsPending() || s == release.StatusUninstalling }

// ownLabel reports whether a label of a record's Secret is not one of the release.
func ownLabel(label string) bool {
	return slices.Contains(driver.GetSystemLabels(), label)
}

// Name returns helm's name of this kind of storage.
func (*records) Name() string { return driver.SecretsDriverName }

// seen is what is known of a record that was read or written.
type seen struct {
	version string       // of the Secret
	mine    bool         // with the claim of this operation
	info    release.Info // before this operation changed it
}

func (s *records) remember(k key, h *head, info *release.Info) {
	if s.claim == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[key]seen{}
	}
	now := seen{h.version, h.claim != nil && h.claim.ID == s.claim.ID, s.seen[k].info}
	if info != nil && !now.mine {
		now.info = *info
	}
	s.seen[k] = now
}

func (s *records) lastSeen(k key) seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[k]
}

// Create writes a new revision. The error is driver.ErrReleaseExists if it exists.
func (s *records) Create(secret string, r *release.Release) error {
	s.began.Store(true)
	k := key{s.namespace, r.Name, r.Version}
	resp, err := s.write(http.MethodPost, secretPath(s.namespace, ""), secret, r, "createdAt", "")
	if err == nil && resp.Status == http.StatusConflict {
		return driver.ErrReleaseExists
	}
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return err
	}
	s.wrote(k, resp, r.Info)
	return s.yield(k)
}

// yield withdraws the revision that this operation has just created if the one before it
// is being uninstalled. The uninstallation withdraws as well when it sees the new one:
// each writes before it looks, so at least one of two sees the other.
func (s *records) yield(k key) error {
	before := k
	before.revision--
	if s.claim == nil || before.revision == 0 {
		return nil
	}
	h, err := s.head(context.Background(), before)
	if err != nil || h.status != release.StatusUninstalling || h.claim == nil || h.claim.ID == s.claim.ID {
		return nil // the record before is gone, or does not matter
	}
	_, _ = s.client.Do(context.Background(), &cluster.Request{Method: http.MethodDelete, Path: secretPath(s.namespace, k.secret()), Limit: maxSecret})
	s.lost(inProgress(h.claim.String()))
	return inProgress(h.claim.String())
}

// wrote remembers the answer to a write.
func (s *records) wrote(k key, resp *cluster.Response, info *release.Info) {
	var o struct {
		Metadata struct{ ResourceVersion string }
	}
	if json.Unmarshal(resp.Body, &o) == nil {
		h := &head{version: o.Metadata.ResourceVersion}
		if s.claim != nil && (unfinished(info.Status) || s.lastSeen(k).mine) {
			h.claim = s.claim
		}
		s.remember(k, h, nil)
	}
}

// lost ends the operation: another one owns its record.
func (s *records) lost(err error) {
	if s.stop != nil {
		s.stop(err)
	}
}

const maxConflicts = 5 // of one write with renewals of the claim

// Update replaces a revision. The operation ends if another one has claimed the revision,
// or has taken it over, since it was read.
func (s *records) Update(secret string, r *release.Release) error {
	k := key{s.namespace, r.Name, r.Version}
	for range maxConflicts {
		last := s.lastSeen(k)
		err := s.replace(secret, r, last.version)
		if s.claim == nil || host.KindOf(err) != host.Conflict {
			if err == nil && r.Info.Status == release.StatusUninstalling && !last.mine {
				return s.yieldUninstall(k, r, last.info)
			}
			return err
		}
		h, err := s.head(context.Background(), k)
		if err != nil {
			return err
		}
		switch theirs := h.claimed() && h.claim.ID != s.claim.ID; {
		case theirs:
			s.lost(inProgress(h.claim.String()))
			return inProgress(h.claim.String())
		case last.mine && (h.claim == nil || h.claim.ID != s.claim.ID):
			s.lost(takenOver())
			return takenOver()
		}
		s.remember(k, h, nil)
	}
	return host.E(host.Conflict, name, "the release's record keeps changing")
}

// yieldUninstall withdraws an uninstallation that has just begun if there is a newer
// revision; see yield.
func (s *records) yieldUninstall(k key, r *release.Release, before release.Info) error {
	newer := k
	newer.revision++
	h, err := s.head(context.Background(), newer)
	if s.claim == nil || err != nil || !h.claimed() || h.claim.ID == s.claim.ID {
		return nil // no newer one, or the operation's own
	}
	restored := *r
	restored.Info = &before
	_ = s.replace(k.secret(), &restored, s.lastSeen(k).version)
	s.lost(inProgress(h.claim.String()))
	return inProgress(h.claim.String())
}

// replace replaces the revision if it still has this resource version, or, if version is
// empty, whatever version it has. The error is of kind Conflict if it has another one.
func (s *records) replace(secret string, r *release.Release, version string) error {
	resp, err := s.write(http.MethodPut, secretPath(s.namespace, secret), secret, r, "modifiedAt", version)
	if err == nil && resp.Status == http.StatusNotFound {
		return driver.ErrReleaseNotFound
	}
	if err == nil {
		err = resp.Err()
	}
	if err == nil {
		s.wrote(key{s.namespace, r.Name, r.Version}, resp, r.Info)
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
	var annotations map[string]string
	// The claim stays on the record when the operation has ended: it names the operation
	// whose outcome the record is.
	if s.claim != nil && (unfinished(r.Info.Status) || s.lastSeen(key{s.namespace, r.Name, r.Version}).mine) {
		annotations = map[string]string{claimAnnotation: s.claim.encode()}
	}
	type metadata struct {
		Name            string            `json:"name"`
		Namespace       string            `json:"namespace"`
		Labels          map[string]string `json:"labels"`
		Annotations     map[string]string `json:"annotations,omitempty"`
		ResourceVersion string            `json:"resourceVersion,omitempty"`
	}
	return json.Marshal(struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   metadata          `json:"metadata"`
		Type       string            `json:"type"`
		Data       map[string][]byte `json:"data"`
	}{"v1", "Secret", metadata{secret, s.namespace, labels, annotations, version}, "helm.sh/release.v1", map[string][]byte{"release": packed}})
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

// fail marks the record as failed, with the reason why, if it has not changed since it
// was read. Helm then allows upgrades of the release.
func (s *records) fail(k key, r *release.Release, version, why string) error {
	r.Info.Status, r.Info.Description = release.StatusFailed, why
	return s.replace(k.secret(), r, version)
}
