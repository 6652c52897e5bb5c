package helm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// ready returns the newest revision of q's release, nil if the release does not exist,
// or an error if a pending record prevents the operation that q requests.
//
// A pending record prevents other operations while its own may still run. If a replica of
// this host wrote the record, it contains the end of that time, and is marked as failed
// after it. A record of another program contains no end; rollback and uninstall replace
// it.
func (s *records) ready(ctx context.Context, q *request) (*release.Release, error) {
	keys, err := s.history(ctx, q.release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last, version, err := s.readVersion(ctx, keys[0], true, newBudget(maxRelease))
	if errors.Is(err, errDamaged) && q.action == actUninstall {
		return nil, nil // helm says what it can do about it
	}
	if err != nil || !unfinished(last.Info.Status) {
		return last, err
	}
	c, owned := owner(last.Labels)
	switch {
	case owned && c.gone(time.Now()):
		err := s.fail(keys[0], last, version, "the operation was interrupted; the host that ran it is gone")
		if host.KindOf(err) == host.Conflict {
			return nil, inProgress("it has just begun")
		}
		return last, err
	case owned:
		return nil, inProgress(fmt.Sprintf("it ends by %s at the latest", c.until.Add(clockSkew).UTC().Format(time.RFC3339)))
	case q.action != actUpgrade:
		return last, nil
	case last.Info.Status == release.StatusUninstalling:
		return nil, inProgress("the release is being uninstalled; if that was interrupted, uninstall it again")
	}
	good, err := s.lastGood(ctx, q.release, last.Version)
	switch {
	case err != nil:
		return nil, err
	case good == 0:
		return nil, inProgress("no revision was ever deployed; if the installation was interrupted, uninstall the release and install it again")
	}
	return nil, inProgress(fmt.Sprintf("if it was interrupted, roll back to revision %d, the last one that was deployed", good))
}

// lastGood returns the newest readable revision before the given one that was deployed,
// or 0.
func (s *records) lastGood(ctx context.Context, releaseName string, before int) (int, error) {
	keys, err := s.history(ctx, releaseName)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	looked := newBudget(maxListed)
	for _, k := range keys {
		if k.revision >= before {
			continue
		}
		rel, err := s.read(ctx, k, false, looked)
		switch {
		case errors.Is(err, errDamaged):
			s.skip(err)
		case errors.Is(err, driver.ErrReleaseNotFound):
		case err != nil:
			return 0, err
		case rel.Info.Status == release.StatusDeployed || rel.Info.Status == release.StatusSuperseded:
			return k.revision, nil
		}
	}
	return 0, nil
}
