package kobs

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

const manifests = `
apiVersion: kobs.io/v1beta1
kind: Team
metadata: {name: squad, namespace: kobs}
spec:
  id: squad@example.com
  description: The squad.
  logo: https://example.com/logo.png
  links: [{title: Wiki, link: https://example.com}]
  dashboards: [{title: x}]
  permissions:
    plugins:
      - name: azure
        permissions:
          - {resources: [containerinstances], resourceGroups: [rg1], verbs: [get, post]}
      - {name: helm, permissions: {names: [web]}}
    resources:
      - {clusters: [dev], namespaces: [shop], resources: [pods, pods/logs, pods/exec, deployments, vaultsecrets.ricoberger.de/v1alpha1], verbs: ["*"]}
      - {clusters: [dev], namespaces: [bank], resources: [pods, pods/exec, widgets], verbs: [get, patch, head]}
---
apiVersion: v1
kind: List
items:
  - apiVersion: kobs.io/v1beta1
    kind: User
    metadata: {name: ann, namespace: kobs, resourceVersion: "1", labels: {a: b}}
    spec:
      cluster: dev
      namespace: kobs
      name: ann
      id: ann@example.com
      profile: {fullName: Ann Lee, email: ann@example.com, position: SRE, bio: "", phone: 1}
      teams: [{name: squad}, {namespace: kobs, name: squad}, {name: absent}]
      permissions:
        resources: [{clusters: ["*"], namespaces: ["*"], resources: ["*"]}]
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: other}
---
apiVersion: kobs.io/v1beta1
kind: User
metadata: {name: ann, namespace: other}
spec: {id: ann2@example.com}
---
apiVersion: kobs.io/v1beta1
kind: Team
metadata: {name: nothing}
spec: {}
`

func convert(t *testing.T, text string, o Options) (*Result, *directory.Report) {
	t.Helper()
	r, err := Convert([]Input{{"kobs.yaml", []byte(text)}}, o)
	if err != nil {
		t.Fatal(err)
	}
	check, err := directory.CheckText("out.yaml", r.YAML, policies.Roles())
	if err != nil {
		t.Fatal(err)
	}
	return r, check
}

func TestUsersAndTeamsBecomeValidEntries(t *testing.T) {
	r, check := convert(t, manifests, Options{})
	if r.Users != 2 || r.Teams != 1 || check.Users != 2 || check.Teams != 1 || len(check.Problems) > 0 {
		t.Errorf("%d users, %d teams; the host reads %+v from\n%s", r.Users, r.Teams, check, r.YAML)
	}
	want := `apiVersion: bulkhead.internal/v1
kind: Team
metadata:
    name: squad
spec:
    id: squad@example.com
    description: The squad.
    permissions:
        actions: ['azure:*', 'helm:*']
        plugins:
            - name: azure
              custom:
                - {resources: [containerinstances], resourceGroups: [rg1], verbs: [get, post]}
            - name: helm
              custom:
                - {names: [web]}
        resources:
            - clusters: [dev]
              namespaces: [shop]
              resources: [pods, deployments.apps, vaultsecrets.ricoberger.de]
              verbs: ['*']
            - clusters: [dev]
              namespaces: [shop]
              resources: [pods/log]
              verbs: [get]
            - clusters: [dev]
              namespaces: [shop]
              resources: [pods/exec]
              verbs: [create]
            - clusters: [dev]
              namespaces: [bank]
              resources: [pods, widgets]
              verbs: [get, list, watch, patch]
---
apiVersion: bulkhead.internal/v1
kind: User
metadata:
    name: ann
spec:
    id: ann@example.com
    profile:
        email: ann@example.com
        fullName: Ann Lee
        position: SRE
    permissions:
        resources:
            - clusters: ['*']
              namespaces: ['*']
              resources: ['*']
              verbs: [get, list, watch]
---
apiVersion: bulkhead.internal/v1
kind: User
metadata:
    name: ann-other
spec:
    id: ann2@example.com
`
	if string(r.YAML) != want {
		t.Errorf("got\n%s", r.YAML)
	}
}

func TestLostPartsAreReportedWithTheirLine(t *testing.T) {
	r, _ := convert(t, manifests, Options{})
	var got []string
	for _, n := range r.Notes {
		got = append(got, n.String())
	}
	for _, want := range []string{
		"kobs.yaml:10: Team squad: spec.dashboards has no counterpart",
		"kobs.yaml:8: Team squad: spec.logo has no counterpart",
		"kobs.yaml:9: Team squad: spec.links has no counterpart",
		`kobs.yaml:19: Team squad: the verb "head" has no counterpart`,
		"kobs.yaml:19: Team squad: pods/exec was left out",
		`kobs.yaml:19: Team squad: the API group of "widgets" is not known`,
		"kobs.yaml:32: User ann: spec.profile.phone has no counterpart",
		"kobs.yaml:33: User ann: spec.teams is for display in kobs",
		"kobs.yaml:35: User ann: a resource permission has no verbs",
		"kobs.yaml:36: ConfigMap other: v1 ConfigMap is not a User or Team",
		"kobs.yaml:40: User ann: another manifest of its kind has the name",
		"kobs.yaml:48: Team nothing: has no spec.id",
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no note says %q:\n%s", want, strings.Join(got, "\n"))
		}
	}
	if len(got) != 12 {
		t.Errorf("%d notes:\n%s", len(got), strings.Join(got, "\n"))
	}
}

