package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestNamedPartsAreRemoved(t *testing.T) {
	for _, c := range []struct{ text, pointers, want string }{
		{`{"a":1,"b":2}`, "/a", `{"b":2}`},
		{`{"a":1,"b":2}`, "/b", `{"a":1}`},
		{`{"a":1}`, "/a", `{}`},
		{` { "a" : { "b" : 1 , "c" : 2 } } `, "/a/b", `{"a":{"c":2}}`},
		{`{"a":[{"b":1,"c":2},{"b":3}]}`, "/a/*/b", `{"a":[{"c":2},{}]}`},
		{`[1,2,3]`, "/1", `[1,3]`},
		{`[1,2,3]`, "/0 /1", `[3]`}, // indices are those of the text, whatever else is removed
		{`[1,2,3]`, "/*", `[]`},
		{`{"a":{"x":1},"b":{"x":2,"y":3}}`, "/*/x", `{"a":{},"b":{"y":3}}`},
		{`{"a/b":1,"c~d":2,"e":3}`, "/a~1b /c~0d", `{"e":3}`},
		{`{"":1,"a":2}`, "/", `{"a":2}`},
		{`{"a":1,"a":2}`, "/a", `{}`},           // a reader may take either
		{`{"\u0061":1,"b":2}`, "/a", `{"b":2}`}, // however it is written
		{`{"a":"}],{\"a\":\\","b":1}`, "/b", `{"a":"}],{\"a\":\\"}`},
		{`{"n":12345678901234567890.10,"z":1,"a":1}`, "/a", `{"n":12345678901234567890.10,"z":1}`},
		{`{"a":1}`, "/a/b /x /0", `{"a":1}`},
		{`"text"`, "/a", `"text"`},
		{``, "/a", ``},
		{`no json`, "", `no json`},
	} {
		got, err := JSON([]byte(c.text), strings.Fields(c.pointers))
		if err != nil || string(got) != c.want {
			t.Errorf("%s without %s: %s, %v; want %s", c.text, c.pointers, got, err, c.want)
		}
	}
}

func TestATextThatCannotBeRedactedIsAnError(t *testing.T) {
	for _, text := range []string{`password: x`, `{"a":1} {"a":2}`, `{"a":`, "\xef\xbb\xbf{}", " "} {
		if got, err := JSON([]byte(text), []string{"/a"}); !errors.Is(err, ErrNotJSON) || got != nil {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestMalformedPointersAreRefused(t *testing.T) {
	for _, p := range []string{"", "a", "/a~", "/~2", strings.Repeat("/a", maxTokens+1)} {
		if Check([]string{"/fine", p}) == nil {
			t.Errorf("%q passes", p)
		}
	}
	if Check(make([]string, MaxPointers+1)) == nil || Check(slices.Repeat([]string{"/a"}, MaxPointers)) != nil {
		t.Error("the number of pointers is not bounded as said")
	}
}

// plain does the same by decoding; of equal keys the last counts there.
func plain(v any, at [][]string) any {
	step := func(key string) (next [][]string, removed bool) {
		for _, list := range at {
			if len(list) > 0 && (list[0] == key || list[0] == "*") {
				next = append(next, list[1:])
				removed = removed || len(list) == 1
			}
		}
		return next, removed
	}
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			if next, removed := step(key); removed {
				delete(v, key)
			} else {
				v[key] = plain(v[key], next)
			}
		}
	case []any:
		out := []any{}
		for i, item := range v {
			if next, removed := step(strconv.Itoa(i)); !removed {
				out = append(out, plain(item, next))
			}
		}
		return out
	}
	return v
}

func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1},2,"x"],"*":{"~":null}}`), "/a/*/b /a/1 /*/~0")
	f.Add([]byte(` [ { } , [ ] , "\"" , -1e5 , true ] `), "/0 /*/a")
	f.Fuzz(func(t *testing.T, text []byte, list string) {
		pointers := strings.Fields(list)
		if Check(pointers) != nil || len(pointers) == 0 {
			return
		}
		got, err := JSON(text, pointers)
		if !json.Valid(text) {
			if err == nil && len(text) > 0 {
				t.Fatalf("%q became %q", text, got)
			}
			return
		}
		decode := func(b []byte) (v any) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%q became %q: %v", text, got, err)
			}
			return v
		}
		var at [][]string
		for _, p := range pointers {
			tokens, _ := tokens(p)
			at = append(at, tokens)
		}
		if want := plain(decode(text), at); !reflect.DeepEqual(decode(got), want) {
			t.Fatalf("%q without %q is %q, want %v", text, pointers, got, want)
		}
	})
}
