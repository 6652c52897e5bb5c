package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

type outcome string

const (
	killed   outcome = "killed"
	survived outcome = "SURVIVED"
	unbuilt  outcome = "NOT BUILT"
)

type result struct {
	mutant
	Outcome outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`
	Output  string  `json:"-"` // the end of what the go command printed
}

// try builds and tests one changed file. A timeout of the tests counts as detected,
// since a change may make them wait for ever.
func try(ctx context.Context, root string, m mutant, timeout time.Duration) result {
	r := result{mutant: m, Outcome: unbuilt}
	start := time.Now()
	defer func() { r.Seconds = time.Since(start).Seconds() }()
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		r.Output = err.Error()
		return r
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, dir)
	if err != nil {
		r.Output = err.Error()
		return r
	}
	pkg := "./" + m.Tested
	// Compile separately, so that a compile error does not count as detected.
	binary := filepath.Join(dir, "tests")
	if out, err := goCommand(ctx, root, "test", "-overlay", overlay, "-c", "-o", binary, pkg); err != nil {
		r.Output = out
		return r
	}
	args := []string{"test", "-overlay", overlay, "-count=1", "-failfast", "-timeout", timeout.String()}
	if m.Test != "" {
		args = append(args, "-run", m.Test)
	}
	out, err := goCommand(ctx, root, append(args, pkg)...)
	var failed *exec.ExitError
	switch {
	case err == nil:
		r.Outcome = survived
	case errors.As(err, &failed):
		r.Outcome, r.Output = killed, out
	default:
		r.Output = err.Error()
	}
	return r
}

// overlay writes the changed file and the overlay that names it to dir, and
// returns the overlay's path.
func (m mutant) overlay(root, dir string) (string, error) {
	changed, err := m.apply(root)
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(filepath.Join(root, m.Package, m.File))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, m.File)
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: file}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// goCommand runs the go command in root and returns the end of what it prints.
func goCommand(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	const most = 4 << 10
	return string(out.Bytes()[max(0, out.Len()-most):]), err
}
