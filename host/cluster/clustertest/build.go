package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/buildlock"
)

// find returns the dev cluster program: the one in the environment, or one that the
// program's script builds from the sources if necessary.
func find() (string, error) {
	if program := os.Getenv("BULKHEAD_DEVCLUSTER"); program != "" {
		return program, nil
	}
	source, err := buildlock.Upwards(filepath.Join("examples", "devcluster"))
	if err != nil {
		return "", fmt.Errorf("%w; set BULKHEAD_DEVCLUSTER", err)
	}
	release, err := buildlock.Take("bulkhead-devcluster") // other test processes may build it at the same time
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
