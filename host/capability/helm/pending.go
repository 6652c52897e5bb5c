package helm

import (
	"context"
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// ready returns the newest revision of r's release, nil if the release does not exist, or
// an error if an operation in progress prevents the one that r requests.
//
// A record that waits for an operation of a host, this one or another, has its claim. If
// the claim is not renewed, the host is gone: ready marks the record as failed, so that
// the operation can begin. It takes claimLife at most. The record of another program says
// nothing of that kind; rollback and uninstall replace it.
func (r *run) ready(ctx context.Context, s *records) (*release.Release, error) {
	for range maxConflicts {
		keys, err := s.history(ctx, r.release)
		if errors.Is(err, driver.ErrReleaseNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		last, h, err := s.readHead(ctx, keys[0], true, newBudget(maxRelease))
		if errors.Is(err, errDamaged) && r.action == actUninstall {
			return nil, nil // helm says what it can do about it
		}
		switch {
		case errors.Is(err, driver.ErrReleaseNotFound): // it has just been uninstalled
			continue
		case err != nil || !unfinished(last.Info.Status):
			return last, err
		case h.claim == nil && (r.action == actRollback || r.action == actUninstall):
			return last, nil
		case h.claim == nil:
			return nil, r.foreign(ctx, s, last)
		case r.upgrade.DryRun:
			return nil, inProgress(h.claim.String())
		}
		if err := s.ended(ctx, keys[0], h.claim); err != nil {
			return nil, err
		}
		status := last.Info.Status
		err = s.fail(keys[0], last, h.version, fmt.Sprintf("interrupted: %s; the host that ran it is gone", h.claim))
		switch {
		case host.KindOf(err) == host.Conflict || errors.Is(err, driver.ErrReleaseNotFound): // it has changed
		case err != nil:
			return nil, err
		default:
			r.repaired = fmt.Sprintf("revision %d was %s (%s) and its host is gone; it is marked as failed", last.Version, status, h.claim)
			return last, nil
		}
	}
	return nil, inProgress("its record keeps changing")
}

// foreign is the error about the pending record of another program, with what to do if
// that has been interrupted.
func (r *run) foreign(ctx context.Context, s *records, last *release.Release) error {
	since := "another program's, since " + stamp(last.Info.LastDeployed) + "; "
	if last.Info.Status == release.StatusUninstalling {
		return inProgress(since + "if it was interrupted, uninstall the release again")
	}
	good, err := s.lastGood(ctx, r.release, last.Version)
	switch {
	case err != nil:
		return err
	case good == 0:
		return inProgress(since + "no revision was ever deployed; if the installation was interrupted, uninstall the release and install it again")
	}
	return inProgress(since + fmt.Sprintf("if it was interrupted, roll back to revision %d, the last one that was deployed", good))
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
