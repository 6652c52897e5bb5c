// Package buildlock lets concurrent test processes build a program of examples once.
package buildlock

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program returns the path of the program that the module examples/NAME builds with its
// build.sh: the one that the environment variable env names, or one that is built from
// the sources above the working directory if necessary. Other processes that want the
// same program wait meanwhile.
func Program(name, env string) (string, error) {
	if program := os.Getenv(env); program != "" {
		return program, nil
	}
	source, err := upwards(filepath.Join("examples", name))
	if err != nil {
		return "", fmt.Errorf("%w; set %s", err, env)
	}
	// The lock ends with release, or with the process.
	release, err := lock(filepath.Join(os.TempDir(), "bulkhead-"+name+".lock"))
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

// upwards finds the directory of a module in the working directory or above it.
func upwards(module string) (string, error) {
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
