package helm

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func readValues(t *testing.T, text string) (map[string]any, error) {
	t.Helper()
	body, err := json.Marshal(upgradeBody{Chart: "demo/hello", Values: text})
	if err != nil {
		t.Fatal(err)
	}
	q := &request{action: actUpgrade}
	err = q.readBody(body)
	return q.values, err
}

func TestValuesAreOneBoundedMapping(t *testing.T) {
	for want, text := range map[string]string{
		"bytes with all aliases replaced":  "a: &a " + strings.Repeat("x", 50_000) + "\nb: [" + strings.Repeat("*a,", 12_000) + "]",
		"100000 values with all aliases":   "a: &a [" + strings.Repeat("x,", 1000) + "]\nb: [" + strings.Repeat("*a,", 1000) + "]",
		"nested deeper than 100":           "a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"line 3: a second document begins": "replicas: 1\n---\nreplicas: 3\n",
		`line 2: has the key "a" twice`:    "a: 1\na: 2",
		"not a YAML mapping":               "[a]",
		"line 1: is not YAML":              "a: [",
		"more than 64 bits":                "a: 123456789012345678901234567890",
	} {
		if _, err := readValues(t, text); host.KindOf(err) != host.Unprocessable || !strings.Contains(detail(err), want) {
			t.Errorf("got %v, want %q", detail(err), want)
		}
	}
	if _, err := readValues(t, strings.Repeat("#", maxValues+1)); host.KindOf(err) != host.TooLarge {
		t.Errorf("values that are too long: %v", err)
	}
	for text, want := range map[string]map[string]any{
		"": {}, "# nothing": {}, "{}": {}, "~": {}, "\xef\xbb\xbfa: x": {"a": "x"}, "---\na: x\n---\n": {"a": "x"},
		"x: &x {a: yes}\nz: {<<: *x}": {"x": map[string]any{"a": true}, "z": map[string]any{"a": true}},
	} {
		if got, err := readValues(t, text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

// detail is the whole text of an error of the host.
func detail(err error) string {
	if e, ok := err.(*host.Error); ok {
		return e.Message + ": " + e.Detail
	}
	return fmt.Sprint(err)
}

// Templates print numbers as they were given, and compare small ones with floats
// as helm lets them.
func TestNumbersReachTemplatesAsGiven(t *testing.T) {
	for text, want := range map[string]any{
		"12345678901234567": int64(12345678901234567), "1000000": int64(1000000), "-1000000": int64(-1000000),
		"999999": 999999.0, "-7": -7.0, "18446744073709551615": uint64(1<<64 - 1), "1.5": 1.5,
	} {
		got, err := readValues(t, "a: ["+text+"]")
		if err != nil {
			t.Fatal(err)
		}
		v := got["a"].([]any)[0]
		if v != want || fmt.Sprint(v) != text {
			t.Errorf("%s: got %T %v, want %T", text, v, v, want)
		}
		again, err := json.Marshal(plain(json.Number(text)))
		if err != nil || string(again) != text {
			t.Errorf("%s is %s when it is read from a release, %v", text, again, err)
		}
	}
	if got := plain(json.Number("1e999")); got != plain(json.Number("1e9999")) {
		t.Errorf("got %v", got)
	}
}
