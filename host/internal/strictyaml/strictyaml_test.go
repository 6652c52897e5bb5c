package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// bomb is a text whose alias is used n times.
func bomb(size, n int) string {
	return "a: &a " + strings.Repeat("x", size) + "\nb:\n" + strings.Repeat("- *a\n", n)
}

func TestAShortTextCannotStandForALongOne(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	deep := "a0: &a0 x\n"
	for i := 1; i < 200; i++ {
		deep += fmt.Sprintf("a%d: &a%d [*a%d]\n", i, i, i-1)
	}
	for want, text := range map[string]string{
		"is over 1048576 bytes with all":           bomb(50_000, 12_000),
		"holds over 100000 values":                 laughs,
		"is nested deeper":                         deep,
		"or contains itself":                       "a: &a [*a]",
		"line 1: is nested deeper than 100 levels": strings.Repeat("[", 101) + strings.Repeat("]", 101),
		"line 1: is not YAML: exceeded max depth":  strings.Repeat("[", 20_000),
		"is over 1048576 bytes":                    strings.Repeat("#", 1<<20+1),
		"holds over 100000 values with":            "a: [" + strings.Repeat("1,", 100_001) + "]",
		"line 2: is not UTF-8":                     "---\n--- \xff\xfe",
		"is over 1048576 bytes with all aliases":   "a: &a {" + strings.Repeat("k", 1000) + ": 1}\nb: [" + strings.Repeat("{<<: *a},", 2000) + "]",
	} {
		for name, read := range map[string]func() error{
			"Parse": func() error { _, err := Parse([]byte(text), Small); return err },
			"JSON":  func() error { _, err := JSON([]byte(text), Small); return err },
		} {
			if err := read(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
	if v, err := Value([]byte(bomb(100, 100)), Small); err != nil || len(v.(map[string]any)["b"].([]any)) != 100 {
		t.Errorf("a few aliases: %v", err)
	}
	if _, err := Split(bytes.Repeat([]byte("#"), Small.Bytes+1))[0].Parse(Small); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("a document that is too long: %v", err)
	}
	if _, err := Parse([]byte("a: &a 1\nb: *a"), Limits{Bytes: 100, Nodes: 100, Depth: 10, NoAliases: true}); err == nil || err.Error() != "line 2: uses an alias; write its value instead" {
		t.Errorf("an alias where none is allowed: %v", err)
	}
}

func TestATextIsOneDocument(t *testing.T) {
	for text, want := range map[string]string{
		"replicas: 1\n---\nreplicas: 3\n":  "line 3: a second document",
		"a: 1\n...\nb: 2\n":                "line 1: is followed by something",
		"a: 1\nb: 2\na: 3\n":               `line 3: has the key "a" twice`,
		"a: {1: x, \"1\": y}":              `has the key "1" twice`,
		"a: {<<: {b: 1}, <<: {c: 1}}":      `has the key "<<" twice`,
		"{\"a\": 1, \"a\": 2}":             `has the key "a" twice`,
		"a: [":                             "line 1: is not YAML",
		"# c\n---\n# c\n---\n\na: 1\na: 2": "line 7: has the key",
	} {
		if _, err := JSON([]byte(text), Small); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                "null",
		"# nothing\n":                     "null",
		"---\na: 1\n---\n# nothing\n":     `{"a":1}`,
		"---\n---\na: 1\n":                `{"a":1}`,
		"\xef\xbb\xbfa: 1\n":              `{"a":1}`,
		"\xef\xbb\xbf---\na: 1\n":         `{"a":1}`,
		"a: 1\r\nb: 2\r\n":                `{"a":1,"b":2}`,
		"a: &a {b: 1}\nc: {<<: *a, d: 2}": `{"a":{"b":1},"c":{"b":1,"d":2}}`,
		"a: &a {b: 1}\nc: {b: 2, <<: *a}": `{"a":{"b":1},"c":{"b":2}}`,
		"c: {<<: [{b: 1}, {b: 2, d: 3}]}": `{"c":{"b":1,"d":3}}`,
	} {
		if got, err := JSON([]byte(text), Small); err != nil || string(got) != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	lax := Small
	lax.RepeatedKeys = true
	if got, err := JSON([]byte("a: 1\na: 2"), lax); err != nil || string(got) != `{"a":2}` {
		t.Errorf("the last of a repeated key: got %s, %v", got, err)
	}
}

func TestNumbersKeepTheirValue(t *testing.T) {
	for text, want := range map[string]any{
		"12345678901234567":    int64(12345678901234567),
		"-9223372036854775808": int64(-1 << 63),
		"18446744073709551615": uint64(1<<64 - 1),
		"1_000":                int64(1000),
		"0x1f":                 int64(31),
		"0777":                 int64(511),
		"0o17":                 int64(15),
		"1.5":                  1.5,
		"1e6":                  1e6,
		"08":                   8.0,
		"!!float 2":            2.0,
		"!!str 2":              "2",
		"'2'":                  "2",
		"yes":                  true,
		"Off":                  false,
		"'yes'":                "yes",
		"!!str yes":            "yes",
		"~":                    nil,
		"2026-11-30":           "2026-11-30",
		"2026-11-30T10:00:00Z": "2026-11-30T10:00:00Z",
		"1:30":                 "1:30",
	} {
		if got, err := Value([]byte("a: "+text), Small); err != nil || !reflect.DeepEqual(got.(map[string]any)["a"], want) {
			t.Errorf("%s: got %#v, %v, want %#v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"18446744073709551616": "more than 64 bits", "-9223372036854775809": "more than 64 bits",
		".inf": "JSON", ".nan": "JSON",
		"!!binary aGk=": "!!binary", "!own x": "!own", "!own {}": "!own", "!!set {a}": "!!set", "!own []": "!own",
		"{[1]: 2}": "a key is a list", "{~: 2}": "a key is null", "!!bool 7": "neither", "{<<: 7}": `"<<"`,
	} {
		if _, err := Value([]byte("a: "+text), Small); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestUnmarshalNamesFieldsByPath(t *testing.T) {
	var v struct {
		A struct {
			B int `json:"b"`
		} `json:"a"`
	}
	if err := Unmarshal([]byte("a: {b: 3}"), &v, Small); err != nil || v.A.B != 3 {
		t.Errorf("got %+v, %v", v, err)
	}
	for text, want := range map[string]string{
		"a: {b: 1, c: 2}": `unknown field "a.c"`, "a: {B: 1}": `unknown field "a.B"`, "a: {b: x}": "a.b", "a: {b: 1, b: 2}": "twice",
	} {
		if err := Unmarshal([]byte(text), &v, Small); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// FuzzAgreesWithKubernetes compares with the reader of helm and Kubernetes: if both
// accept a text, the values are equal, except for the precision of numbers.
func FuzzAgreesWithKubernetes(f *testing.F) {
	for _, s := range []string{
		"a: 1\nb: [x, 'y', yes, off, 0777, 0o17, 1e3, .5, ~, 2001-01-01, 1_000, 08, +1, -0b11]", "{1: a, on: b, 1.50: c}",
		"a: &a {b: 1}\nc: {<<: *a, d: 2}", "{a: y, y: N, on: 1, n: 2}", "- |\n  x\n- >-\n  y\n  z", "? a\n: b", "a: !!str 1", "a: 1\n---\nb: 2", "\xef\xbb\xbfa: 1",
	} {
		f.Add([]byte(s))
	}
	l := Limits{Bytes: 1 << 12, Nodes: 500, Depth: 30}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Value(text, l)
		if err != nil {
			return
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%q is accepted but is not JSON: %v", text, err)
		}
		if len(data) > 8*l.Bytes+8*l.Nodes {
			t.Fatalf("%d bytes became %d", len(text), len(data))
		}
		var ours, theirs any
		if err := yaml.Unmarshal(data, &ours); err != nil {
			t.Fatal(err)
		}
		if len(Split(text)) > 1 || strings.Contains(string(text), "<<") || bytes.Contains(text, []byte("!")) || yaml.Unmarshal(text, &theirs) != nil {
			return
		}
		if !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%q: got %#v, want %#v", text, ours, theirs)
		}
	})
}

func TestLinesAreThoseOfValues(t *testing.T) {
	got := Lines([]byte("# a comment\na: &x\n  b: [1,\n    2]\nc:\n- d: *x\n"), Small)
	want := map[string]int{"a": 2, "a.b": 3, "a.b[0]": 3, "a.b[1]": 4, "c": 5, "c[0]": 6, "c[0].d": 6}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := Lines([]byte("a: [\n"), Small); len(got) != 0 {
		t.Errorf("lines of what is not YAML: %v", got)
	}
}
