package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// stuck is a chart with a job that never ends if value stuck is set, and a test.
var stuck = map[string]map[string]string{"stuck": {
	"templates/x.yaml": configMap + `---
{{ if .Values.stuck }}
apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}-stuck}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.invalid/m:1}]}}
{{ end }}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {k: {{ .Values.a | default "nothing-1" | quote }}}
`,
	"templates/test.yaml": `{{ if .Values.test }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-test
  annotations: {"helm.sh/hook": test, "helm.sh/hook-delete-policy": before-hook-creation}
spec:
  {{ if eq .Values.test "fail" }}activeDeadlineSeconds: 1{{ end }}
  backoffLimit: 0
  suspend: {{ eq .Values.test "hang" }}
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.invalid/m:1}], {{ if eq .Values.test "fail" }}nodeSelector: {no: node}{{ end }} }}
{{ end }}`,
}}

func upgradeWith(values, more string) string {
	return fmt.Sprintf(`{"chart":"own/stuck","values":%q,%s}`, values, more)
}

func TestADryRunShowsTheDifferenceAndChangesNothing(t *testing.T) {
	s := onStage(t, stuck)
	s.fresh("dry")
	plan := func(values string) (p planned) {
		t.Helper()
		resp, err := s.call(t.Context(), "POST dry/upgrade", upgradeWith(values, `"dryRun":true`))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(resp.Body, &p); err != nil || !p.DryRun {
			t.Fatalf("%s, %v", resp.Body, err)
		}
		return p
	}
	if p := plan("a: sesame-1"); p.Release.Revision != 1 || len(p.Objects) != 2 || p.Objects[0].Change != "added" {
		t.Errorf("of an installation: %+v", p)
	}
	if got := s.statuses("dry"); got != "release: not found" {
		t.Errorf("a dry run wrote %q", got)
	}
	s.must("POST dry/upgrade", upgradeWith("a: sesame-1", `"wait":true`))
	s.decide = refusing(func(c *host.CapabilityCall) bool { return c.Via == viaShow || c.Effect != host.EffectRead })
	p := plan("a: sesame-2\nstuck: true")
	s.decide = nil
	all := ""
	for _, o := range p.Objects {
		all += o.Change + " " + o.Kind + "\n" + o.Diff
	}
	if p.Release.Revision != 2 || !strings.Contains(all, "added Job") || !strings.Contains(all, "changed ConfigMap") || strings.Contains(all, "sesame") || !p.Redacted {
		t.Errorf("of an upgrade: %+v\n%s", p, all)
	}
	if got := s.statuses("dry"); got != "deployed" {
		t.Errorf("a dry run wrote %q", got)
	}
	_, err := s.call(t.Context(), "POST dry/upgrade", upgradeWith("", `"dryRun":true,"atomic":true`))
	if host.KindOf(err) != host.Invalid {
		t.Errorf("a dry run that is atomic: %v", err)
	}
}

func TestAnAtomicOperationThatFailsIsUndone(t *testing.T) {
	s := onStage(t, stuck)
	for _, c := range []struct{ name, before, options, after string }{
		{"atomic-install", "", `"atomic":true`, "release: not found"},
		{"atomic-upgrade", "a: 1", `"atomic":true`, "superseded failed deployed"},
		{"waits", "a: 1", `"wait":true`, "deployed failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s.fresh(c.name)
			if c.before != "" {
				s.must("POST "+c.name+"/upgrade", upgradeWith(c.before, `"wait":true`))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
			defer cancel()
			_, err := s.call(ctx, "POST "+c.name+"/upgrade", upgradeWith("a: 2\nstuck: true", c.options))
			if host.KindOf(err) != host.Timeout {
				t.Errorf("the answer is %v", err)
			}
			if got := s.statuses(c.name); got != c.after {
				t.Errorf("the revisions are %q, want %q", got, c.after)
			}
		})
	}
}

func TestTheTestsOfAChart(t *testing.T) {
	s := onStage(t, stuck)
	s.fresh("tested")
	for _, c := range []struct {
		test, output, phase string
		passed              bool
	}{
		{"", "has no tests", "", true}, {"pass", "passed its tests", "Succeeded", true}, {"fail", "a test of release", "Failed", false},
	} {
		s.must("POST tested/upgrade", upgrade("stuck", fmt.Sprintf("test: %q", c.test)))
		resp, err := s.call(t.Context(), "POST tested/test", "")
		if err != nil {
			t.Fatalf("%q: %v", c.test, err)
		}
		var out tested
		if err := json.Unmarshal(resp.Body, &out); err != nil {
			t.Fatal(err)
		}
		phase := ""
		for _, x := range out.Tests {
			phase += x.Phase
		}
		if out.Passed != c.passed || phase != c.phase || !strings.Contains(out.Output, c.output) || out.Passed != (out.Failure == "") {
			t.Errorf("%q: %s", c.test, resp.Body)
		}
	}
	if got := s.statuses("tested"); got != "superseded superseded deployed" {
		t.Errorf("after the tests the revisions are %q", got)
	}
	if _, err := s.call(t.Context(), "POST untested/test", ""); host.KindOf(err) != host.NotFound {
		t.Errorf("of no release: %v", err)
	}
	s.must("POST tested/upgrade", upgrade("stuck", "test: hang"))
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	if _, err := s.call(ctx, "POST tested/test", ""); host.KindOf(err) != host.Timeout {
		t.Errorf("a test that hangs: %+v", capability.ErrorFrame(err))
	}
}
