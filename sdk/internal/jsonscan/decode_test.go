package jsonscan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"`
	Skipped string            `json:"-"`
	Count   *int              `json:"count,omitempty"`
	At      time.Time         `json:"at"`
	Any     any               `json:"any"`
	Raw     json.RawMessage   `json:"raw"`
	Number  json.Number       `json:"number"`
	Bytes   []byte            `json:"bytes"`
	Float   float64           `json:"float"`
	Small   int32             `json:"small"`
	private int
}

type key string

type sample struct {
	Metadata struct{ Name, Namespace string }
	Items    []inner         `json:"items"`
	Names    []string        `json:"names"`
	Nested   [][]int         `json:"nested"`
	By       map[key]inner   `json:"by"`
	Yes      bool            `json:"yes"`
	Next     *sample         `json:"next"`
	Quoted   struct{ N int } `json:"quoted,omitempty"`
	Embedded embedded        `json:"embedded"`
	Array    [2]int          `json:"array"`
}

type embedded struct {
	inner
	N int `json:",string"`
}

var seeds = []string{
	`{}`, `null`, ` { "metadata" : { "NAME" : "a", "namespace":"b" } } `, `{"items":[{"name":"ü\n","labels":{"a":"b","c":""},"count":3,"at":"2026-01-02T03:04:05Z","any":{"x":[1,null]},"raw":{"y":1},"number":1e3,"bytes":"aGk=","float":-1.5e3,"small":7}]}`,
	`{"items":null,"names":["a","\u00e9"],"nested":[[1,-2],[]],"by":{"k":{"name":"x"}},"yes":true,"next":{"yes":false,"next":null}}`, `{"embedded":{"name":"in","N":"5"},"array":[1,2,3]}`,
	`{"names":[],"items":[{"name":null,"count":null}]}`, `{"items":[{"small":99999999999}]}`, `{"yes":"no"}`, `{"names":{}}`, `{"nested":[[01]]}`, `{"items":[{"name":1}]}`, `[]`, `{"metadata":[]}`, `{"metadata":"x"}`,
	`{"items":[{"small":-0}]}`, `{"names":["a",]}`, `{"items":[{"at":"x"}]}`, `{"next":{"metadata":{"name":"` + "\x80" + `"}}}`, `{"by":{"` + "\xff" + `":{}}}`, `{"names":["a"],"names":["b","c"]}`,
}

func compare(t *testing.T, data string) {
	t.Helper()
	var want, got sample
	wantErr, err := json.Unmarshal([]byte(data), &want), Decode([]byte(data), &got)
	if wantErr == nil && err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	// encoding/json refuses what is malformed where nothing takes it, too, and goes on after a
	// value of the wrong type.
	if wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\ngot  %+v\nwant %+v", data, got, want)
	}
	if _, syntax := wantErr.(*json.SyntaxError); wantErr != nil && !syntax && err == nil {
		t.Fatalf("%q was accepted: %v", data, wantErr)
	}
}

func TestDecodeAgreesWithEncodingJSON(t *testing.T) {
	for _, data := range seeds {
		compare(t, data)
	}
	deep := strings.Repeat(`{"next":`, 11_000) + "{}" + strings.Repeat("}", 11_000)
	if err := Decode([]byte(deep), new(sample)); err == nil {
		t.Error("a deep value was accepted")
	}
	for _, out := range []any{nil, sample{}, (*sample)(nil)} {
		if err := Decode([]byte("{}"), out); err == nil {
			t.Errorf("decoded into %T", out)
		}
	}
	var all any
	if err := Decode([]byte(`{"a":[1]}`), &all); err != nil || fmt.Sprint(all) != "map[a:[1]]" {
		t.Errorf("%v, %v", all, err)
	}
	if err := Decode([]byte(`{"a":tru}`), &struct{ B int }{}); err != nil {
		t.Errorf("what nothing takes was looked at: %v", err)
	}
	err := Decode([]byte(`{"items":[{"labels":{"a":7}}]}`), new(sample))
	if err == nil || !strings.Contains(err.Error(), "items: labels: ") {
		t.Errorf("the error does not say where: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, data := range seeds {
		f.Add(data)
	}
	f.Fuzz(compare)
}
