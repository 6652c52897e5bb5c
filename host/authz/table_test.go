package authz

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

var update = flag.Bool("update", false, "write policies/decisions.md anew")

const tableFile = "../../policies/decisions.md"

// columns are the shipped roles, and how somebody who has that role alone asks.
var columns = []struct {
	title  string
	user   host.UserID
	reason string
}{
	{"viewer", "viewer@example.com", ""},
	{"editor", "editor@example.com", ""},
	{"admin", "admin@example.com", ""},
	{"breakglass", "breakglass@example.com", ""},
	{"breakglass, with a reason", "breakglass@example.com", "INC-1"},
	{"no role", "nobody@example.com", ""},
}

// calls are what plugins ask of the host, a few of every kind. Those with "all"
// name no namespace or resource group.
var calls = []string{
	"kube get pods", "kube list pods", "kube list pods all", "kube list apiresources all", "kube get pods/log", "kube create pods", "kube patch deployments.apps",
	"kube delete pods", "kube deletecollection pods", "kube list nodes all", "kube patch nodes all", "kube get secrets", "kube list secrets all",
	"kube create serviceaccounts/token", "kube create pods/exec", "kube create pods/attach", "kube create pods/portforward", "kube patch pods/ephemeralcontainers", "kube get services/proxy",
	"kube list applications.argoproj.io", "kube patch applications.argoproj.io",
	"kube get configmaps via helm.lookup", "kube create configmaps via helm", "kube get secrets via helm.lookup", "kube list secrets via helm",
	"kube get secrets via helm", "kube create secrets via helm", "kube delete secrets via helm",
	"kube get secrets via helm.show",
	"helm list", "helm list all", "helm history", "helm values", "helm notes", "helm manifest", "helm upgrade", "helm rollback", "helm uninstall", "helm test", "helm cancel",
	"exec create pods/exec", "exec create pods/attach",
	"pods create pods/exec", "pods create pods/attach", "pods get pods/log", "pods create pods/portforward", "pods download pods/copy", "pods upload pods/copy",
	"azure get containerinstances", "azure get containerinstances all", "azure restart containerinstances", "azure get resourcegroups all",
	"azure get kubernetesservices", "azure get virtualmachinescalesets", "azure get monitor",
	"git get repositories.git/shop", "git list repositories.git/shop",
	"http get requests.http/shop", "http post requests.http/shop",
	"teleport get pods",
}

func callOf(text string) *host.CapabilityCall {
	text, via, _ := strings.Cut(text, " via ")
	words := strings.Fields(text)
	c := &host.CapabilityCall{Name: words[0], Verb: words[1], Object: "web", Via: via}
	switch c.Name {
	case "azure":
		c.Instance, c.Resource, c.ResourceGroup = "prod", words[2], "rg1"
	case "git":
		c.Instance, c.Host, c.Path, c.Ref = "shop", "git.example.com", "/shop", "HEAD"
	case "http":
		c.Instance, c.Host, c.Path = "shop", "shop.example.com", "/v1"
	default:
		c.Cluster, c.Namespace = "dev", "shop"
	}
	switch {
	case c.Name == "helm":
		c.Group, c.Resource = "helm.sh", "releases"
	case len(words) > 2 && c.Name != "azure":
		full, sub, _ := strings.Cut(words[2], "/")
		c.Resource, c.Group, _ = strings.Cut(full, ".")
		c.Subresource = sub
	}
	if words[len(words)-1] == "all" {
		c.Namespace, c.ResourceGroup, c.Object = "", "", ""
		c.Spans = c.Verb == "list" || c.Name == "azure"
	}
	return c
}

// cell is a decision in a word or two.
func cell(d host.Decision) string {
	if !d.Allow {
		return "– " + d.Reason.Code
	}
	text := "**yes**"
	o := d.Obligations
	if o.MaxSession > 0 {
		text += ", " + strings.TrimSuffix(o.MaxSession.String(), "0s") + " at most"
	}
	if o.Record != host.RecordNothing {
		text += ", recorded"
	}
	if o.Namespaces != nil || o.ResourceGroups != nil {
		text += ", narrowed"
	}
	return text
}

