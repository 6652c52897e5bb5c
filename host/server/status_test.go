package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A policy that decides nothing keeps administrators out, too: the host is not
// ready, and whoever is on the machine sees why.
func TestAPolicyThatLetsNobodyInShowsToTheOperatorOnTheMachine(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "policies/site.rego", "package bulkhead.authz\n\ndecision := 7\n")
	w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+"policy: {dir: ./policies}\n")
	w.open(t)
	ada := w.as(t, "ada")
	if got := ada.get("/api/admin/policies"); got.status != 403 {
		t.Fatalf("an administrator: %v", got)
	}
	if got := w.anonymous(t).get("/readyz"); got.status != 503 || !strings.Contains(got.body, `"policy":"failing"`) || strings.Contains(got.body, "object") {
		t.Errorf("readiness: %v", got)
	}
	config, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var s *Status
	eventually(t, "the status to say why", func() bool {
		s, err = ReadStatus(config)
		return err == nil && strings.Contains(s.Checks["policy"], "revision 1 fails for every question, so every request is denied: decision: is not an object")
	})
	if s.Ready() || s.PID != os.Getpid() || s.Policy.Revision != 1 || s.Checks["state"] != "" {
		t.Errorf("%+v", s)
	}
	path := filepath.Join(config.Data, statusFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	w.write(t, "directory/bad.yaml", "kind: User\n")
	w.write(t, "policies/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n")
	eventually(t, "the repair to show", func() bool {
		s, err = ReadStatus(config)
		return err == nil && s.Ready() && len(s.Problems) == 1 && s.Degraded["directory"] != "" && s.Degraded["policy"] == ""
	})
	if got := ada.get("/api/admin/policies"); got.status != 200 {
		t.Errorf("an administrator: %v", got)
	}
	if got := w.anonymous(t).get("/readyz"); got.status != 200 || !strings.Contains(got.body, `"directory":"degraded"`) || !strings.Contains(got.body, `"policy":"ok"`) {
		t.Errorf("readiness: %v", got)
	}
}

func TestAStatusIsAFileThatAHostWrote(t *testing.T) {
	c := &Config{Data: t.TempDir()}
	if _, err := ReadStatus(c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	path := filepath.Join(c.Data, statusFile)
	for what, make := range map[string]func() error{
		"a link":  func() error { return os.Symlink("/dev/null", path) },
		"no JSON": func() error { return os.WriteFile(path, []byte("{"), 0o600) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if s, err := ReadStatus(c); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
