package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatusSaysWhyAHostIsNotReady(t *testing.T) {
	dir := files(t, "bulkhead.yaml", "auth: {dev: {}}\ndirectory: {files: ./people}\ndata: ./data\n")
	config := filepath.Join(dir, "bulkhead.yaml")
	status := func() (string, int) {
		stdout, stderr, code := bulkhead(t, "status", "-c", config)
		return stdout + stderr, code
	}
	if out, code := status(); code != 1 || !strings.Contains(out, "no host runs with "+config) {
		t.Errorf("no host: %d %s", code, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		age    time.Duration
		policy string
		code   int
		wants  []string
	}{
		{0, "", 0, []string{"policy                ok\n", "degraded: 1 entries", "p.yaml:3: User ann: spec.id is missing", "cluster               dev: not ready: x.y\n", "revision 2 of ./policies"}},
		{0, "decides\\u001bnothing", 1, []string{"policy                FAILING: decides.nothing\n", "the host is not ready"}},
		{time.Hour, "", 1, []string{"the status is 1h0m", "old: the host (process 7) no longer runs"}},
	} {
		text := fmt.Sprintf(`{"at": %q, "pid": 7, "checks": {"policy": "%s"}, "degraded": {"directory": "1 entries"}, "policy": {"revision": 2, "origin": "./policies"},
			"directoryProblems": [{"file": "p.yaml", "line": 3, "kind": "User", "id": "ann", "text": "spec.id is missing"}],
			"clusters": [{"name": "dev", "ready": false, "detail": "x\u0007y"}]}`, time.Now().Add(-c.age).Format(time.RFC3339Nano), c.policy)
		if err := os.WriteFile(filepath.Join(dir, "data", "status.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := status()
		for _, want := range c.wants {
			if code != c.code || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, want, out)
			}
		}
	}
	if out, _, code := bulkhead(t, "status", "-c", config, "--json"); code != 1 || !strings.Contains(out, `"pid": 7`) {
		t.Errorf("--json: %d %s", code, out)
	}
}
