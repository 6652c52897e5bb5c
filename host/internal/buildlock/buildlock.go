// Package buildlock lets test processes that run beside each other build a
// program of examples once.
package buildlock

import (
	"fmt"
	"os"
	"path/filepath"
)

// Take waits until no other process builds what name stands for. The lock ends
// with release, and with the process at the latest.
func Take(name string) (release func(), err error) {
	return lock(filepath.Join(os.TempDir(), name+".lock"))
}

// Upwards finds the directory of a module, such as examples/devcluster, in the
// working directory or above it.
func Upwards(module string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, module)
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%s is not above the working directory", module)
		}
		dir = parent
	}
}