// In kobs the teams of a User are display only, so they give no rights unless the
// operator requests it.
func TestDisplayTeamsBecomeMembershipsOnlyOnRequest(t *testing.T) {
	r, _ := convert(t, manifests, Options{})
	if strings.Contains(string(r.YAML), "teams:") {
		t.Error("teams became memberships")
	}
	r, check := convert(t, manifests, Options{Memberships: true, Namespace: "bulkhead", Verbs: []string{"*"}})
	if len(check.Problems) > 0 {
		t.Errorf("problems: %v", check.Problems)
	}
	for _, want := range []string{"teams:\n        - squad@example.com\n        - squad@example.com\n", "namespace: bulkhead", "resources: ['*']\n              verbs: ['*']"} {
		if !strings.Contains(string(r.YAML), want) {
			t.Errorf("lacks %q:\n%s", want, r.YAML)
		}
	}
	if !slices.ContainsFunc(r.Notes, func(n Note) bool { return strings.Contains(n.Text, "the team absent is not among the manifests") }) {
		t.Errorf("notes: %v", r.Notes)
	}
}

// Origin: in kobs the first matching User won and all matching Teams were
// merged.
func TestDuplicateIdsAreReported(t *testing.T) {
	one := "apiVersion: kobs.io/v1beta1\nkind: Team\nmetadata: {name: a}\nspec: {id: same}\n---\n"
	r, check := convert(t, one+strings.Replace(one, "name: a", "name: b", 1), Options{})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0].String(), "kobs.yaml:9: Team b: the id same is also used by kobs.yaml:1") || check.Teams != 0 || len(check.Problems) != 2 {
		t.Errorf("notes %v, the host reads %+v", r.Notes, check)
	}
}

func TestAFileThatIsNotYAMLNamesItsLine(t *testing.T) {
	_, err := Convert([]Input{{"a.yaml", []byte("a: b\nc: [\n")}}, Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "a.yaml: line ") {
		t.Errorf("got %v", err)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(manifests)
	f.Add("a: &a [1]\nb: *a")
	f.Add("apiVersion: kobs.io/v1beta1\nkind: User\nspec: {id: &x y, permissions: {plugins: [{name: a, permissions: *x}]}}")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Convert([]Input{{"x", []byte(text)}}, Options{Memberships: true})
		if err != nil {
			return
		}
		check, err := directory.CheckText("out", r.YAML, nil)
		if err != nil {
			t.Fatal(err)
		}
		if check.Users > r.Users || check.Teams > r.Teams {
			t.Errorf("%+v of %+v:\n%s", check, r, r.YAML)
		}
	})
}

func TestAManifestThatHidesSomethingIsRefused(t *testing.T) {
	const head = "\n---\napiVersion: kobs.io/v1beta1\nkind: Team\nmetadata: {name: x}\n"
	for want, text := range map[string]string{
		"f:6: uses an alias":    head + "spec: {a: &a {b: 1}, id: *a}",
		`f:6: has the key "id"`: head + "spec: {id: x, id: y}",
		"f:6: is nested deeper": head + "spec: " + strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"f:2: is followed by":   head + "spec: {}\n...\na: 1",
	} {
		if _, err := Convert([]Input{{"f", []byte(text)}}, Options{}); err == nil || !strings.HasPrefix(strings.Replace(err.Error(), ": line ", ":", 1), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// The import applies the host's rules for ids: ids that differ in case only are one
// id, and invalid ids are reported.
func TestImportedIDsFollowTheHostsRule(t *testing.T) {
	const head = "apiVersion: kobs.io/v1beta1\nkind: "
	r, check := convert(t, head+"Team\nmetadata: {name: squad}\nspec: {id: Squad@Example.com}\n---\n"+
		head+"User\nmetadata: {name: ann}\nspec: {id: Ann.Lee@Example.com, teams: [{name: squad}]}\n---\n"+
		head+"User\nmetadata: {name: ann2}\nspec: {id: ann.lee@example.com}\n---\n"+
		head+`User
metadata: {name: kim}
spec: {id: 'CORP\kim'}
`, Options{Memberships: true})
	notes := ""
	for _, n := range r.Notes {
		notes += n.String() + "\n"
	}
	for _, want := range []string{
		"User ann: ids are lower case here; Ann.Lee@Example.com became ann.lee@example.com",
		"Team squad: ids are lower case here; Squad@Example.com became squad@example.com",
		"User ann2: the id ann.lee@example.com is also used by", `User kim: spec.id "CORP\\kim" contains`,
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says %q:\n%s", want, notes)
		}
	}
	if !strings.Contains(string(r.YAML), "id: ann.lee@example.com") || !strings.Contains(string(r.YAML), "teams: [squad@example.com]") && !strings.Contains(string(r.YAML), "- squad@example.com") {
		t.Errorf("entries\n%s", r.YAML)
	}
	if len(check.Problems) != 3 { // the two of the same id, and kim's
		t.Errorf("the host finds %v", check.Problems)
	}
}