func manifests(t *testing.T) (list []manifest.Manifest) {
	t.Helper()
	files, err := filepath.Glob("../../plugins/*/manifest.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("manifests are %v, %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest.Manifest
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		list = append(list, m)
	}
	return list
}

// TestWhoMayDoWhat walks every route of every plugin in this repository, and a
// capability call of every kind, for every shipped role, and compares with the
// table that operators read.
func TestWhoMayDoWhat(t *testing.T) {
	dir := t.TempDir()
	var people strings.Builder
	for _, role := range []string{"viewer", "editor", "admin", "breakglass"} {
		fmt.Fprintf(&people, "---\n%skind: User\nmetadata: {name: x}\nspec: {id: %s@example.com, roles: [%s]}\n", apiVersion, role, role)
	}
	fmt.Fprintf(&people, "---\n%skind: User\nmetadata: {name: x}\nspec: {id: nobody@example.com}\n", apiVersion)
	write(t, dir, "people.yaml", people.String())
	e := openEngine(t, "", openDirectory(t, dir))

	var out strings.Builder
	head := func(first string) {
		out.WriteString("\n| " + first)
		for _, c := range columns {
			out.WriteString(" | " + c.title)
		}
		out.WriteString(" |\n" + strings.Repeat("|---", len(columns)+1) + "|\n")
	}
	row := func(first string, q host.Question) {
		out.WriteString("| " + first)
		for _, c := range columns {
			q.Principal, q.Reason = &host.Principal{User: c.user}, c.reason
			d := e.Decide(t.Context(), &q)
			if d.Reason.Code == PolicyError {
				t.Errorf("%s: the policy fails", first)
			}
			out.WriteString(" | " + cell(d))
		}
		out.WriteString(" |\n")
	}
	out.WriteString(`# Who may do what, as shipped

Every route of the plugins in this repository, and capability calls of every kind, by a user with one of the shipped roles
and no other permissions. A refusal has the reason's code. The plugin of an allowed route makes capability calls, and each of
them is decided again: the second table. Plugins have the names of their manifests here; the patterns of a role match the
names in your configuration.

` + "`go test ./host/authz -run TestWhoMayDoWhat`" + ` compares this file with what is decided; with ` + "`-update`" + ` it writes the file.

## Routes
`)
	head("Action, route")
	all := manifests(t)
	for _, m := range all {
		for _, r := range m.Routes {
			action := host.Action(m.Name + ":" + r.Action)
			kind := r.Method
			if r.Kind != "" && r.Kind != manifest.Unary {
				kind = string(r.Kind)
			}
			row(fmt.Sprintf("`%s` %s %s", action, kind, r.Path), host.Question{Route: host.Route{
				Plugin: m.Name, Name: r.Name, Action: action, Method: r.Method, Path: r.Path, Mutates: r.Mutates,
			}})
		}
	}
	for _, action := range []string{"anything.read", "anything.change", "audit.read"} {
		row("`admin:"+action+"`, the host's own administration", host.Question{Route: host.Route{Plugin: "admin", Action: host.Action("admin:" + action)}})
	}
	row("`gone:unknown.read`, what does not exist", host.Question{Route: host.Route{Plugin: "gone", Action: "gone:unknown.read"}})
	out.WriteString(`
## Capability calls

Asked within a route that every role may use. The calls are about the namespace ` + "`shop`" + ` or the resource group
` + "`rg1`" + `; those with "all" name none.
`)
	head("Call")
	for _, text := range calls {
		plugin, _, _ := strings.Cut(text, " ")
		row("`"+text+"`", host.Question{Route: host.Route{Plugin: plugin, Action: host.Action(plugin + ":thing.read")}, Capability: callOf(text)})
	}
	compare(t, out.String())
}

func compare(t *testing.T, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(tableFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	old := strings.Split(string(want), "\n")
	for _, line := range strings.Split(got, "\n") {
		if !slices.Contains(old, line) {
			t.Errorf("decided now, and not in policies/decisions.md (-update writes it):\n%s", line)
		}
	}
	t.Error("policies/decisions.md is not what is decided")
}
