package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// files writes name and text in turns into a new directory.
func files(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// entries are documents of a directory, each KIND NAME SPEC.
func entries(list ...string) string {
	var out []string
	for _, e := range list {
		part := strings.SplitN(e, " ", 3)
		out = append(out, "apiVersion: bulkhead.internal/v1\nkind: "+part[0]+"\nmetadata: {name: "+part[1]+"}\nspec: "+part[2]+"\n")
	}
	return strings.Join(out, "---\n")
}

func TestExplainSaysWhatCountedAndNoMore(t *testing.T) {
	const all = `permissions: {actions: ["*"], plugins: [{name: "*"}], resources: [{clusters: ["*"], namespaces: ["*"], resources: ["*"], verbs: ["*"]}]}`
	dir := files(t, "people/p.yaml", entries(
		"User ann {id: ann, roles: [oncall, releaser]}",
		"User ola {id: ola, roles: [oncall]}",
		"User dis {id: dis, roles: [viewer], disabled: true}",
		"User bare {id: bare}",
		"User odd {id: odd, teams: [nowhere]}",
		"User vic {id: vic, roles: [viewer, t1, t2, t3, t4, t5, t6]}",
		"Role oncall {breakGlass: {}, "+all+"}",
		"Role releaser {"+all+"}",
		`Role t1 {permissions: {actions: ["a:b"]}}`, `Role t2 {permissions: {actions: ["a:b"]}}`, `Role t3 {permissions: {actions: ["a:b"]}}`,
		`Role t4 {permissions: {actions: ["a:b"]}}`, `Role t5 {permissions: {actions: ["a:b"]}}`, `Role t6 {permissions: {actions: ["a:b"]}}`,
	), "own/site.rego", `package bulkhead.authz

decision := data.bulkhead.default.decision if {
	not frozen
	contains(input.route.plugin, "exec")
} else := {"allow": false, "reason": {"code": "site", "args": {"ticket": "OPS-1"}}}

frozen if input.capability.cluster == "prod"
`)
	const release = "dev/shop/releases.helm.sh:web"
	for _, c := range []struct {
		args      []string
		code      int
		want, not []string
	}{
		// Without a reason, what needs one neither heads the list nor is named.
		{[]string{"ann", "gitops:helm.upgrade", release}, 0, []string{
			"the action by role releaser (p.yaml:", "permitted by   role releaser", "with a reason  role oncall",
		}, []string{"by role oncall"}},
		{[]string{"ann", "gitops:helm.upgrade", release, "--reason", "INC-1"}, 0, []string{
			"because a reason is stated: by role oncall (p.yaml:", "permitted by  role releaser", "action * (with a stated reason)",
		}, []string{"with a reason"}},
		{[]string{"ola", "gitops:helm.upgrade", release}, 1, []string{"only with a stated reason (X-Bulkhead-Reason), by role oncall (p.yaml:"}, []string{"permitted by", "did not hold"}},
		// A reason is what the host would take for one.
		{[]string{"ola", "gitops:helm.upgrade", "--reason", strings.Repeat("x", 257)}, 2, []string{"the stated reason is over 256 bytes"}, nil},
		{[]string{"ola", "gitops:helm.upgrade", "--reason", "  "}, 2, []string{"the stated reason is empty"}, nil},
		{[]string{"ola", "gitops:helm.upgrade", "--reason", " INC-1 "}, 0, []string{`stating "INC-1"`}, nil},
		// A user without rights is not listed, is disabled, or is listed without any.
		{[]string{"nil", "gitops:helm.read"}, 1, []string{`The directory does not list "nil".`, "1 entries or parts of entries of others"}, nil},
		{[]string{"dis", "gitops:helm.read"}, 1, []string{`The user "dis" is disabled in the directory.`}, []string{"ignored"}},
		{[]string{"bare", "gitops:helm.read"}, 1, []string{`lists "bare" without any permission`}, nil},
		{[]string{"odd", "gitops:helm.read"}, 1, []string{`lists "odd" without any permission`, `left out  p.yaml:`, `User odd: there is no usable team "nowhere"`}, []string{"of others"}},
		{[]string{"nil", "gitops:helm.read", "--role", "viewer"}, 1, []string{
			"ignored   role viewer: the user is neither listed nor admitted as unlisted", `does not list "nil". Asserted roles and teams count only for users who`,
		}, []string{"does not exist in"}},
		{[]string{"nil", "gitops:helm.read", "--role", "vewer", "--unlisted"}, 1, []string{"ignored   role vewer: it does not exist in the directory", "no role or team that exists is asserted for them"}, nil},
		// What the shipped rules lack is said once, and what is cut is counted.
		{[]string{"vic", "gitops:helm.upgrade"}, 1, []string{"no action permission", "and 3 more"}, []string{"did not hold", "__local"}},
		{[]string{"vic", "gitops:helm.read", "-p", filepath.Join(dir, "own")}, 1, []string{
			`by a rule of the operator: site {"ticket":"OPS-1"}.`, `did not hold   site.rego:5  contains(input.route.plugin, "exec")`,
		}, []string{"(since"}},
		{[]string{"vic", "exec:open", "prod/shop/pods/exec:web", "-p", filepath.Join(dir, "own")}, 1, []string{
			"did not hold   site.rego:4  not frozen   (since this holds: frozen)",
		}, nil},
	} {
		stdout, stderr, code := bulkhead(t, append([]string{"policy", "explain", "-d", filepath.Join(dir, "people")}, c.args...)...)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		for _, s := range c.want {
			if !strings.Contains(stdout+stderr, s) {
				t.Errorf("%v: %q is missing\n%s%s", c.args, s, stdout, stderr)
			}
		}
		for _, s := range c.not {
			if strings.Contains(stdout+stderr, s) {
				t.Errorf("%v: %q is there\n%s", c.args, s, stdout)
			}
		}
	}
}

// With a configuration, what the host makes of the policy's answer is said: what
// it does not have, what it did not grant, and what it cannot be obliged to.
func TestExplainSaysWhatTheHostRefusesAndDoesNotHave(t *testing.T) {
	dir := files(t, "people/p.yaml", entries("User ada {id: ada, roles: [admin]}", "User vic {id: vic, roles: [viewer]}"),
		"recorded/site.rego", `package bulkhead.authz

import data.bulkhead.default as shipped

decision := object.union(shipped.decision, {"obligations": {"record": "output"}}) if shipped.decision.allow
else := shipped.decision
`,
		"grouped/site.rego", `package bulkhead.authz

import data.bulkhead.default as shipped

decision := object.union(shipped.decision, {"obligations": {"resource_groups": ["a"]}}) if shipped.decision.allow
else := shipped.decision
`,
		"bulkhead.yaml", `auth: {dev: {}}
directory: {files: ./people}
clusters: [{name: dev, kubeconfig: ./kubeconfig}]
plugins:
  - {name: gitops, source: "`+packtest.Build(t, "plugins/gitops")+`", grants: {
      helm: [{clusters: [dev], namespaces: [shop], actions: [list]}],
      kube: [{clusters: ["*"], namespaces: [bank], resources: ["*"], verbs: ["*"]}] }}
  - {name: gone, source: ./gone.wasm}
`)
	const release = "dev/shop/releases.helm.sh:web"
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ada", "gitops:helm.read"}, 0, "ALLOWED"},
		{[]string{"ada", "gitops:helm.read", "dev/shop/releases.helm.sh"}, 0, "ALLOWED"},
		{[]string{"ada", "gitops:helm.upgrade", release}, 1, "REFUSED"},
		{[]string{"ada", "gitops:helm.upgrade", release}, 1, `the host refuses  helm.upgrade: plugin "gitops" is not granted helm upgrade`},
		{[]string{"ada", "gitops:helm.upgrade", release}, 1, "grants.helm: [{clusters: [dev], namespaces: [shop], actions: [upgrade]}] would allow it"},
		{[]string{"ada", "gitops:helm.read", "dev/shop/pods"}, 1, "grants.kube: [{clusters: [dev], namespaces: [shop], resources: [pods], verbs: [list]}] would allow it"},
		{[]string{"vic", "gitops:helm.upgrade", release}, 1, "DENIED"},
		{[]string{"ada", "gitops:helm.nonexistent"}, 0, `warning       this host has no action "gitops:helm.nonexistent"; it has gitops:`},
		{[]string{"ada", "gitopps:helm.read"}, 0, `this host has no plugin "gitopps"; it has admin, gitops, gone`},
		{[]string{"ada", "gone:x.read"}, 0, "plugins[1]: source: open "},
		{[]string{"ada", "gitops:helm.read", "devv/shop/releases.helm.sh"}, 1, `this host has no cluster "devv"; it has dev`},
		{[]string{"ada", "azure:monitor.read", "prod/rg1/monitor"}, 0, `this host has no instance of Azure "prod"; it has none`},
		{[]string{"ada", "admin:sessions.read"}, 0, "ALLOWED"},
		{[]string{"ada", "gitops:helm.read", "-p", filepath.Join(dir, "recorded")}, 1, "the host refuses  obligation_not_supported: a route of kind events or unary cannot redact or record as policy requires"},
		{[]string{"vic", "gitops:helm.upgrade", "-p", filepath.Join(dir, "recorded")}, 1, "denied: no_action"},
		{[]string{"ada", "admin:sessions.read", "-p", filepath.Join(dir, "recorded")}, 1, "the host's own routes can meet max_session and idle, but no other obligation"},
		{[]string{"ada", "gitops:helm.read", "dev/shop/releases.helm.sh", "-p", filepath.Join(dir, "recorded")}, 1, "not permitted: helm list releases.helm.sh dev/shop/: obligation_not_supported"},
		{[]string{"ada", "gitops:helm.read", "dev/shop/releases.helm.sh:web", "--verb", "upgrade"}, 1, "read_route: gitops:helm.read is declared to read, so its plugin cannot make a change: helm upgrade"},
		{[]string{"ada", "gitops:helm.read", "dev/shop/releases.helm.sh", "-p", filepath.Join(dir, "grouped")}, 1, "obligation_not_supported"},
	} {
		stdout, stderr, code := bulkhead(t, append([]string{"policy", "explain", "-c", filepath.Join(dir, "bulkhead.yaml")}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
		if strings.Contains(stdout, "warning") != strings.Contains(c.want, "this host has no") && !strings.Contains(c.want, "plugins[1]") {
			t.Errorf("%v: warned or not\n%s", c.args, stdout)
		}
	}
}

// Where the host's configuration is, nobody has to name it, as for serve.
func TestExplainFindsTheConfigurationWhereItStarts(t *testing.T) {
	dir := files(t, "people/p.yaml", entries("User vic {id: vic, roles: [viewer]}"), "none/p.yaml", entries("User ann {id: ann}"),
		"own/site.rego", "package bulkhead.authz\n\ndecision := {\"allow\": false, \"reason\": {\"code\": \"own\"}}\n",
		"bulkhead.yaml", "auth: {dev: {}}\ndirectory: {files: ./people}\n")
	clusters := files(t, "bulkhead.yaml", "auth: {dev: {}}\nclusters: [{name: dev, kubeconfig: ./k}]\ndirectory: {clusters: [{name: dev, namespaces: [x]}]}\n")
	for _, c := range []struct {
		in, flags string
		code      int
		want      string
	}{
		{dir, "", 0, `this host has no plugin "gitops"`},
		{dir, "-d none", 1, `does not list "vic"`},
		{dir, "-p own", 1, "denied: own"},
		{dir, "-p own -d people", 1, "denied: own"},
		{dir + "/people", "", 2, "the working directory has no bulkhead.yaml; give --config or --directory"},
		{clusters, "", 2, "directory.files is not set in the configuration, and this command does not read clusters"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"policy", "explain", "vic", "gitops:helm.read"}, strings.Fields(c.flags)...)...)
		cmd.Dir, cmd.Env = c.in, append(os.Environ(), "BULKHEAD_TEST_AS_PROGRAM=1")
		said, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(said), c.want) {
			t.Errorf("%s: exit code %d, want %d and %q: %s", c.flags, code, c.code, c.want, said)
		}
	}
}
