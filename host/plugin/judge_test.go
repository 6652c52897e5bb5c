package plugin_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// A policy of Kubewarden that serves as a plugin judges for the host, and what it does not
// accept as it is has an error with its words.
func TestAPolicyJudgesForTheHost(t *testing.T) {
	out := filepath.Join(t.TempDir(), "policy.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", out, "../adapter/testdata/policy")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	source := adopt(t, wasm, nil)
	for name, settings := range map[string]string{"labels": `{"labels": ["owner"]}`, "changes": `{"mutate": true}`, "calls": `{"call": true}`} {
		f.load(t, plugin.Config{Name: name, Source: source, Config: json.RawMessage(settings)})
	}
	f.echo(t)
	if err := f.swap(plugin.Config{Name: "wrong", Source: source, Config: json.RawMessage(`{"labels": 7}`)}); err == nil || !strings.Contains(err.Error(), "the policy refuses these settings") {
		t.Errorf("wrong settings: %v", err)
	}
	auth := &authority{}
	caller := &capability.Caller{Plugin: "gitops", Principal: &host.Principal{User: "ann@example.com"}, Authority: auth, Logger: slog.New(slog.DiscardHandler)}
	good, bad := `{"object": {"metadata": {"labels": {"owner": "ann"}}}}`, `{"object": {"metadata": {}}}`
	for _, c := range []struct {
		policy, request string
		kind            host.Kind
		want            string // empty: accepted
	}{
		{"labels", good, 0, ""},
		{"labels", bad, host.Forbidden, "rejected: label owner is missing"},
		{"changes", good, host.Forbidden, "would change the object"},
		{"calls", good, host.Upstream, "does not answer the host call"},
		{"absent", good, host.Unavailable, "does not serve"},
		{"echo", good, host.Unavailable, "is not a policy of Kubewarden"},
		{"labels", `[]`, host.Upstream, "must be the request of an AdmissionReview"},
	} {
		err := f.registry.Judge(t.Context(), caller, c.policy, []byte(c.request))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.policy, err)
			}
			continue
		}
		if e, ok := errors.AsType[*host.Error](err); !ok || e.Kind != c.kind || !strings.Contains(e.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.policy, err, c.want)
		}
	}
	auth.lose(host.ErrNoLonger)
	if err := f.registry.Judge(t.Context(), caller, "labels", []byte(good)); !errors.Is(err, host.ErrNoLonger) {
		t.Errorf("after the end of the session: %v", err)
	}
}
