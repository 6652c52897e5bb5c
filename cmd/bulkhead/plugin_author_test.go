package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of an author, as the program itself: what they print and how they exit.
func TestAnAuthorWritesBuildsTestsAndMeasuresAPlugin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hello")
	wasm := filepath.Join(t.TempDir(), "hello.wasm")
	if stdout, stderr, code := bulkhead(t, "plugin", "new", "hello", "--dir", dir); code != 0 || !strings.Contains(stdout, "bulkhead plugin dev") {
		t.Fatalf("new: %d %s %s", code, stdout, stderr)
	}
	if _, stderr, code := bulkhead(t, "plugin", "new", "hello", "--dir", dir); code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "is not empty") {
		t.Errorf("new over it: %d %q", code, stderr)
	}
	if _, stderr, code := bulkhead(t, "plugin", "build", dir, "-o", wasm); code != 0 {
		t.Fatalf("build: %d %s", code, stderr)
	}
	stdout, stderr, code := bulkhead(t, "plugin", "test", dir, "--json")
	var results []struct {
		Case   string
		Passed bool
		Fuel   uint64
	}
	if err := json.Unmarshal([]byte(stdout), &results); err != nil || code != 0 || len(results) != 2 || !results[0].Passed || results[0].Fuel == 0 {
		t.Errorf("test: %d %s %s", code, stdout, stderr)
	}
	if stdout, stderr, code := bulkhead(t, "plugin", "bench", dir, "--update"); code != 0 || !strings.Contains(stdout, "a user is greeted") {
		t.Errorf("bench: %d %s %s", code, stdout, stderr)
	}
	baseline := filepath.Join(dir, "bench.json")
	if err := os.WriteFile(baseline, []byte(`{"hello: a user is greeted": {"fuel": 10, "memoryKiB": 4096, "changedKiB": 60}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := bulkhead(t, "plugin", "bench", dir); code != 1 || !strings.Contains(stdout, "WORSE: fuel") || !strings.Contains(stderr, "1.2 times") {
		t.Errorf("bench: %d %s %s", code, stdout, stderr)
	}

	// A case that fails and a handler without a route are failures, and the file stays.
	edit := func(name, old, new string) {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), old) {
			t.Fatalf("%s lacks %q: %v", name, old, err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("cases/hello.yaml", "text: hello dev", "text: goodbye dev")
	if stdout, stderr, code := bulkhead(t, "plugin", "test", dir); code != 1 || !strings.Contains(stdout, `want "goodbye dev@example.com"`) || !strings.Contains(stdout, "2 cases, 1 failed") {
		t.Errorf("test: %d %s %s", code, stdout, stderr)
	}
	before, err := os.ReadFile(wasm)
	if err != nil {
		t.Fatal(err)
	}
	edit("main.go", "GET /hello", "GET /hullo")
	if _, stderr, code := bulkhead(t, "plugin", "build", dir, "-o", wasm); code != 1 || !strings.Contains(stderr, `route "hello" (GET /hello) of the manifest has no handler`) {
		t.Errorf("build: %d %s", code, stderr)
	}
	if after, err := os.ReadFile(wasm); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %v", err)
	}
}
