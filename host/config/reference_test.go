package config

import (
	"strings"
	"testing"
)

func TestReferenceNamesEachKeyByItsPath(t *testing.T) {
	const text = `{
	 "$ref": "#/$defs/Config",
	 "$defs": {
	  "Config": {"type": "object", "required": ["name"], "properties": {
	   "name": {"type": "string", "description": "Who\nit is."},
	   "servers": {"type": "array", "items": {"$ref": "#/$defs/Server"}, "description": "a | b"},
	   "labels": {"type": "object", "additionalProperties": {"type": "string"}},
	   "cloud": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Server"}]},
	   "rest": true
	  }},
	  "Server": {"type": "object", "additionalProperties": false, "description": "One server.", "properties": {
	   "ports": {"type": "array", "items": {"type": "integer"}}
	  }}
	 }
	}`
	var out strings.Builder
	if err := Reference(&out, []byte(text)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `name` | string | Required. Who it is. |\n",
		"| `servers` | list of objects | a \\| b |\n",
		"| `labels` | map of strings |  |\n",
		"| `cloud` | string or object |  |\n",
		"| `rest` | any |  |\n",
		"\n## `servers[]`\n\n| key | type | meaning |\n|---|---|---|\n| `ports` | list of integers |  |\n",
		"\n## `cloud`\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the reference lacks %q:\n%s", want, &out)
		}
	}
	if err := Reference(&out, []byte("[]")); err == nil {
		t.Error("a list is taken for a schema")
	}
}
