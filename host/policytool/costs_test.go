package policytool

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheckWarnsOfWhatCosts(t *testing.T) {
	dir := t.TempDir()
	var rules strings.Builder
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		rules.WriteString("\nslow if concat(\"/\", [input.route.plugin, input.route.name]) == \"x/" + n + "\"\n")
		rules.WriteString("\nfast if input.route.name == \"" + n + "\"\n")
	}
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if {
	slow
	fast
} else := {"allow": false, "reason": {"code": "team"}} if {
	some id
	data.directory.teams[id].permissions.actions[_] == "*"
} else := {"allow": false, "reason": {"code": "late"}} if {
	time.now_ns() > 10
	input.principal.login.method == "dev"
	object.get(input.capability, "namespace", "") == "shop"
} else := data.bulkhead.default.decision
`+rules.String())
	p := readPolicy(t, dir)
	var got []string
	for _, w := range Warnings(p) {
		got = append(got, w.Code)
		if w.Code == "scan" && !strings.HasPrefix(w.Text, "data.directory.teams[id].permissions.actions[_] iterates") {
			t.Errorf("%s", w.String())
		}
		if w.Code == "unindexed" && (!strings.Contains(w.Text, "6 rules of data.bulkhead.authz.slow") || w.Line != 15) {
			t.Errorf("%s", w.String())
		}
	}
	if want := "schema directory scan uncached per_login per_object unindexed"; strings.Join(got, " ") != want {
		t.Errorf("warned of %v, want %s", got, want)
	}
	dir = t.TempDir()
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if {
	some team in input.principal.teams
	"*" in data.directory.teams[team].permissions.actions
	data.directory.users[input.principal.user].name == "x"
} else := data.bulkhead.default.decision
`)
	p = readPolicy(t, dir)
	for _, w := range Warnings(p) {
		if w.Code != "directory" && w.Code != "schema" {
			t.Errorf("a policy that names its teams: %s", w.String())
		}
	}
	if list := Warnings(readPolicy(t, "")); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// A file that is moved out of sight while others stay is not refused, so it is
// reported.
func TestRulesThatAreNotReadAreReported(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "policy.rego", freeze)
	write(t, dir, "old/more.rego", freeze)
	write(t, dir, "other.Rego", freeze)
	var said []string
	for _, w := range Warnings(readPolicy(t, dir)) {
		if w.Code == "unread" {
			said = append(said, w.String())
		}
	}
	const what = ": unread: rules in subdirectories and in files with other names than *.rego are not read"
	if want := []string{"old/" + what, "other.Rego" + what}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}
