package policytool

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

// A decision log and an input document may have gone through an editor.
func TestAByteOrderMarkIsPassedOver(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	lines := mark + "{\"a\":1}\n{\"a\":2}\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(lines)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"lines": lines, "packed": packed.String(), "array": mark + `[{"a":1},{"a":2}]`} {
		l, err := readRecords(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`{"a":1}`, `{"a":2}`} {
			if got, err := l.next(); err != nil || string(got) != want {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		}
	}
	p := readPolicy(t, "")
	if v, ok, err := Eval(t.Context(), p, "input.principal.user", strings.NewReader(mark+`{"principal":{"user":"x"}}`)); err != nil || !ok || v != "x" {
		t.Errorf("%v, %v, %v", v, ok, err)
	}
	for text, want := range map[string]string{
		`{"a": 1, "a": 2}`: `it has the key "a" twice`, "{} {}": "something follows", strings.Repeat(" ", 16<<20+1): "is over",
	} {
		if _, _, err := Eval(t.Context(), p, "1", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
