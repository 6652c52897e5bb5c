//go:build !linux

package child

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// What these cannot do is said in the package's documentation.

func executable() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return nil }

func closeInherited() {}

func confine(order) error { return nil }

func resident(int) (uint64, error) { return 0, errors.ErrUnsupported }

func spentCPU(*os.ProcessState, time.Duration) bool { return false }
