package jsonscan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func members(data string) (list []string, err error) {
	err = Members([]byte(data), func(name string, value []byte) error {
		list = append(list, name+"="+string(value))
		return nil
	})
	return list, err
}

func TestTheMembersOfAnObjectAreFound(t *testing.T) {
	for data, want := range map[string]string{
		`{}`: "[]", ` { } `: "[]",
		`{"a":1,"b":"}\"{","c":{"d":[1,"]"]},"e":null}`: `[a=1 b="}\"{" c={"d":[1,"]"]} e=null]`,
		"{ \"a\" :\n-1.5E+3 , \"\\u0062\\\\\" : true }": `[a=-1.5E+3 b\=true]`,
	} {
		if got, err := members(data); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %s, %v, want %s", data, got, err, want)
		}
	}
	for _, data := range []string{``, `[]`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}x`, `{"a":1 "b":2}`, `{a:1}`, `{"a":"`, `{"a":[}`, `{"a":1,,}`, `{1:2}`, `{"a":"\"}`} {
		if got, err := members(data); err == nil {
			t.Errorf("%s: %s", data, got)
		}
	}
}

func TestTheElementsOfAnArrayAreFound(t *testing.T) {
	var got []string
	keep := func(value []byte) error { got = append(got, string(value)); return nil }
	if err := Elements([]byte(` [1 , {"a":"]"},[[]],"x"] `), keep); err != nil || strings.Join(got, " ") != `1 {"a":"]"} [[]] "x"` {
		t.Errorf("%q, %v", got, err)
	}
	if err := Elements([]byte("null"), keep); err != nil {
		t.Error(err)
	}
	stop := errors.New("stop")
	if err := Elements([]byte(`[1,2`), func([]byte) error { return stop }); err != stop {
		t.Error(err)
	}
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	if err := Elements([]byte(deep), keep); err == nil {
		t.Error("a deep value was accepted")
	}
}

// What encoding/json accepts has the same parts here, and nothing makes Members panic.
func FuzzMembers(f *testing.F) {
	for _, data := range []string{`{"a":1,"b":[{"c":"\\\""}]}`, `{"\u0061":null}`, `{"a":`, `[]`} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data string) {
		want := map[string]json.RawMessage{}
		wellFormed := json.Unmarshal([]byte(data), &want) == nil && want != nil
		got := map[string]json.RawMessage{}
		err := Members([]byte(data), func(name string, value []byte) error {
			got[name] = value
			return nil
		})
		if !wellFormed {
			return
		}
		if err != nil || len(got) > len(want) {
			t.Fatalf("%q: %v, %d members, want %d", data, err, len(got), len(want))
		}
		for name, value := range got {
			if w, ok := want[name]; ok && string(w) != string(value) {
				t.Fatalf("%q: %s is %s, want %s", data, name, value, w)
			}
		}
	})
}
