package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

type outcome string

const (
	killed   outcome = "killed"
	survived outcome = "survived"
	unbuilt  outcome = "not built"
	// untested is the outcome of all changes that a package's tests should detect if
	// those tests fail on the unchanged sources.
	untested outcome = "not tested"
)

type result struct {
	mutant
	Outcome outcome `json:"outcome"`
	By      string  `json:"by,omitempty"` // the first test that failed
	Seconds float64 `json:"seconds"`
	Output  string  `json:"-"` // the end of what the failed command printed
}

// runner tries changes, one at a time.
type runner struct {
	root      string
	timeout   time.Duration       // of the unchanged tests of one package
	baselines map[string]baseline // by tested package
}

// baseline is a run of the tests on the unchanged sources.
type baseline struct {
	took   time.Duration
	output string // empty if they passed
}

// try builds and tests one changed file. Tests that take far longer than on the
// unchanged sources count as failed, since a change may make them wait for ever.
func (r *runner) try(ctx context.Context, m mutant, pattern string) (res result) {
	res = result{mutant: m, Outcome: unbuilt}
	start := time.Now()
	defer func() { res.Seconds = time.Since(start).Seconds() }()
	before, ok := r.baselines[m.Tested]
	if !ok {
		before = r.baseline(ctx, m.Tested, pattern)
		r.baselines[m.Tested] = before
		start = time.Now()
	}
	if before.output != "" {
		res.Outcome, res.Output = untested, before.output
		return res
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		res.Output = err.Error()
		return res
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(r.root, dir)
	if err != nil {
		res.Output = err.Error()
		return res
	}
	binary := filepath.Join(dir, "tests")
	if out, err := r.compile(ctx, m.Tested, binary, "-overlay", overlay); err != nil {
		res.Output = out
		return res
	}
	out, err := r.run(ctx, m.Tested, binary, m.Test, min(r.timeout, 30*time.Second+5*before.took))
	if err != nil {
		res.Outcome, res.Output, res.By = killed, out, failedTest(out)
		return res
	}
	res.Outcome = survived
	return res
}

// baseline runs the tests that the changes need on the unchanged sources.
func (r *runner) baseline(ctx context.Context, tested, pattern string) baseline {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return baseline{output: err.Error()}
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "tests")
	out, err := r.compile(ctx, tested, binary)
	if err != nil {
		return baseline{output: fmt.Sprintf("the tests of %s cannot be built without a change:\n%s", tested, out)}
	}
	start := time.Now()
	if out, err = r.run(ctx, tested, binary, pattern, r.timeout); err != nil {
		return baseline{output: fmt.Sprintf("the tests of %s fail without a change:\n%s", tested, out)}
	}
	return baseline{took: time.Since(start)}
}

// compile builds a package's tests separately, so that a compile error does not
// count as detected. Debug information is left out: it is a third of the linker's
// work.
func (r *runner) compile(ctx context.Context, tested, binary string, flags ...string) (string, error) {
	args := append([]string{"test", "-c", "-ldflags=-w", "-o", binary}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+tested)...)
	cmd.Dir = r.root
	return output(cmd)
}

// run runs tests as the go command does, up to the first that fails.
func (r *runner) run(ctx context.Context, tested, binary, pattern string, timeout time.Duration) (string, error) {
	// The tests stop themselves and print where they hang; this is for those that
	// cannot.
	ctx, cancel := context.WithTimeout(ctx, timeout+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.paniconexit0", "-test.failfast", "-test.timeout="+timeout.String(), "-test.run="+pattern)
	cmd.Dir = filepath.Join(r.root, tested)
	cmd.WaitDelay = time.Second // for a process that a test left behind
	return output(cmd)
}

var failLine = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// failedTest is the innermost first test that failed, as far as the output has it.
func failedTest(out string) string {
	var last string
	for _, m := range failLine.FindAllStringSubmatch(out, -1) {
		if last != "" && !strings.HasPrefix(m[1], last+"/") {
			break
		}
		last = m[1]
	}
	if last == "" && strings.Contains(out, "panic: test timed out") {
		return "timeout"
	}
	return last
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

// output runs a command and returns the end of what it prints.
func output(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && out.Len() == 0 {
		out.WriteString(err.Error())
	}
	const most = 8 << 10
	return string(out.Bytes()[max(0, out.Len()-most):]), err
}
