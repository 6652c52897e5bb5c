package clustertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// find returns the dev cluster program: the one named in the environment, or
// the one of the sources as they are, which its own script builds if need be.
func find() (string, error) {
	if program := os.Getenv("BULKHEAD_DEVCLUSTER"); program != "" {
		return program, nil
	}
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	release, err := lock(filepath.Join(os.TempDir(), "bulkhead-devcluster.lock")) // other test processes may be about to build the same
	if err != nil {
		return "", err
	}
	defer release()
	cmd := exec.Command("bash", filepath.Join(source, "build.sh"))
	cmd.Stderr = os.Stderr // shows progress
	program, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd.Args[1], err)
	}
	return strings.TrimSpace(string(program)), nil
}

// sourceDir looks upwards for examples/devcluster.
func sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "examples", "devcluster")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("examples/devcluster is not above the working directory; set BULKHEAD_DEVCLUSTER")
		}
		dir = parent
	}
}
