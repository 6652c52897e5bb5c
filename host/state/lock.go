//go:build unix

package state

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// lockDir locks dir for this process until unlock. The kernel releases the lock when
// the process ends, so a crash leaves nothing to clean up.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, host.E(host.Invalid, "state.open", "data directory %s cannot be used: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f.Close, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, host.E(host.Conflict, "state.open", "data directory %s is in use by another bulkhead", dir)
	}
	return nil, host.E(host.Invalid, "state.open", "data directory %s cannot be locked: %w", dir, err)
}
