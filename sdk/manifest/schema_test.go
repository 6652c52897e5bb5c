package manifest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type node struct {
	Properties    map[string]json.RawMessage `json:"properties"`
	Required      []string                   `json:"required"`
	PropertyNames struct {
		Enum []string `json:"enum"`
	} `json:"propertyNames"`
	Defs map[string]node `json:"$defs"`
}

// jsonFields returns the keys that encoding/json knows of a struct.
func jsonFields(v any) []string {
	var names []string
	for f := range reflect.TypeOf(v).Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestSchemaAndStructsHaveTheSameFields(t *testing.T) {
	var root node
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		node   node
		fields any
	}{
		"manifest":   {root, Manifest{}},
		"route":      {root.Defs["route"], Route{}},
		"capability": {root.Defs["capability"], Capability{}},
		"limits":     {root.Defs["limits"], Limits{}},
		"ui":         {root.Defs["ui"], UI{}},
	} {
		got, want := slices.Sorted(maps.Keys(c.node.Properties)), jsonFields(c.fields)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the struct %v", name, got, want)
		}
		for _, key := range c.node.Required {
			if !slices.Contains(want, key) {
				t.Errorf("%s: required key %q is no field", name, key)
			}
		}
	}
}

func TestSchemaListsTheSameNamesAndPatterns(t *testing.T) {
	var root node
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var resource node
	if err := json.Unmarshal(root.Defs["route"].Properties["resource"], &resource); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(resource.PropertyNames.Enum, dimensions) {
		t.Errorf("the schema knows the dimensions %v, Parse %v", resource.PropertyNames.Enum, dimensions)
	}
	var abis struct{ Enum []string }
	if err := json.Unmarshal(root.Properties["abi"], &abis); err != nil || !slices.Equal(abis.Enum, abiNames()) {
		t.Errorf("the schema knows the ABIs %v, Parse %v (%v)", abis.Enum, abiNames(), err)
	}
	for _, re := range []string{exportRE.String(), nameRE.String(), versionRE.String(), actionRE.String(), sourceRE.String()} {
		quoted, err := json.Marshal(re)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(Schema()), string(quoted)) {
			t.Errorf("the schema lacks the pattern %s", re)
		}
	}
}

func TestSchemaReturnsACopy(t *testing.T) {
	clear(Schema())
	if !json.Valid(Schema()) {
		t.Error("a caller changed the schema")
	}
}
