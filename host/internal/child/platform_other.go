//go:build !linux

package child

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// The package documentation lists the limits of these functions.

func executable() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return nil }

func closeInherited() {}

func confine(order) error { return nil }

func spent(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func resident(int) (uint64, error) { return 0, errors.ErrUnsupported }

func spentCPU(*os.ProcessState, time.Duration) bool { return false }
