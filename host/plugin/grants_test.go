package plugin_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

var update = flag.Bool("update", false, "write testdata/grants.txt anew")

// What is left out, empty or in part is never all: a plugin that needs the capability is
// refused with what to write, one that can do without runs without.
func TestGrantsOmittedEmptyPartial(t *testing.T) {
	f := newFixture(t)
	var out strings.Builder
	for _, grants := range []string{
		``, `null`, `{}`, `{"helm": null}`, `{"helm": []}`,
		`{"helm": [{}]}`,
		`{"helm": [{"clusters": ["*"]}]}`,
		`{"helm": [{"clusters": ["*"], "namespaces": ["*"], "actions": []}]}`,
		`{"helm": [{"clusters": ["*"], "namespaces": [""], "actions": ["*"]}]}`,
		`{"helm": [{"clusters": ["*"], "namespaces": ["*"], "actions": ["*"], "verbs": ["*"]}]}`,
		`{"exec": [{"clusters": ["*"]}]}`,
		`{"*": [{"clusters": ["*"], "namespaces": ["*"], "actions": ["*"]}]}`,
		`{"helm": [{"clusters": ["dev"], "namespaces": ["*"], "actions": ["list"]}]}`,
	} {
		for _, optional := range []bool{false, true} {
			need := "needed"
			if optional {
				need = "optional"
			}
			fmt.Fprintf(&out, "grants: %s\nhelm is %s\n", grants, need)
			c := module{fetch: true, change: func(m *manifest.Manifest) { m.Capabilities[0].Optional = optional }}.config(t)
			c.Grants = nil
			if grants != "" {
				if err := json.Unmarshal([]byte(grants), &c.Grants); err != nil {
					t.Fatal(err)
				}
			}
			report, err := f.registry.Swap(t.Context(), plugin.Swap{Config: c, Origin: plugin.File})
			if err != nil {
				fmt.Fprintf(&out, "%v\n\n", err)
				continue
			}
			info := f.registry.Get("module").Info()
			fmt.Fprintf(&out, "%s: may call %q, may not call %q\n\n", report.Outcome, info.Capabilities, info.Denied)
			if err := f.registry.Remove(t.Context(), "module"); err != nil {
				t.Fatal(err)
			}
			f.gone(t)
		}
	}
	golden := filepath.Join("testdata", "grants.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != string(want) {
		t.Errorf("is\n%s\nwant\n%s", got, want)
	}
}
