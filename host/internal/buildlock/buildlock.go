// Package buildlock lets concurrent test processes build a program of examples once.
package buildlock

import (
	"fmt"
	"os"
	"path/filepath"
)

// Take waits until no other process holds the lock called name. The lock ends with
// release, or with the process.
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
