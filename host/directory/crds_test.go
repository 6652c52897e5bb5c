package directory

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The API server would prune a key that only the reader knows, and the reader would
// leave out an entry with a key that only the schema knows.
func TestSchemasAndTheReaderKnowTheSameKeys(t *testing.T) {
	docs := yaml.NewDecoder(bytes.NewReader(CRDs()))
	for range Resources() {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema struct {
							Properties struct {
								Spec struct{ Properties map[string]any }
							}
						} `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := docs.Decode(&crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		p := parse("x.yaml", []byte(head+"kind: "+kind+"\nmetadata: {name: x}\nspec: {nosuchkey: 1}\n"), nil)
		_, known, _ := strings.Cut(p.problems[0].Text, "the keys are ")
		read := strings.Split(known, ", ")
		slices.Sort(read)
		schema := slices.Sorted(maps.Keys(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Spec.Properties))
		if !slices.Equal(read, schema) {
			t.Errorf("%s: the reader knows %q, the schema %q", kind, read, schema)
		}
	}
}
