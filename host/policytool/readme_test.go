package policytool

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

// examples are the README's code blocks of a language.
func examples(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../policies/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(b[1]))
	}
	return blocks
}

// TestThePoliciesInTheReadmeWork takes the blocks in pairs, a policy and its
// test, and asks each policy what the text says about it.
func TestThePoliciesInTheReadmeWork(t *testing.T) {
	blocks := examples(t, "rego")
	questions := []struct {
		user host.UserID
		call host.CapabilityCall
		ok   func(host.Decision) bool
	}{
		{ada, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "secrets", Via: "helm.lookup", Cluster: "prod", Namespace: "shop"},
			func(d host.Decision) bool { return d.Allow && d.Obligations.Impersonate != nil }},
		{ada, host.CapabilityCall{Name: "helm", Verb: "upgrade", Cluster: "prod", Namespace: "shop"},
			func(d host.Decision) bool { return d.Reason.Code == "production_is_frozen" }},
		{vic, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods", Cluster: "prod", Namespace: "shop"},
			func(d host.Decision) bool {
				return d.Allow && len(d.Obligations.Redact) == 8 && d.Obligations.Impersonate != nil
			}},
		{ada, host.CapabilityCall{Name: "helm", Verb: "upgrade", Cluster: "prod", Namespace: "shop"},
			func(d host.Decision) bool { return d.Allow }},
	}
	if len(blocks) != 2*len(questions) {
		t.Fatalf("%d blocks, want %d policies and their tests", len(blocks), len(questions))
	}
	for i, q := range questions {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "site.rego", blocks[2*i])
			write(t, dir, "site_test.rego", blocks[2*i+1])
			if w := Warnings(readPolicy(t, dir)); len(w) > 0 {
				t.Errorf("warned of %v", w)
			}
			e, err := authz.Open(t.Context(), authz.Config{Source: authz.Source{Dir: dir}, Directory: staff(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if n, want := e.Status().Tests, strings.Count(blocks[2*i+1], "\ntest_"); n != want {
				t.Errorf("%d tests ran, want %d", n, want)
			}
			if d := e.Decide(t.Context(), call(q.user, q.call)); !q.ok(d) {
				t.Errorf("decided %+v", d)
			}
		})
	}
}

func TestTheDataInTheReadmeIsAccepted(t *testing.T) {
	var entries []string
	recordings, logs := false, false
	for _, block := range examples(t, "yaml") {
		if strings.HasPrefix(block, apiVersion) {
			entries = append(entries, block)
		}
		if strings.HasPrefix(block, "recordings:") {
			var c struct {
				Recordings recording.Config `json:"recordings"`
			}
			if err := errors.Join(yaml.UnmarshalStrict([]byte(block), &c), config.Check("recordings", c.Recordings.Check)); err != nil {
				t.Error(err)
			}
			recordings = true
		}
		if strings.HasPrefix(block, "policy:\n") {
			var c struct {
				Policy struct {
					authz.Source
					Shadow *authz.Source
					Log    audit.Config
				}
			}
			err := yaml.UnmarshalStrict([]byte(block), &c)
			all := authz.Config{Source: c.Policy.Source, Shadow: c.Policy.Shadow, Log: c.Policy.Log}
			if err = errors.Join(err, config.Check("policy", all.Check)); err != nil {
				t.Error(err)
			}
			logs = c.Policy.Log.OTLP != nil
		}
	}
	dir := t.TempDir()
	write(t, dir, "readme.yaml", strings.Join(entries, "---\n"))
	if problems := openDirectory(t, dir).Problems(); len(entries) < 4 || len(problems) > 0 || !recordings || !logs {
		t.Errorf("%d entries, problems are %v", len(entries), problems)
	}
}
