package cases

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

const (
	plugins = "../../../../plugins"
	// mayGrow is the factor up to which a shipped plugin may cost more without a failure.
	mayGrow = 1.02
	// loads is how often a plugin is loaded. Each has other seeds of its maps, which change fuel
	// and allocations by up to a hundredth, and the cheapest counts.
	loads = 3
)

// TestShippedPluginsCostNoMoreThanIsCommitted compares fuel, memory and allocations of the
// shipped plugins' cases with the figures that are committed beside them.
func TestShippedPluginsCostNoMoreThanIsCommitted(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(plugins, "*", "manifest.json"))
	if err != nil || len(dirs) < 4 {
		t.Fatalf("%d plugins, %v", len(dirs), err)
	}
	measured := 0
	for _, path := range dirs {
		dir := filepath.Dir(path)
		if !hasUnary(t, path) {
			continue // what a session costs depends on how long it lives
		}
		measured++
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var grown []string
			for range loads {
				if grown = costs(t, dir); len(grown) == 0 {
					return
				}
			}
			t.Errorf("more than %g times what is committed:\n%s\nif that is meant: go run ./cmd/bulkhead plugin bench plugins/%s --update",
				mayGrow, strings.Join(grown, "\n"), filepath.Base(dir))
		})
	}
	if measured < 3 {
		t.Errorf("%d plugins were measured", measured)
	}
}

func hasUnary(t *testing.T, path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(m.Routes, func(r manifest.Route) bool { return r.Kind == "" || r.Kind == manifest.Unary })
}

// costs returns the cases of a plugin that cost more than is committed, and how much more.
func costs(t *testing.T, dir string) (grown []string) {
	list, err := Bench(t.Context(), Options{Dir: dir, Kinds: kinds()}, mayGrow)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no case calls it")
	}
	for _, m := range list {
		if m.Was == nil {
			t.Fatalf("%s has no figures; bulkhead plugin bench --update writes them", m.key())
		}
		if len(m.Worse) > 0 {
			grown = append(grown, fmt.Sprintf("  %s: %s\n    committed %+v\n    now       %+v", m.key(), strings.Join(m.Worse, ", "), *m.Was, m.Cost))
		}
	}
	return grown
}
